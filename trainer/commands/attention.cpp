// heddle attention: which word a trained model looks at from which, as numbers and as pictures; and how often
// a head looks where it should.

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "kernels/error.h"
#include "parallel/agreement.h"
#include "trainer/commands/command.h"
#include "trainer/commands/with_mpi.h"
#include "trainer/config/check.h"
#include "trainer/data/utf8.h"
#include "trainer/files.h"
#include "trainer/format.h"
#include "trainer/tasks/attention_pictures.h"
#include "trainer/tasks/attention_report.h"
#include "trainer/tasks/attention_score.h"
#include "trainer/tasks/expected_looks.h"
#include "trainer/tasks/translation.h"
#include "trainer/training/settings.h"
#include "trainer/training/trained_model.h"

namespace heddle {

// In the order of AttentionKind, all of them last.
enum class ShownAttention : std::uint8_t { encoder, decoder, cross, all };
template <>
struct Choices<ShownAttention> {
  static constexpr std::array<std::string_view, 4> names{"encoder", "decoder", "cross", "all"};
};

namespace {

struct AttentionOptions {
  std::string text, target_text;
  std::string output;
  ShownAttention kind = ShownAttention::all;
  std::int64_t layer = -1, head = -1;  // -1: all
  std::string row;
  std::string score, places;
};

void declare(AttentionOptions& o, OptionTable& table) {
  table.section("attention", "which text, which heads, and what is written");
  table.add("text", &o.text, "text to look at; of a model that translates, the source");
  table.add("target_text", &o.target_text, "its translation; the model's own if not given");
  table.add(
      "output", &o.output,
      "folder for attention.json and the pictures; if not given RUN/attention, or attention for a checkpoint",
      "<path>");
  table.add_choice(
      "kind", &o.kind,
      "encoder: the source looks at itself; decoder: the text so far; cross: the target looks at the source");
  table.add("layer", &o.layer, {-1, 1 << 20}, "one layer, from 0; -1: all");
  table.add("head", &o.head, {-1, 1 << 20},
            "one head, from 0; -1: all, and in pictures of lines their mean as well");
  table.add("row", &o.row, "a word: print what each head looks at from it, and draw only its lines",
            "<word>");
  table.add(
      "score", &o.score,
      "instead of one text: a file of texts, one a line, for which it is counted how often each head of the "
      "encoder (gpt: of the model) looks from one word mostly at another as --places has it",
      "<path>");
  table.add(
      "places", &o.places,
      "a file beside --score: on each line the numbers, from 0, of the word that looks and of the word that "
      "it should look at",
      "<path>");
}

// What is computed and written at once: some hundred megabytes.
constexpr std::int64_t kMaxWeights = std::int64_t{1} << 25;
constexpr std::int64_t kMaxTextsPerPass = 64;

// The tokenizers of any trained model; of one that reads plain text there is one.
class ModelTokenizers {
 public:
  explicit ModelTokenizers(const CheckpointOptionsFile& trained) {
    if (model_input(trained.options.model) == ModelInput::pairs)
      pairs_.emplace(trained);
    else
      text_ = tokenizer_of_checkpoint(trained.path);
  }
  bool pairs() const { return pairs_.has_value(); }
  const Tokenizer& source() const { return pairs_ ? pairs_->source() : *text_; }
  const Tokenizer& target() const { return pairs_ ? pairs_->target() : *text_; }

 private:
  std::optional<PairTokenizers> pairs_;
  std::unique_ptr<Tokenizer> text_;
};

// `origin` is where the text comes from, "--text" or "file:line"; `most` tokens are left room for.
std::vector<std::int32_t> tokens_of(const std::string& text, const std::string& origin,
                                    const Tokenizer& tokenizer, std::int64_t most) {
  if (tokenizer.requires_utf8() && find_invalid_utf8(text) != text.size())
    throw usage_error("{} is not UTF-8 at byte {}", origin, find_invalid_utf8(text));
  std::vector<std::int32_t> ids = tokenizer.encode(text);
  if (ids.empty()) throw usage_error("{} has no words to look at", origin);
  if (std::ssize(ids) > most)
    throw usage_error("{} has {} tokens, more than the {} that this model reads at once; shorten it", origin,
                      ids.size(), most);
  return ids;
}

std::vector<std::string> shown(const Tokenizer& tokenizer, const std::vector<std::int32_t>& ids) {
  std::vector<std::string> tokens;
  for (std::int32_t id : ids)
    tokens.push_back(id < tokenizer.vocabulary_size()
                         ? escape_for_display(tokenizer.token_bytes(id))
                         : fmt::format("<{}>", id));  // a model's vocabulary may be larger
  return tokens;
}

class AttentionTask {
 public:
  AttentionTask(const CommandLine& line, const CheckpointOptionsFile& trained, Device& device, Mesh& mesh)
      : o_(line.own<AttentionOptions>()),
        trained_(trained),
        model_options_(trained.options.model),
        device_(device),
        mesh_(mesh) {
    agree(mesh.world(), "opening the tokenizers", [&] {
      tokenizers_.emplace(trained);
      select();
    });
    act_ = act_of(trained.options.train.precision);
    loaded_.emplace(model_options_, act_, device, mesh, trained.path);
  }

  void show(const std::string& run) {
    AttentionText text;
    agree(mesh_.world(), "the text", [&] { text = source_of(o_.text, "--text"); });
    if (tokenizers_->pairs()) add_target(text);
    agree(mesh_.world(), "the text", [&] { check_size(text); });
    AttentionReader reader(*loaded_->model, device_, mesh_, act_);
    AttentionReport report;
    report.maps = std::move(reader.read({text}, selection_).front());
    report.checkpoint = trained_.path.string();
    report.family = model_options_.family;
    report.source = shown(tokenizers_->source(), text.source);
    report.text = shown(tokenizers_->target(), text.text);
    agree(mesh_.world(), "writing the attention", [&] {
      if (mesh_.rank() != 0) return;
      const std::string table = o_.row.empty() ? "" : strongest_columns(report, o_.row);
      print_texts(report);
      write(report, folder_of(run));
      if (!table.empty()) fmt::print("\n{}", table);
    });
  }

  void score() {
    AttentionReader reader(*loaded_->model, device_, mesh_, act_);
    AttentionScore score;
    std::optional<ExpectedLooks> file;
    agree(mesh_.world(), "opening the texts", [&] { file.emplace(o_.score, o_.places); });
    for (bool more = true; more;) {
      std::vector<AttentionText> texts;
      std::vector<ExpectedLook> looks;
      agree(mesh_.world(), "reading the texts", [&] { more = read(*file, texts, looks); });
      if (texts.empty()) break;
      const std::vector<std::vector<AttentionMap>> maps = reader.read(texts, selection_);
      for (std::size_t i = 0; i < texts.size(); ++i) score.add(maps[i], looks[i].row, looks[i].column);
    }
    const std::vector<HeadScore> heads = score.best_first();
    if (heads.empty()) throw_on_all_ranks(o_.score + " is empty: there is nothing to score");
    if (mesh_.rank() == 0) fmt::print("{}", score_table(heads));
  }

 private:
  // From the options, and what --score counts. Throws UsageError for heads that the model has not.
  void select() {
    const bool pairs = tokenizers_->pairs();
    if (o_.kind != ShownAttention::all) selection_.kind = static_cast<AttentionKind>(o_.kind);
    if (!o_.score.empty()) {
      const AttentionKind looks = pairs ? AttentionKind::encoder : AttentionKind::decoder;
      if (selection_.kind && *selection_.kind != looks)
        throw usage_error("--score looks at texts as they are, at the {}'s heads: leave out --kind",
                          name_of(looks));
      selection_.kind = looks;
    }
    if (!pairs && selection_.kind.value_or(AttentionKind::decoder) != AttentionKind::decoder)
      throw usage_error("a model of family {} has only --kind decoder", model_options_.family);
    if (!pairs && !o_.target_text.empty())
      throw usage_error("a model of family {} has no --target-text", model_options_.family);
    const std::int64_t layers =
        std::max(layers_of(AttentionKind::encoder), layers_of(AttentionKind::decoder));
    if (o_.layer >= (selection_.kind ? layers_of(*selection_.kind) : layers))
      throw usage_error("there is no layer {}: this model's layers are 0 to {}", o_.layer,
                        (selection_.kind ? layers_of(*selection_.kind) : layers) - 1);
    if (o_.head >= model_options_.num_heads)
      throw usage_error("there is no head {}: this model's heads are 0 to {}", o_.head,
                        model_options_.num_heads - 1);
    if (o_.layer >= 0) selection_.layer = o_.layer;
    if (o_.head >= 0) selection_.head = o_.head;
  }
  std::int64_t layers_of(AttentionKind kind) const {
    if (!tokenizers_->pairs()) return kind == AttentionKind::decoder ? model_options_.num_layers : 0;
    return kind == AttentionKind::encoder ? model_options_.num_layers
                                          : model_options_.decoder_layers_in_use();
  }

  // A text as the model reads it; with an encoder, as its source, and the decoder only begins.
  AttentionText source_of(const std::string& text, const std::string& origin) const {
    const std::int64_t room = model_options_.context_length - (tokenizers_->pairs() ? 1 : 0);
    std::vector<std::int32_t> ids = tokens_of(text, origin, tokenizers_->source(), room);
    if (!tokenizers_->pairs()) return {{}, std::move(ids)};
    ids.push_back(*tokenizers_->source().end_of_text());
    return {std::move(ids), {*tokenizers_->target().end_of_text()}};
  }

  void add_target(AttentionText& text) {
    std::vector<std::int32_t> target;
    if (o_.target_text.empty()) {
      TranslationSettings settings;
      settings.search.beam = 1;
      settings.search.begin = settings.search.end = *tokenizers_->target().end_of_text();
      Translator translator(*loaded_->model, device_, mesh_, act_);
      target = translator.translate({text.source}, settings).front().front().tokens;
      target.resize(std::min(target.size(), static_cast<std::size_t>(model_options_.context_length - 1)));
    } else {
      agree(mesh_.world(), "the target", [&] {
        target = tokens_of(o_.target_text, "--target-text", tokenizers_->target(),
                           model_options_.context_length - 1);
      });
    }
    text.text.insert(text.text.end(), target.begin(), target.end());
  }

  // In the selected layers, of all heads.
  std::int64_t weights_of(std::int64_t source, std::int64_t text) const {
    std::int64_t weights = 0;
    for (const AttentionKind kind : {AttentionKind::encoder, AttentionKind::decoder, AttentionKind::cross})
      for (std::int64_t layer = 0; layer < layers_of(kind); ++layer)
        if (selection_.includes({kind, layer}))
          weights += model_options_.num_heads * (kind == AttentionKind::encoder ? source : text) *
                     (kind == AttentionKind::decoder ? text : source);
    return weights;
  }
  void check_size(const AttentionText& text) const {
    const std::int64_t weights = weights_of(std::ssize(text.source), std::ssize(text.text));
    if (weights > kMaxWeights)
      throw usage_error(
          "{} tokens make {} weights, more than {}: choose --layer or --kind, or a shorter text",
          text.source.size() + text.text.size(), with_commas(weights), with_commas(kMaxWeights));
  }
  // Of --score; they are padded to the longest.
  std::size_t texts_per_pass() const {
    const std::int64_t longest = model_options_.context_length;
    const std::int64_t weights = weights_of(longest, tokenizers_->pairs() ? 1 : longest);
    return static_cast<std::size_t>(std::clamp<std::int64_t>(kMaxWeights / weights, 1, kMaxTextsPerPass));
  }

  void print_texts(const AttentionReport& report) const {
    fmt::print("checkpoint   {}\n", report.checkpoint);
    if (tokenizers_->pairs()) fmt::print("source       {}\n", fmt::join(report.source, " "));
    fmt::print("{}{}\n", tokenizers_->pairs() ? "target       " : "text         ",
               fmt::join(report.text, " "));
  }

  std::filesystem::path folder_of(const std::string& run) const {
    if (!o_.output.empty()) return o_.output;
    std::error_code ignored;
    return std::filesystem::is_directory(std::filesystem::path(run) / "checkpoints", ignored)
               ? std::filesystem::path(run) / "attention"
               : std::filesystem::path("attention");
  }

  void write(const AttentionReport& report, const std::filesystem::path& folder) const {
    make_directories(folder);
    const auto put = [&](const std::string& name, const std::string& content) {
      write_file_atomically(folder / name, content);
      fmt::print("wrote        {}\n", (folder / name).string());
    };
    put("attention.json", attention_json(report));
    if (std::ssize(report.text) > kMaxPictureTokens || std::ssize(report.source) > kMaxPictureTokens) {
      fmt::print("no pictures: a person cannot read more than {} tokens\n", kMaxPictureTokens);
      return;
    }
    for (const AttentionKind kind : {AttentionKind::encoder, AttentionKind::decoder, AttentionKind::cross}) {
      if (report.layers_of(kind).empty()) continue;
      put(fmt::format("{}-heat-maps.svg", name_of(kind)), attention_heat_maps(report, kind));
      put(fmt::format("{}-lines.svg", name_of(kind)), attention_lines(report, kind, o_.row));
    }
  }

  // The next texts for one pass; false if there are no more behind them.
  bool read(ExpectedLooks& file, std::vector<AttentionText>& texts, std::vector<ExpectedLook>& looks) const {
    ExpectedLook look;
    while (texts.size() < texts_per_pass()) {
      if (!file.next(look)) return false;
      texts.push_back(source_of(look.text, file.origin()));
      check_size(texts.back());
      const auto tokens =
          tokenizers_->pairs() ? std::ssize(texts.back().source) - 1 : std::ssize(texts.back().text);
      if (tokens != count_words(look.text))
        throw error(
            "{} has {} words, but this model's tokenizer makes {} tokens of them: a word must be one token",
            file.origin(), count_words(look.text), tokens);
      looks.push_back(look);
    }
    return true;
  }

  [[noreturn]] static void throw_on_all_ranks(const std::string& message) {
    throw Error(message, kExitFailure, /*on_all_ranks=*/true);
  }

  const AttentionOptions& o_;
  const CheckpointOptionsFile& trained_;
  ModelOptions model_options_;
  Device& device_;
  Mesh& mesh_;
  AttentionSelection selection_;
  std::optional<ModelTokenizers> tokenizers_;
  DType act_ = DType::f32;
  std::optional<TrainedModel> loaded_;
};

int attention(const CommandLine& line, MpiSession& session) {
  const CheckpointOptionsFile trained = options_of_checkpoint(line.options.load);
  Options split = line.options;
  split.model = trained.options.model;
  const Layout layout = layout_for(split, session.size());
  const std::unique_ptr<Device> device = make_device(line.options, session);
  const std::unique_ptr<Mesh> mesh = session.make_mesh(layout, *device);
  AttentionTask task(line, trained, *device, *mesh);
  if (line.own<AttentionOptions>().score.empty())
    task.show(line.options.load.checkpoint);
  else
    task.score();
  return kExitDone;
}

int run_attention(const CommandLine& line) {
  const AttentionOptions& o = line.own<AttentionOptions>();
  if (line.options.load.checkpoint.empty() || (o.text.empty() && o.score.empty()))
    throw usage_error(
        "heddle attention needs a run or a checkpoint and a text, as in: heddle attention runs/quickstart "
        "--text \"In the beginning\"");
  if (o.score.empty() != o.places.empty()) throw usage_error("--score and --places need each other");
  if (!o.score.empty() && !(o.text.empty() && o.target_text.empty() && o.row.empty() && o.output.empty()))
    throw usage_error(
        "--score counts over a file of texts: leave out --text, --target-text, --row and --output");
  if (o.score == "-" || o.places == "-")
    throw usage_error("--score and --places are files that every rank reads: standard input (-) is not one");
  return with_mpi(line, [&](MpiSession& session) { return attention(line, session); });
}

}  // namespace

Command attention_command() {
  Command command;
  command.name = "attention";
  command.summary = "show which word a trained model looks at from which: numbers and pictures";
  command.arguments = "RUN|CHECKPOINT";
  command.argument_key = "load.checkpoint";
  command.sections = {"load", "parallel", "device"};
  command.examples = {
      "heddle attention runs/quickstart --text \"In the beginning\" --layer 0",
      "heddle attention runs/coreference --text \"a dog ate the food because it was hungry\" --row it",
      "heddle attention runs/coreference --score data/coreference/test.source --places "
      "data/coreference/test.index"};
  command.run = run_attention;
  command.own = OwnOptions(declare);
  return command;
}

}  // namespace heddle
