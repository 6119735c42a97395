#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "tests/trainer/test_files.h"
#include "trainer/commands/command.h"

namespace heddle {
namespace {

struct CopyOptions {
  std::vector<std::string> files;
  std::int64_t times = 1;
};

void declare_copy(CopyOptions& o, OptionTable& table) {
  table.section("copy", "what is copied");
  table.add("files", &o.files, "files to copy");
  table.add("times", &o.times, between(1, 9), "how often");
}

// What the last command ran with.
CommandLine last;

int remember(const CommandLine& line) {
  last = line;
  return kExitDone;
}

std::vector<Command> test_commands() {
  Command train;
  train.name = "train";
  train.summary = "train a model";
  train.arguments = "[CONFIG.cfg]";
  train.argument_key = "config";
  train.sections = training_sections();
  train.examples = {"mpirun -n 2 heddle train configs/tiny.cfg --length 100steps"};
  train.run = remember;
  Command generate = train;
  generate.name = "generate";
  generate.arguments = "CHECKPOINT";
  generate.argument_key = "load.checkpoint";
  generate.sections = {"load", "generation"};
  Command copy;
  copy.name = "copy";
  copy.summary = "copy files";
  copy.arguments = "FILE...";
  copy.argument_key = "copy.files";
  copy.run = remember;
  copy.own = declare_copy;
  Command bare;
  bare.name = "bare";
  bare.run = remember;
  return {train, generate, copy, bare};
}

struct Result {
  int exit_code;
  std::string out;
};

Result run(std::vector<std::string> words) {
  words.insert(words.begin(), "heddle");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  std::ostringstream out;
  last = {};
  const int exit_code = run_command_line(test_commands(), static_cast<int>(argv.size()), argv.data(), out);
  return {exit_code, out.str()};
}

std::string bad(const std::vector<std::string>& words) {
  return error_of([&] { run(words); });
}

TEST(CommandLine, FlagsWinOverFileOverDefaults) {
  const TestFolder folder;
  const std::string config = folder.write("tiny.cfg", R"([model]
num_layers = 2
hidden_size = 64
num_heads = 4
[data]
data = a.txt
data = b.txt
[generation]
top_k = 5
)");
  ASSERT_EQ(run({"train", config, "--hidden-size", "128", "--model.num_heads=8", "--resume"}).exit_code, 0);
  EXPECT_EQ(last.options.model.num_layers, 2);
  EXPECT_EQ(last.options.model.hidden_size, 128);
  EXPECT_EQ(last.options.model.num_heads, 8);
  EXPECT_EQ(last.options.model.context_length, 1024);
  EXPECT_EQ(last.options.data.data, (std::vector<std::string>{"a.txt", "b.txt"}));
  EXPECT_TRUE(last.options.train.resume);
  EXPECT_EQ(last.options.train.run_folder, "runs/tiny");
  EXPECT_EQ(last.config_file, config);
  EXPECT_EQ(last.options.generation.top_k, 5);  // read though train does not use it

  run({"train", "--resume", config});  // a switch does not take the next word
  EXPECT_TRUE(last.options.train.resume);
  EXPECT_EQ(last.config_file, config);

  // The flags' list takes the place of the file's, and may be emptied.
  run({"train", "--config", config, "--data", "c.txt", "--resume=false", "--data=d.txt"});
  EXPECT_EQ(last.options.data.data, (std::vector<std::string>{"c.txt", "d.txt"}));
  EXPECT_FALSE(last.options.train.resume);
  run({"train", config, "--data", ""});
  EXPECT_TRUE(last.options.data.data.empty());
}

TEST(CommandLine, WordsGoWhereTheCommandSays) {
  run({"generate", "runs/x", "--prompt", "-- a b", "--top-k", "3"});
  EXPECT_EQ(last.options.load.checkpoint, "runs/x");
  EXPECT_EQ(last.options.generation.prompt, "-- a b");
  run({"generate", "--prompt=--top-k", "--", "--resume"});
  EXPECT_EQ(last.options.load.checkpoint, "--resume");
  EXPECT_EQ(last.options.generation.prompt, "--top-k");
  run({"copy", "a", "b", "--times", "3"});
  EXPECT_EQ(last.own<CopyOptions>().files, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(last.own<CopyOptions>().times, 3);
  EXPECT_EQ(bad({"generate", "a", "--checkpoint", "b"}), "usage: both 'a' and --checkpoint are given");
  EXPECT_EQ(bad({"train", "a.cfg", "--config", "b.cfg"}),
            "usage: two config files: a.cfg and --config b.cfg");
  EXPECT_EQ(bad({"train", "a.cfg", "b.cfg"}),
            "usage: unexpected word 'b.cfg'; heddle train takes [CONFIG.cfg]");
  EXPECT_EQ(bad({"train", "a.cfg", "--bias", "false"}),
            "usage: unexpected word 'false'; heddle train takes [CONFIG.cfg]; a switch takes its value with "
            "'=', as "
            "in --bias=false");
  EXPECT_EQ(bad({"bare", "x"}), "usage: unexpected word 'x'; heddle bare takes only options");
}

TEST(CommandLine, WrongFlagsAreNamed) {
  EXPECT_EQ(bad({"train", "--num-layer", "3"}),
            "usage: unknown option --num-layer; did you mean --num-layers?");
  EXPECT_EQ(bad({"train", "--num_layers=3"}),
            "usage: unknown option --num_layers; did you mean --num-layers?");
  EXPECT_EQ(bad({"train", "--modle.num_layers=3"}),
            "usage: unknown option --modle.num_layers; did you mean --num-layers?");
  EXPECT_EQ(bad({"train", "--model.num", "3"}),
            "usage: unknown option --model.num; heddle train --help lists those it has");  // no guessing
  EXPECT_EQ(bad({"train", "--no-bias"}), "usage: unknown option --no-bias; write --bias=false");
  EXPECT_EQ(bad({"train", "-n", "3"}), "usage: unknown option -n; heddle train --help lists those it has");
  EXPECT_EQ(bad({"train", "--top-k", "3"}),
            "usage: --top-k is an option of [generation], which heddle train does not use");
  EXPECT_EQ(bad({"train", "--times", "3"}),
            "usage: unknown option --times; heddle train --help lists those it has");
  EXPECT_EQ(bad({"train", "--seed"}), "usage: --seed needs a value: --seed <number>");
  EXPECT_EQ(bad({"train", "--seed", "--resume"}), "usage: --seed needs a value: --seed <number>");
  EXPECT_EQ(bad({"generate", "x", "--prompt", "--checkpoint=x"}),
            "usage: --prompt needs a value: --prompt <text>");
  EXPECT_EQ(bad({"train", "--config"}), "usage: --config needs a value: --config <path>");
  EXPECT_EQ(bad({"train", "--seed="}), "usage: --seed= has no value; an empty one is written --seed ''");
  EXPECT_EQ(bad({"train", "--help=1"}), "usage: --help takes no value");
  EXPECT_EQ(bad({"train", "--seed", "1", "--train.seed", "2"}), "usage: --train.seed is given twice");
}

TEST(CommandLine, WrongValuesNameTheFlag) {
  EXPECT_EQ(bad({"train", "--num-layers", "12x"}), "usage: --num-layers: '12x' is not a whole number");
  EXPECT_EQ(bad({"train", "--model.num_layers=0"}),
            "usage: --model.num_layers: '0' is out of range: it must be from 1 to 10000");
  EXPECT_EQ(bad({"train", "--seed", "-1"}), "usage: --seed: '-1' is out of range: it must be at least 0");
  EXPECT_EQ(bad({"train", "--length", "100"}),
            "usage: --length: '100' has no unit: write 100steps, 1Mt (million tokens), 2epochs or 10min");
  EXPECT_EQ(bad({"train", "--resume=perhaps"}), "usage: --resume: 'perhaps' is neither true nor false");
  EXPECT_EQ(bad({"train", "--num-heads", "7"}).substr(0, 58),
            "usage: num_heads = 7 does not divide hidden_size = 768: 3,");
  EXPECT_EQ(bad({"copy", "--times", "10"}), "usage: --times: '10' is out of range: it must be from 1 to 9");
}

TEST(CommandLine, PrintedConfigSaysWhereValuesComeFromAndReadsBack) {
  const TestFolder folder;
  const std::string config = folder.write("a.cfg", "[model]\nnum_layers = 2\n[data]\ndata = x\\x23y\n");
  const Result first = run({"train", config, "--seed", "5", "--data-folder", "# b ", "--print-config"});
  EXPECT_EQ(first.exit_code, 0);
  EXPECT_EQ(last.command, "");  // the command did not run
  EXPECT_NE(first.out.find("\nnum_layers = 2                           # " + config + ":2\n"),
            std::string::npos);
  EXPECT_NE(first.out.find("\nseed = 5                                 # flag\n"), std::string::npos);
  EXPECT_NE(first.out.find("\nhidden_size = 768                        # default\n"), std::string::npos);
  EXPECT_NE(first.out.find("\nrun_folder = runs/a                      # default\n"), std::string::npos);
  EXPECT_EQ(first.out.find("[generation]"), std::string::npos);

  run({"train", folder.write("b.cfg", first.out)});
  const Options again = last.options;
  run({"train", config, "--seed", "5", "--data-folder", "# b "});
  EXPECT_TRUE(again == last.options);
  EXPECT_EQ(again.data.data, std::vector<std::string>{"x#y"});
  EXPECT_EQ(again.data.data_folder, "# b ");

  EXPECT_EQ(run({"copy", "a", "--print-config"}).out,
            "[copy]\n"
            "files = a                                # flag\n"
            "times = 1                                # default\n");
}

TEST(CommandLine, HelpShowsOnlyWhatTheCommandTakes) {
  const Result help = run({"generate", "--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_NE(help.out.find("Usage: heddle generate CHECKPOINT [--option VALUE]...\n"), std::string::npos);
  EXPECT_NE(help.out.find("mpirun -n 2 heddle train configs/tiny.cfg"), std::string::npos);
  EXPECT_NE(help.out.find("\n[generation] text from a model\n"), std::string::npos);
  EXPECT_NE(help.out.find("\n  --max-tokens <number>           tokens to generate [200]\n"),
            std::string::npos);
  EXPECT_NE(help.out.find("\n  --cache[=false] "), std::string::npos);
  EXPECT_EQ(help.out.find("--num-layers"), std::string::npos);
  EXPECT_EQ(run({"help", "generate"}).out, help.out);
  EXPECT_EQ(run({"generate", "-h"}).out, help.out);

  std::istringstream lines(run({"help", "train"}).out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 120u) << line;
}

TEST(CommandLine, GeneralHelpAndUnknownCommands) {
  EXPECT_EQ(run({}).exit_code, kExitUsage);
  EXPECT_EQ(run({"--help"}).exit_code, 0);
  EXPECT_NE(run({"--help"}).out.find("\n  train       train a model\n"), std::string::npos);
  EXPECT_NE(run({"help", "config"}).out.find("\\x23"), std::string::npos);
  EXPECT_EQ(run({"--version"}).out.substr(0, 7), "heddle ");
  EXPECT_EQ(bad({"trian"}), "usage: unknown command 'trian'; did you mean heddle train?");
  EXPECT_EQ(bad({"zzz"}), "usage: unknown command 'zzz'; heddle --help lists the commands");
  EXPECT_EQ(bad({"--seed", "3"}),
            "usage: '--seed' where a command belongs; heddle --help lists the commands");
  EXPECT_EQ(bad({"help", "trian"}), "usage: unknown command 'trian'; did you mean heddle train?");
}

TEST(CommandLine, EveryRegisteredCommandExplainsItself) {
  for (const Command& command : all_commands()) {
    EXPECT_FALSE(command.summary.empty()) << command.name;
    EXPECT_FALSE(command.examples.empty()) << command.name;
    ASSERT_NE(command.run, nullptr) << command.name;
    Options options;
    OptionTable table;
    declare_options(options, table);
    const std::any own = command.own.make(table);  // throws if a name is taken
    for (const std::string& section : command.sections) {
      const auto& known = table.sections();
      EXPECT_TRUE(std::any_of(known.begin(), known.end(), [&](const auto& s) { return s.name == section; }))
          << command.name << " takes unknown [" << section << "]";
    }
    if (!command.argument_key.empty() && command.argument_key != "config") {
      EXPECT_NE(table.find(command.argument_key), nullptr) << command.name;
    }
  }
}

}  // namespace
}  // namespace heddle
