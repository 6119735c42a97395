// Every option of heddle: name, bounds, meaning. A new option is a field in options.h and a row here.
#include "trainer/config/option_table.h"
#include "trainer/config/options.h"

namespace heddle {
namespace {

constexpr std::int64_t kMaxSize = 1 << 20;  // of a dimension; products of three still fit 64 bits

constexpr PeriodRule kCounted{PeriodRule::Units::no_time, true};
constexpr PeriodRule kPositive{PeriodRule::Units::all, false};
constexpr PeriodRule kEvery{PeriodRule::Units::all, true};
constexpr PeriodRule kTime{PeriodRule::Units::only_time, false};

void declare(ModelOptions& o, OptionTable& table) {
  table.section("model", "what is trained");
  table.add("family", &o.family, "model family: gpt, or transformer (the encoder-decoder)", "<name>");
  table.add("num_layers", &o.num_layers, between(1, 10000), "blocks; of an encoder-decoder, the encoder's");
  table.add("num_decoder_layers", &o.num_decoder_layers, between(0, 10000),
            "transformer: blocks of the decoder; 0: num_layers");
  table.add("hidden_size", &o.hidden_size, between(1, kMaxSize), "width of the residual stream");
  table.add("num_heads", &o.num_heads, between(1, 65536), "attention heads");
  table.add("head_size", &o.head_size, between(0, 256), "width of a head; 0: hidden_size / num_heads");
  table.add("ffn_size", &o.ffn_size, between(0, 4 * kMaxSize), "width inside the FFN; 0: 4 * hidden_size");
  table.add("context_length", &o.context_length, between(1, kMaxSize), "tokens per sample; of an encoder-decoder, the longest source and target");
  table.add("vocabulary_size", &o.vocabulary_size, between(0, 1 << 24),
            "rows of the embedding; 0: the tokenizer's");
  table.add("source_vocabulary_size", &o.source_vocabulary_size, between(0, 1 << 24),
            "transformer: rows of the source embedding; 0: the source tokenizer's");
  table.add_choice("activation", &o.activation, "activation of the FFN");
  table.add_choice("norm", &o.norm, "normalisation around attention and FFN");
  table.add_choice("norm_position", &o.norm_position,
                   "pre: x + f(norm(x)), and a norm at the end of a stack; post: norm(x + f(x)), as first published");
  table.add("norm_epsilon", &o.norm_epsilon, positive(), "added to the variance in a norm");
  table.add_choice("positions", &o.positions, "what tells a token where it stands");
  table.add("bias", &o.bias, "biases in linear layers and norms");
  table.add("attention_bias", &o.attention_bias, "biases in the projections of attention (if bias)");
  table.add("head_bias", &o.head_bias, "a bias for every word of the output");
  table.add("tie_embeddings", &o.tie_embeddings, "the head shares the token embedding's weights");
  table.add("share_embeddings", &o.share_embeddings, "transformer: source and target share one embedding");
  table.add("embedding_scale", &o.embedding_scale, "multiply embeddings by the square root of hidden_size");
  table.add_choice("initialization", &o.initialization,
                   "normal: 0.02, less into the residual stream; xavier: uniform, by each matrix's sizes");
  table.add("dropout", &o.dropout, from_zero_below_one(), "probability of dropping an activation");
  table.add("attention_dropout", &o.attention_dropout, Range<double>{-1, 1, true, false},
            "probability of dropping an attention weight; -1: dropout");
  table.add("ffn_dropout", &o.ffn_dropout, from_zero_below_one(), "the same inside the FFN, behind its activation");
}

void declare(DataOptions& o, OptionTable& table) {
  table.section("data", "what it is trained on");
  table.add("data", &o.data, "text file, folder of text, or folder of prepared shards; may be repeated");
  table.add("validation_data", &o.validation_data, "the same for validation; may be repeated");
  table.add("validation_fraction", &o.validation_fraction, from_zero_below_one(),
            "part of data held out for validation if there is no validation_data");
  table.add("data_folder", &o.data_folder, "where prepared shards go; empty: derived from data and tokenizer",
            "<path>");
  table.add("source", &o.source, "parallel text: lines to translate from; may be repeated");
  table.add("target", &o.target, "their translations, line by line; may be repeated");
  table.add("pairs", &o.pairs, "both on one line with a tab between; may be repeated");
  table.add("validation_source", &o.validation_source, "the same for validation; may be repeated");
  table.add("validation_target", &o.validation_target, "the same for validation; may be repeated");
  table.add("validation_pairs", &o.validation_pairs, "the same for validation; may be repeated");
  table.add("joint_vocabulary", &o.joint_vocabulary, "one tokenizer for source and target");
  table.add("tokenizer", &o.tokenizer,
            "byte, char, word or bpe (trained on data), or the path of a tokenizer.json, of GPT-2's files, or their "
            "folder",
            "<name or path>");
  table.add("target_tokenizer", &o.target_tokenizer, "path of the target's tokenizer; empty: as tokenizer", "<path>");
  table.add("bpe_vocabulary", &o.bpe_vocabulary, between(257, 1 << 24),
            "size of a vocabulary trained on data");
  table.add("lowercase", &o.lowercase, "tokenizer = word: fold to lower case");
  table.add("word_minimum_count", &o.word_minimum_count, at_least(1), "tokenizer = word: rarer words are unknown");
  table.add("text_field", &o.text_field, "field of JSON lines that holds the text", "<name>");
}

void declare(TrainOptions& o, OptionTable& table) {
  table.section("train", "the run");
  table.add("length", &o.length, kPositive,
            "how long to train: 1000steps, 10Mt (million tokens), 2epochs, 90min");
  table.add("global_batch", &o.global_batch, between(1, kMaxSize), "samples per step, all ranks together");
  table.add("micro_batch", &o.micro_batch, between(0, kMaxSize), "samples per rank and pass; 0: all at once");
  table.add("batch_tokens", &o.batch_tokens, between(0, 1 << 30),
            "parallel text: tokens per step, counted with padding on the longer side; instead of global_batch; 0: off");
  table.add("micro_batch_tokens", &o.micro_batch_tokens, between(0, 1 << 30),
            "parallel text: the same per rank and pass, instead of micro_batch; 0: off");
  table.add("label_smoothing", &o.label_smoothing, from_zero_below_one(),
            "part of the target probability that goes to all words alike; not in validation");
  table.add_choice("precision", &o.precision, "of matrix products and activations");
  table.add("seed", &o.seed, at_least(0), "of initial weights, order of samples and dropout");
  table.add_choice("recompute", &o.recompute, "what the backward pass computes again to save memory");
  table.add("early_stop", &o.early_stop, at_least(0),
            "stop after so many evaluations without improvement; 0: never");
  table.add("run_folder", &o.run_folder, "checkpoints, metrics and config; empty: runs/<name of the config>",
            "<path>");
  table.add("resume", &o.resume, "continue from the newest checkpoint in run_folder, if there is one");
  table.add("init_from", &o.init_from, "checkpoint whose weights to start from", "<path>");
}

void declare(OptimizerOptions& o, OptionTable& table) {
  table.section("optimizer", "AdamW and the learning rate");
  table.add("learning_rate", &o.learning_rate, not_negative(), "after warmup");
  table.add("min_learning_rate", &o.min_learning_rate, not_negative(), "at the end of the decay");
  table.add_choice("schedule", &o.schedule, "of the learning rate after warmup");
  table.add("warmup", &o.warmup, kCounted, "linear rise from 0");
  table.add("decay_length", &o.decay_length, kCounted,
            "steps the schedule spans, warmup included; 0: length");
  table.add("cooldown", &o.cooldown, kCounted, "decay at the end of wsd");
  table.add("beta1", &o.beta1, from_zero_below_one(), "decay of the first moment");
  table.add("beta2", &o.beta2, from_zero_below_one(), "decay of the second moment");
  table.add("epsilon", &o.epsilon, positive(), "added to the square root of the second moment");
  table.add("weight_decay", &o.weight_decay, not_negative(), "of weight matrices and embeddings");
  table.add("clip_norm", &o.clip_norm, not_negative(), "largest norm of the gradient; 0: off");
  table.add("stochastic_rounding", &o.stochastic_rounding,
            "precision = bf16: weights are rounded up or down at random, right on average, instead of to nearest");
}

void declare(ParallelOptions& o, OptionTable& table) {
  table.section("parallel", "how ranks share the work");
  table.add("data_parallel", &o.data_parallel, between(0, kMaxSize), "replicas; 0: ranks / tensor_parallel");
  table.add("tensor_parallel", &o.tensor_parallel, between(1, 65536),
            "ranks that share one replica's layers");
  table.add("bucket_megabytes", &o.bucket_megabytes, between(1, 65536), "gradients reduced at a time");
  table.add_choice("gradient_wire", &o.gradient_wire, "precision in which gradients travel");
  table.add("timeout", &o.timeout, kTime, "a rank that waits longer for the others ends the job");
  table.add("threads", &o.threads, between(0, 4096), "per rank; 0: the cores it may use / ranks per host");
  table.add("share_gpu", &o.share_gpu, "several ranks may use one GPU; all exchange through host memory, slowly");
}

void declare_upkeep(Options& o, OptionTable& table) {
  table.section("evaluation", "validation");
  table.add("validate_every", &o.evaluation.validate_every, kEvery, "0: never");
  table.add("validation_batches", &o.evaluation.validation_batches, at_least(0), "per validation; 0: all");

  table.section("checkpoint", "what is kept");
  table.add("save_every", &o.checkpoint.save_every, kEvery, "0: only at the end");
  table.add("keep", &o.checkpoint.keep, between(1, 1000000), "newest checkpoints that are kept");
  table.add("keep_best", &o.checkpoint.keep_best, "also keep the one with the lowest validation loss");

  table.section("log", "what is reported");
  table.add("log_every", &o.log.log_every, kEvery, "a record in metrics.jsonl and on the screen; 0: never");
  table.add("tensorboard", &o.log.tensorboard, "also write TensorBoard event files");

  table.section("device", "what computes");
  table.add_choice("device", &o.device.device, "device of every rank");
  table.add("autotune", &o.device.autotune,
            "cuda: time several algorithms of each matrix product; faster, but runs no longer repeat bit for bit");
  table.add("graph", &o.device.graph,
            "cuda: record a whole training step as a CUDA graph and replay it; same bits, less work for the host");
}

void declare(GenerationOptions& o, OptionTable& table) {
  table.section("generation", "text from a model");
  table.add("prompt", &o.prompt, "text to continue");
  table.add("prompt_file", &o.prompt_file, "file with the text to continue", "<path>");
  table.add("max_tokens", &o.max_tokens, between(1, kMaxSize), "tokens to generate");
  table.add("temperature", &o.temperature, not_negative(), "0: always the most likely token");
  table.add("top_k", &o.top_k, at_least(0), "choose among the k most likely tokens; 0: all");
  table.add("top_p", &o.top_p, Range<double>{0, 1, false, true},
            "choose among the most likely tokens of this total");
  table.add("num_samples", &o.num_samples, between(1, kMaxSize), "texts to generate");
  table.add("cache", &o.cache, "keep keys and values of past tokens instead of computing them again");
}

}  // namespace

void declare_options(Options& options, OptionTable& table) {
  declare(options.model, table);
  declare(options.data, table);
  declare(options.train, table);
  declare(options.optimizer, table);
  declare(options.parallel, table);
  declare_upkeep(options, table);
  table.section("load", "which model");
  table.add("checkpoint", &options.load.checkpoint, "a checkpoint folder, or a run folder for its newest",
            "<path>");
  table.add("best", &options.load.best, "of a run: the checkpoint with the lowest validation loss");
  declare(options.generation, table);
}

const std::vector<std::string>& training_sections() {
  static const std::vector<std::string> sections{"model",      "data",       "train", "optimizer", "parallel",
                                                 "evaluation", "checkpoint", "log",   "device"};
  return sections;
}

std::string resolved_config(const Options& options, const std::vector<std::string>& sections) {
  Options copy = options;
  OptionTable table;
  declare_options(copy, table);
  return table.to_config(sections, /*with_origins=*/false);
}

}  // namespace heddle
