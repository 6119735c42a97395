// heddle prepare and heddle tokenize: from text to token ids.

#include <fmt/format.h>

#include <iostream>
#include <iterator>

#include "kernels/error.h"
#include "trainer/commands/command.h"
#include "trainer/data/pair_run_data.h"
#include "trainer/data/run_data.h"
#include "trainer/data/tokenize_report.h"
#include "trainer/data/tokenizers/tokenizer.h"

namespace heddle {

namespace {

int run_prepare(const CommandLine& line) {
  const DataOptions& data = line.options.data;
  if (!data.source.empty() || !data.target.empty() || !data.pairs.empty()) {
    prepare_pair_run_data(data);
    return kExitDone;
  }
  if (prepared_folder(data).empty())
    throw usage_error("--data names token files, which need no preparation");
  prepare_run_data(data);
  return kExitDone;
}

struct TokenizeOptions {
  std::string tokenizer_path;
  std::string text;
  bool table = false;
};

void declare(TokenizeOptions& o, OptionTable& table) {
  table.section("tokenize", "what is shown");
  table.add("tokenizer_path", &o.tokenizer_path, "run folder, prepared data, tokenizer.json, or GPT-2's folder",
            "<path>");
  table.add("text", &o.text, "text to cut into tokens; without it, standard input");
  table.add("table", &o.table, "one line per token: number, id, first byte, text");
}

int run_tokenize(const CommandLine& line) {
  const TokenizeOptions& o = line.own<TokenizeOptions>();
  if (o.tokenizer_path.empty())
    throw usage_error("heddle tokenize needs a tokenizer, as in: heddle tokenize runs/quickstart --text \"In the\"");
  const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(o.tokenizer_path);
  const std::string text =
      !o.text.empty() ? o.text : std::string(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  const TokenizeReport report = tokenize_report(*tokenizer, text);
  fmt::print("{}", o.table ? format_table(report) : format_boundaries(report));
  return kExitDone;
}

}  // namespace

Command prepare_command() {
  Command command;
  command.name = "prepare";
  command.summary = "text to tokenizer and token files, ready to train on";
  command.arguments = "[CONFIG.cfg]";
  command.argument_key = "config";
  command.sections = {"data"};
  command.examples = {"heddle prepare --data my.txt --tokenizer bpe --bpe-vocabulary 8192",
                      "heddle prepare --data books/ --data more.jsonl.zst --data-folder data/mine",
                      "heddle prepare configs/shakespeare-char-cpu.cfg --data input.txt",
                      "heddle prepare --source train.en --target train.fr --bpe-vocabulary 8000"};
  command.run = run_prepare;
  return command;
}

Command tokenize_command() {
  Command command;
  command.name = "tokenize";
  command.summary = "see what a tokenizer does to a text";
  command.arguments = "TOKENIZER";
  command.argument_key = "tokenize.tokenizer_path";
  command.examples = {"heddle tokenize runs/quickstart --text \"In the beginning\"",
                      "heddle tokenize data/kjv-bpe4096 --table < input.txt"};
  command.run = run_tokenize;
  command.own = OwnOptions(declare);
  return command;
}

}  // namespace heddle
