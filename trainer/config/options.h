// Options: everything a person can set, as plain typed fields.
//
// A field's name is its key: options.train.global_batch is `global_batch` under [train] in a config file, and
// --global-batch or --train.global_batch on the command line. What a field means and may hold is declared
// once, in declarations.cpp, from which the parser, the help and the printed config follow. Values here are
// the defaults.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/device.h"
#include "trainer/config/period.h"
#include "trainer/config/value.h"

namespace heddle {

enum class FeedForwardKind : std::uint8_t { gelu_tanh, gelu_erf, relu, swiglu };
enum class NormKind : std::uint8_t { layer_norm, rms_norm };
enum class NormPosition : std::uint8_t { pre, post };
enum class PositionKind : std::uint8_t { learned, sinusoidal, none };
enum class Initialization : std::uint8_t { normal, xavier };
enum class Precision : std::uint8_t { fp32, bf16 };
enum class Recompute : std::uint8_t { none, blocks };
enum class ScheduleKind : std::uint8_t { constant, linear, cosine, inverse_sqrt, noam, wsd };

template <>
struct Choices<FeedForwardKind> {
  static constexpr std::array<std::string_view, 4> names{"gelu_tanh", "gelu_erf", "relu", "swiglu"};
};
template <>
struct Choices<NormKind> {
  static constexpr std::array<std::string_view, 2> names{"layer_norm", "rms_norm"};
};
template <>
struct Choices<NormPosition> {
  static constexpr std::array<std::string_view, 2> names{"pre", "post"};
};
template <>
struct Choices<PositionKind> {
  static constexpr std::array<std::string_view, 3> names{"learned", "sinusoidal", "none"};
};
template <>
struct Choices<Initialization> {
  static constexpr std::array<std::string_view, 2> names{"normal", "xavier"};
};
template <>
struct Choices<Precision> {
  static constexpr std::array<std::string_view, 2> names{"fp32", "bf16"};
};
template <>
struct Choices<Recompute> {
  static constexpr std::array<std::string_view, 2> names{"none", "blocks"};
};
template <>
struct Choices<ScheduleKind> {
  static constexpr std::array<std::string_view, 6> names{"constant",     "linear", "cosine",
                                                         "inverse_sqrt", "noam",   "wsd"};
};
template <>
struct Choices<DeviceKind> {
  static constexpr std::array<std::string_view, 2> names{"cpu", "cuda"};
};

struct ModelOptions {
  std::string family = "gpt";  // a ModelFamily's name (trainer/models/model.h)
  std::int64_t num_layers = 12;          // of the decoder where there is only one stack, else of the encoder
  std::int64_t num_decoder_layers = 0;   // encoder-decoder; 0: num_layers
  std::int64_t hidden_size = 768;
  std::int64_t num_heads = 12;
  std::int64_t head_size = 0;  // 0: hidden_size / num_heads
  std::int64_t ffn_size = 0;   // 0: 4 * hidden_size
  std::int64_t context_length = 1024;
  std::int64_t vocabulary_size = 0;  // 0: the tokenizer's
  std::int64_t source_vocabulary_size = 0;  // encoder-decoder; 0: the source tokenizer's
  FeedForwardKind activation = FeedForwardKind::gelu_tanh;
  NormKind norm = NormKind::layer_norm;
  NormPosition norm_position = NormPosition::pre;
  double norm_epsilon = 1e-5;
  PositionKind positions = PositionKind::learned;
  bool bias = true;
  bool attention_bias = true;  // in the attention's projections; only where `bias` holds
  bool head_bias = false;
  bool tie_embeddings = true;
  bool share_embeddings = true;   // encoder-decoder: source and target have one table
  bool embedding_scale = false;
  Initialization initialization = Initialization::normal;
  double dropout = 0;
  double attention_dropout = -1;  // -1: as dropout
  double ffn_dropout = 0;

  std::int64_t head_size_in_use() const { return head_size > 0 ? head_size : hidden_size / num_heads; }
  std::int64_t decoder_layers_in_use() const { return num_decoder_layers > 0 ? num_decoder_layers : num_layers; }
  double attention_dropout_in_use() const { return attention_dropout >= 0 ? attention_dropout : dropout; }
  std::int64_t ffn_size_in_use() const { return ffn_size > 0 ? ffn_size : 4 * hidden_size; }
  bool operator==(const ModelOptions&) const = default;
};

struct DataOptions {
  std::vector<std::string> data;             // text files, folders of text, or folders of prepared shards
  std::vector<std::string> validation_data;  // empty: validation_fraction of `data`
  double validation_fraction = 0.1;
  std::string data_folder;        // where prepared shards go; empty: derived from `data` and the tokenizer
  // Parallel text, for models that read one text and write another: line i of the sources belongs to line i of the
  // targets, or both are on one line of `pairs` with a tab between. The rest as above.
  std::vector<std::string> source, target, pairs;
  std::vector<std::string> validation_source, validation_target, validation_pairs;
  bool joint_vocabulary = true;  // one tokenizer for both sides
  // byte, char, word, bpe, or the path of a tokenizer.json, of GPT-2's files, or their folder
  std::string tokenizer = "bpe";
  std::string target_tokenizer;  // of the target side, a path; empty: as tokenizer
  std::int64_t bpe_vocabulary = 8192;
  bool lowercase = false;              // of word
  std::int64_t word_minimum_count = 2;  // of word
  std::string text_field = "text";  // of JSON lines
  bool operator==(const DataOptions&) const = default;
};

struct TrainOptions {
  Period length = in_steps(1000);
  std::int64_t global_batch = 32;  // samples per optimizer step, all ranks together
  std::int64_t micro_batch = 0;    // samples per rank and pass; 0: all of a rank's samples at once
  std::int64_t batch_tokens = 0;   // parallel text: tokens per step on the longer side, instead of global_batch; 0: off
  std::int64_t micro_batch_tokens = 0;  // the same per rank and pass, instead of micro_batch; 0: off
  double label_smoothing = 0;
  Precision precision = Precision::fp32;
  std::int64_t seed = 1337;
  Recompute recompute = Recompute::none;
  std::int64_t early_stop = 0;  // evaluations without improvement; 0: never
  std::string run_folder;       // empty: runs/<name of the config file>, filled in by the command line
  bool resume = false;
  std::string init_from;  // checkpoint whose weights training starts from
  bool operator==(const TrainOptions&) const = default;
};

struct OptimizerOptions {
  double learning_rate = 6e-4;
  double min_learning_rate = 6e-5;
  ScheduleKind schedule = ScheduleKind::cosine;
  Period warmup = in_steps(100);
  Period decay_length;  // zero: until the end of training
  Period cooldown;      // of wsd
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;
  double clip_norm = 1;  // 0: off
  bool stochastic_rounding = false;  // of the bf16 weights; precision = bf16
  bool operator==(const OptimizerOptions&) const = default;
};

struct ParallelOptions {
  std::int64_t data_parallel = 0;  // 0: ranks / tensor_parallel
  std::int64_t tensor_parallel = 1;
  std::int64_t bucket_megabytes = 25;
  Precision gradient_wire = Precision::fp32;
  Period timeout = in_seconds(600);
  std::int64_t threads = 0;  // 0: the cores this rank may use / ranks per host
  bool share_gpu = false;    // several ranks may use one GPU
  bool operator==(const ParallelOptions&) const = default;
};

struct EvaluationOptions {
  Period validate_every = in_steps(250);  // zero: never
  std::int64_t validation_batches = 0;    // 0: all
  bool operator==(const EvaluationOptions&) const = default;
};

struct CheckpointOptions {
  Period save_every = in_steps(1000);  // zero: only at the end
  std::int64_t keep = 2;
  bool keep_best = true;
  bool operator==(const CheckpointOptions&) const = default;
};

struct LogOptions {
  Period log_every = in_steps(1);
  bool tensorboard = true;
  bool operator==(const LogOptions&) const = default;
};

struct DeviceOptions {
  DeviceKind device = DeviceKind::cpu;
  bool autotune = false;  // CUDA: time the matrix products' algorithms
  bool graph = true;  // CUDA: record a training step once and replay it
  bool operator==(const DeviceOptions&) const = default;
};

struct LoadOptions {
  std::string checkpoint;  // a checkpoint folder, or that of a run; of evaluate, generate, translate and inspect
  bool best = false;       // of a run: the checkpoint with the lowest validation loss, not the newest
  bool operator==(const LoadOptions&) const = default;
};

struct GenerationOptions {
  std::string prompt;
  std::string prompt_file;
  std::int64_t max_tokens = 200;
  double temperature = 1;  // 0: always the most likely token
  std::int64_t top_k = 0;  // 0: off
  double top_p = 1;        // 1: off
  std::int64_t num_samples = 1;
  bool cache = true;
  bool operator==(const GenerationOptions&) const = default;
};

struct Options {
  ModelOptions model;
  DataOptions data;
  TrainOptions train;
  OptimizerOptions optimizer;
  ParallelOptions parallel;
  EvaluationOptions evaluation;
  CheckpointOptions checkpoint;
  LogOptions log;
  DeviceOptions device;
  LoadOptions load;
  GenerationOptions generation;
  bool operator==(const Options&) const = default;
};

// The sections that make a training run; what a run's config.cfg and a checkpoint hold.
const std::vector<std::string>& training_sections();

// The options as a config file, every option of the given sections with its value: the text a run and a
// checkpoint store. parse_config reads it back to equal options; `name` stands for the text in errors.
std::string resolved_config(const Options& options,
                            const std::vector<std::string>& sections = training_sections());
Options parse_config(const std::string& text, const std::string& name);

}  // namespace heddle
