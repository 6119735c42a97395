// heddle translate: lines of text through a trained encoder-decoder.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "kernels/error.h"
#include "parallel/agreement.h"
#include "trainer/commands/command.h"
#include "trainer/commands/with_mpi.h"
#include "trainer/config/check.h"
#include "trainer/data/line_reader.h"
#include "trainer/data/tokenizers/word_tokenizer.h"
#include "trainer/files.h"
#include "trainer/format.h"
#include "trainer/tasks/bleu.h"
#include "trainer/tasks/translation.h"
#include "trainer/training/settings.h"
#include "trainer/training/trained_model.h"

namespace heddle {

namespace {

struct TranslateOptions {
  std::string input = "-", output = "-", reference;
  std::int64_t beam = 4;
  double length_penalty = 0.6;
  std::int64_t n_best = 1;
  bool scores = false;
  std::int64_t extra_tokens = 50;
  std::int64_t decode_batch_tokens = 4096;
  bool recompute_keys = false;
};

void declare(TranslateOptions& o, OptionTable& table) {
  table.section("translation", "what is translated and how");
  table.add("input", &o.input, "text to translate, one sentence a line; also .gz or .zst; -: standard input", "<path>");
  table.add("output", &o.output, "where translations go, one a line; -: standard output", "<path>");
  table.add("reference", &o.reference,
            "how people translated the lines: BLEU of the output against it is printed on standard error", "<path>");
  table.add("beam", &o.beam, between(1, 1024), "texts kept in the search; 1: greedy");
  table.add("length_penalty", &o.length_penalty, {0, 10},
            "exponent of the length by which a text's log-probability is divided; 0: none");
  table.add("n_best", &o.n_best, between(1, 1024),
            "translations of each line, at most beam: NUMBER ||| TEXT ||| SCORE");
  table.add("scores", &o.scores, "write NUMBER ||| TEXT ||| SCORE even for one translation a line");
  table.add("extra_tokens", &o.extra_tokens, between(0, 1 << 20),
            "a translation ends at the latest so many tokens after its source's length");
  table.add("decode_batch_tokens", &o.decode_batch_tokens, between(1, 1 << 24), "tokens that are computed together");
  table.add("recompute_keys", &o.recompute_keys,
            "compute keys and values anew for each token instead of keeping them: slower, the same text");
}

// Reads the input piece by piece; rank 0's to read, the other ranks get what it read.
class Input {
 public:
  Input(const TranslateOptions& options, Communicator& world) : world_(world) {
    // On a terminal a person waits for the answer to each line.
    at_a_time_ = options.input == "-" && isatty(STDIN_FILENO) ? 1 : kLinesAtATime;
    agree(world, "opening the input", [&] {
      if (world.rank() == 0) reader_.emplace(options.input);
    });
  }

  // The next lines; none at the end. Collective.
  std::vector<std::string> next() {
    std::string lines;
    agree(world_, "reading the input", [&] {
      std::string_view line;
      for (int n = 0; reader_ && n < at_a_time_ && reader_->next_utf8(line); ++n) {
        if (line.ends_with('\r')) line.remove_suffix(1);
        lines.append(line).push_back('\n');
      }
    });
    lines = world_.all_gather_host(lines, "lines to translate").front();
    std::vector<std::string> split;
    for (std::size_t begin = 0; begin < lines.size();) {
      const std::size_t end = lines.find('\n', begin);
      split.push_back(lines.substr(begin, end - begin));
      begin = end + 1;
    }
    return split;
  }

 private:
  static constexpr int kLinesAtATime = 8192;
  Communicator& world_;
  int at_a_time_;
  std::optional<LineReader> reader_;
};

// Translations in the order of the lines; a file appears when it is complete.
class Output {
 public:
  // Refuses a path that cannot be written before hours are spent on what would go there.
  explicit Output(const std::string& path) : path_(path) {
    if (path == "-") return;
    const std::filesystem::path folder = std::filesystem::absolute(path).parent_path();
    if (std::error_code ignored; !std::filesystem::is_directory(folder, ignored))
      throw error("--output {}: there is no folder {}", path, folder.string());
  }
  void write(const std::string& text) {
    if (path_ != "-") {
      text_ += text;
      return;
    }
    std::fwrite(text.data(), 1, text.size(), stdout);
    if (std::fflush(stdout) != 0) throw error("standard output takes no more: is the disk full, or the reader gone?");
  }
  void finish() const {
    if (path_ != "-") write_file_atomically(path_, text_);
  }

 private:
  std::string path_, text_;
};

// BLEU against the reference's lines: of the text as it is written and, for word models, of the words as published
// results of such models have it.
class Scorer {
 public:
  Scorer(const std::string& path, const Tokenizer& tokenizer)
      : references_(path), words_(dynamic_cast<const WordTokenizer*>(&tokenizer)) {
    text_options_.lowercase = words_ && words_->model().lowercase;
    word_options_ = {BleuTokenizer::none, BleuSmoothing::none, false};
  }

  void add(const std::string& text, std::span<const std::int32_t> ids) {
    std::string_view line;
    if (!references_.next_utf8(line))
      throw error("{} has only {} lines, fewer than the input: line i of one must belong to line i of the other",
                  references_.path(), references_.number());
    const std::vector<std::string> reference = {std::string(line)};
    text_counts_ += bleu_counts(text, reference, text_options_);
    if (words_)
      word_counts_ += bleu_counts(words_->spaced_words(ids), std::vector{words_->spaced_words(line)}, word_options_);
  }
  void finish() {
    std::string_view line;
    if (references_.next_utf8(line))
      throw error("{} has more lines than the input: line i of one must belong to line i of the other",
                  references_.path());
    fmt::print(stderr, "{}\n", bleu_score(text_counts_, 1, text_options_).line(2));
    if (words_) fmt::print(stderr, "{}\n", bleu_score(word_counts_, 1, word_options_).line(2));
  }

 private:
  LineReader references_;
  const WordTokenizer* words_;
  BleuOptions text_options_, word_options_;
  BleuCounts text_counts_, word_counts_;
};

class Translation {
 public:
  Translation(const TranslateOptions& o, const PairTokenizers& tokenizers, std::int64_t context_length,
              Translator& translator, bool speaks)
      : o_(o), tokenizers_(tokenizers), context_length_(context_length), translator_(translator), speaks_(speaks) {
    settings_.search.beam = o.beam;
    settings_.search.length_penalty = o.length_penalty;
    settings_.search.begin = settings_.search.end = *tokenizers.target().end_of_text();
    settings_.extra_tokens = o.extra_tokens;
    settings_.batch_tokens = o.decode_batch_tokens;
    settings_.cache = !o.recompute_keys;
  }

  struct Line {
    std::int64_t number;
    std::vector<Hypothesis> hypotheses;  // none for a line without text
  };
  // Collective.
  std::vector<Line> translate(const std::vector<std::string>& lines) {
    std::vector<std::vector<std::int32_t>> sources;
    std::vector<Line> results;
    std::vector<std::size_t> line_of_source;
    for (const std::string& text : lines) {
      results.push_back({++number_, {}});
      if (text.find_first_not_of(" \t\f\v") == std::string::npos) continue;
      sources.push_back(encode(text));
      source_tokens_ += static_cast<std::int64_t>(sources.back().size());
      line_of_source.push_back(results.size() - 1);
    }
    std::vector<std::vector<Hypothesis>> found = translator_.translate(sources, settings_);
    for (std::size_t i = 0; i < found.size(); ++i) {
      for (Hypothesis& h : found[i]) {
        // A model's vocabulary may be larger than its tokenizer's.
        std::erase_if(h.tokens, [&](std::int32_t id) { return id >= tokenizers_.target().vocabulary_size(); });
      }
      target_tokens_ += static_cast<std::int64_t>(found[i].front().tokens.size()) + 1;
      ended_ += found[i].front().ended;
      ++sentences_;
      results[line_of_source[i]].hypotheses = std::move(found[i]);
    }
    return results;
  }

  std::string show(const Line& line) const {
    if (line.hypotheses.empty()) return o_.n_best > 1 || o_.scores ? "" : "\n";
    std::string text;
    const std::size_t count = std::min<std::size_t>(line.hypotheses.size(), static_cast<std::size_t>(o_.n_best));
    for (std::size_t i = 0; i < count; ++i) {
      const Hypothesis& h = line.hypotheses[i];
      if (o_.n_best > 1 || o_.scores)
        text += fmt::format("{} ||| {} ||| {:.6f}\n", line.number, text_of(h), h.score);
      else
        text += text_of(h) + "\n";
    }
    return text;
  }
  std::string text_of(const Hypothesis& h) const {
    std::string text = tokenizers_.target().decode(h.tokens);
    for (char& c : text)
      if (c == '\n' || c == '\r') c = ' ';  // a line stays a line
    return text;
  }

  std::int64_t lines() const { return number_; }
  std::int64_t source_tokens() const { return source_tokens_; }
  std::int64_t target_tokens() const { return target_tokens_; }
  std::int64_t cut() const { return cut_; }
  std::int64_t sentences() const { return sentences_; }  // lines with text
  std::int64_t ended() const { return ended_; }          // whose translation came to an end before the length limit

 private:
  std::vector<std::int32_t> encode(const std::string& text) {
    std::vector<std::int32_t> ids = tokenizers_.source().encode(text);
    const auto most = static_cast<std::size_t>(context_length_ - 1);
    if (ids.size() > most) {
      if (speaks_ && cut_++ < 5)
        fmt::print(stderr,
                   "heddle: line {} has {} tokens, more than this model's {}: only its beginning is translated\n",
                   number_, ids.size(), most);
      ids.resize(most);
    }
    ids.push_back(*tokenizers_.source().end_of_text());
    return ids;
  }

  const TranslateOptions& o_;
  const PairTokenizers& tokenizers_;
  std::int64_t context_length_;
  Translator& translator_;
  bool speaks_;
  TranslationSettings settings_;
  std::int64_t number_ = 0, source_tokens_ = 0, target_tokens_ = 0, cut_ = 0, sentences_ = 0, ended_ = 0;
};

int translate(const CommandLine& line, MpiSession& session) {
  const TranslateOptions& o = line.own<TranslateOptions>();
  const CheckpointOptionsFile trained = options_of_checkpoint(line.options.load);
  Options split = line.options;
  split.model = trained.options.model;
  const Layout layout = layout_for(split, session.size());
  const std::unique_ptr<Device> device = make_device(line.options, session);
  const std::unique_ptr<Mesh> mesh = session.make_mesh(layout, *device);
  Communicator& world = mesh->world();
  std::optional<PairTokenizers> tokenizers;
  agree(world, "opening the tokenizers", [&] { tokenizers.emplace(trained); });
  const DType act = act_of(trained.options.train.precision);
  TrainedModel loaded(trained.options.model, act, *device, *mesh, trained.path);
  Translator translator(*loaded.model, *device, *mesh, act);
  Translation translation(o, *tokenizers, loaded.model->context_length(), translator, session.rank() == 0);

  Input input(o, world);
  std::optional<Output> output;
  std::optional<Scorer> scorer;
  agree(world, "opening output and reference", [&] {
    output.emplace(o.output);
    if (session.rank() == 0 && !o.reference.empty()) scorer.emplace(o.reference, tokenizers->target());
  });
  const auto start = std::chrono::steady_clock::now();
  for (std::vector<std::string> lines = input.next(); !lines.empty(); lines = input.next()) {
    const std::vector<Translation::Line> results = translation.translate(lines);
    agree(world, "writing translations", [&] {
      if (session.rank() != 0) return;
      for (const Translation::Line& result : results) {
        output->write(translation.show(result));
        if (!scorer) continue;
        static const Hypothesis kNothing;
        const Hypothesis& best = result.hypotheses.empty() ? kNothing : result.hypotheses.front();
        scorer->add(translation.text_of(best), best.tokens);
      }
    });
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  agree(world, "finishing the output", [&] {
    if (session.rank() != 0) return;
    output->finish();
    if (translation.cut() > 5)
      fmt::print(stderr, "heddle: {} lines in all were longer than the model takes\n", translation.cut());
    if (scorer) scorer->finish();
    if (o.output != "-")
      fmt::print(stderr,
                 "{} lines, {} source and {} target tokens in {:.1f} s, {} tokens/s; {} of {} translations ended by "
                 "themselves\n",
                 with_commas(translation.lines()), with_commas(translation.source_tokens()),
                 with_commas(translation.target_tokens()), seconds,
                 with_si_prefix(static_cast<double>(translation.target_tokens()) / seconds),
                 with_commas(translation.ended()), with_commas(translation.sentences()));
  });
  return kExitDone;
}

int run_translate(const CommandLine& line) {
  const TranslateOptions& o = line.own<TranslateOptions>();
  if (line.options.load.checkpoint.empty())
    throw usage_error(
        "heddle translate needs a run or a checkpoint, as in: heddle translate runs/translation-manpages");
  if (o.n_best > o.beam)
    throw usage_error("n_best = {} is more than beam = {} texts can give; raise beam", o.n_best, o.beam);
  return with_mpi(line, [&](MpiSession& session) { return translate(line, session); });
}

}  // namespace

Command translate_command() {
  Command command;
  command.name = "translate";
  command.summary = "translate lines of text with a trained encoder-decoder";
  command.arguments = "RUN|CHECKPOINT";
  command.argument_key = "load.checkpoint";
  command.sections = {"load", "parallel", "device"};
  command.examples = {"echo 'This function returns zero on success.' | heddle translate runs/translation-manpages",
                      "heddle translate runs/translation-manpages --input data/manpages/test.en --output test.out "
                      "--reference data/manpages/test.fr",
                      "mpirun -np 2 heddle translate runs/translation-manpages --input data/manpages/test.en --beam 1"};
  command.run = run_translate;
  command.own = OwnOptions(declare);
  return command;
}

}  // namespace heddle
