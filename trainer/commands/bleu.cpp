// heddle bleu: the score of translations in a file.

#include "trainer/tasks/bleu.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/error.h"
#include "trainer/commands/command.h"
#include "trainer/data/line_reader.h"

namespace heddle {
namespace {

struct BleuCommandOptions {
  std::string hypotheses;
  std::vector<std::string> references;
  BleuOptions bleu;
  std::int64_t digits = 1;
};

void declare(BleuCommandOptions& o, OptionTable& table) {
  table.section("bleu", "what is scored");
  table.add("hypotheses", &o.hypotheses,
            "translations, one a line: a file, also .gz or .zst; -: standard input", "<path>");
  table.add("references", &o.references,
            "what line i should have been, as a person wrote it; several files are "
            "several translations to compare with; may be repeated");
  table.add_choice(
      "bleu_tokenizer", &o.bleu.tokenizer,
      "13a: of text as it is written, what published scores use; none: the tokens stand between blanks");
  table.add("lowercase_bleu", &o.bleu.lowercase, "compare in lower case");
  table.add_choice("smoothing", &o.bleu.smoothing,
                   "where no n-gram of a length matches; none: the score is then 0");
  table.add("width", &o.digits, between(0, 15), "digits behind the score's point");
}

// Reads on to the end, so that the message can say how long each file is.
[[noreturn]] void throw_different_lengths(LineReader& one, LineReader& other) {
  std::string_view line;
  for (LineReader* reader : {&one, &other})
    while (reader->next_utf8(line)) {
    }
  throw error("{} has {} lines and {} has {}: line i of one must belong to line i of the other", one.path(),
              one.number(), other.path(), other.number());
}

BleuScore score_of_files(const BleuCommandOptions& o) {
  LineReader hypotheses(o.hypotheses);
  std::vector<LineReader> references;
  for (const std::string& path : o.references) references.emplace_back(path);

  BleuCounts counts;
  std::string_view hypothesis, reference;
  std::vector<std::string> translations(references.size());
  for (bool more = true; more;) {
    more = hypotheses.next_utf8(hypothesis);
    for (std::size_t r = 0; r < references.size(); ++r) {
      if (references[r].next_utf8(reference) != more) throw_different_lengths(hypotheses, references[r]);
      translations[r] = reference;
    }
    if (more) counts += bleu_counts(hypothesis, translations, o.bleu);
  }
  if (hypotheses.number() == 0) throw error("{} is empty: there is nothing to score", hypotheses.path());
  return bleu_score(counts, references.size(), o.bleu);
}

int run_bleu(const CommandLine& line) {
  const BleuCommandOptions& o = line.own<BleuCommandOptions>();
  if (o.hypotheses.empty() || o.references.empty())
    throw usage_error(
        "heddle bleu needs translations and what to compare them with, as in: heddle bleu "
        "--hypotheses translated.txt --references reference.txt");
  const auto standard_inputs =
      std::count(o.references.begin(), o.references.end(), "-") + (o.hypotheses == "-");
  if (standard_inputs > 1) throw usage_error("standard input (-) can be only one of the files to compare");
  fmt::print("{}\n", score_of_files(o).line(static_cast<int>(o.digits)));
  return kExitDone;
}

}  // namespace

Command bleu_command() {
  return {.name = "bleu",
          .summary = "score translations against references, as sacreBLEU does",
          .arguments = "REFERENCES...",
          .argument_key = "bleu.references",
          .sections = {},
          .examples = {"heddle bleu --hypotheses translated.txt --references reference.txt",
                       "heddle bleu first.txt second.txt.gz --hypotheses - < translated.txt"},
          .run = run_bleu,
          .own = declare};
}

}  // namespace heddle
