// What a person gets for input that cannot work: one line that helps, a non-zero exit, nothing lost.

#include <gtest/gtest.h>

#include <fstream>

#include "kernels/device.h"
#include "kernels/error.h"
#include "tests/system/heddle_run.h"

namespace heddle {
namespace {

struct BadInput {
  const char* what;
  int ranks;
  std::vector<std::string> words;
  int exit_code;
  std::vector<const char*> says;
};

// The lines that start with "heddle:", which are ours.
std::vector<std::string> our_lines(const std::string& output) {
  std::vector<std::string> lines;
  std::stringstream text(output);
  for (std::string line; std::getline(text, line);)
    if (line.starts_with("heddle: ")) lines.push_back(line);
  return lines;
}

bool gpus_are_there() {
  try {
    return !cuda_devices().empty();
  } catch (const Error&) {
    return false;  // no CUDA in this build, or no driver
  }
}

TEST(BadInput, GivesOneLineOnOneRank) {
  TestFolder folder;
  const std::string text = make_text(folder);
  std::ofstream(folder / "key.cfg") << "[model]\nnum_layer = 2\n";
  std::ofstream(folder / "value.cfg") << "[train]\n\nglobal_batch = many\n";
  std::ofstream(folder / "empty.txt");
  std::ofstream(folder / "short.txt") << "too short";
  std::ofstream(folder / "bad.jsonl") << "{\"text\": \"fine\"}\n{\"tekst\": \"no\"}\n";
  std::ofstream(folder / "latin1.txt") << "caf\xe9 and so on, and on, and on";
  std::ofstream(folder / "tokens.bin") << "not a token file at all";
  const std::vector<std::string> train = tiny_gpt(text);

  const std::vector<BadInput> cases = {
      {"unknown command", 0, {"trian"}, 2, {"trian", "train"}},
      {"unknown flag", 2, with(train, {"--tensor-paralel", "2"}), 2, {"--tensor-parallel"}},
      {"unknown key", 2, {"train", "key.cfg", "--data", text}, 2, {"key.cfg:2", "num_layers"}},
      {"malformed value", 2, {"train", "value.cfg", "--data", text}, 2, {"value.cfg:3", "many"}},
      {"abbreviated flag", 0, with(train, {"--tensor", "2"}), 2, {"--tensor"}},
      {"missing config", 2, {"train", "missing.cfg", "--data", text}, 2, {"missing.cfg"}},
      {"no data", 2, {"train"}, 2, {"--data"}},
      {"missing data", 2, {"train", "--data", "nowhere.txt"}, 1, {"nowhere.txt"}},
      {"empty data", 2, {"train", "--data", "empty.txt", "--tokenizer", "byte"}, 1, {"empty.txt"}},
      {"short data", 2, {"train", "--data", "short.txt", "--tokenizer", "byte"}, 1, {}},
      {"jsonl without text", 2, {"train", "--data", "bad.jsonl", "--tokenizer", "byte"}, 1, {"bad.jsonl:2"}},
      {"text that is not UTF-8", 0, {"train", "--data", "latin1.txt", "--tokenizer", "char"}, 1, {"latin1.txt"}},
      {"foreign token file", 0, {"train", "--data", "tokens.bin"}, 1, {"tokens.bin"}},
      {"heads that do not divide", 3, with(train, {"--tensor-parallel", "3"}), 2, {"num_heads"}},
      {"layout of other size", 2, with(train, {"--tensor-parallel", "4"}), 2, {"ranks"}},
      {"batch that does not divide", 2, with(train, {"--global-batch", "7"}), 2, {"global_batch"}},
      {"micro-batch that does not divide", 2, with(train, {"--micro-batch", "3"}), 2,
       {"micro_batch"}},
      {"vocabulary too small", 2, with(train, {"--vocabulary-size", "100"}), 2,
       {"vocabulary_size"}},
      {"cuda that cannot be", 2, with(train, {"--device", "cuda"}), 2, {"CUDA"}},
      {"no checkpoint there", 0, {"generate", "nowhere", "--prompt", "x"}, 1, {"nowhere"}},
      {"schedule without an end", 2, with(train, {"--length", "1min"}), 2, {"decay_length"}},
  };
  for (const BadInput& c : cases) {
    if (c.words.back() == "cuda" && gpus_are_there()) continue;
    const RunResult result = run_heddle(folder, c.ranks, c.words);
    const std::vector<std::string> lines = our_lines(result.output);
    EXPECT_EQ(result.exit_code, c.exit_code) << c.what << "\n" << result.output;
    ASSERT_EQ(lines.size(), 1u) << c.what << "\n" << result.output;
    for (const char* part : c.says) EXPECT_NE(lines[0].find(part), std::string::npos) << c.what << ": " << lines[0];
    EXPECT_LT(result.seconds, 30) << c.what;
  }
}

TEST(BadInput, ARunIsNotOverwritten) {
  TestFolder folder;
  const std::vector<std::string> train =
      with(tiny_gpt(make_text(folder)), {"--length", "3steps", "--run-folder", "run"});
  ASSERT_EQ(run_heddle(folder, 2, train).exit_code, 0);
  const std::vector<MetricsRecord> before = metrics_of(folder, "run");
  const RunResult again = run_heddle(folder, 2, train);
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_NE(again.output.find("--resume"), std::string::npos) << again.output;
  EXPECT_EQ(metrics_of(folder, "run"), before);
}

TEST(BadInput, ADamagedCheckpointIsNamedAndAnOlderOneTaken) {
  TestFolder folder;
  const std::vector<std::string> train =
      with(tiny_gpt(make_text(folder)), {"--save-every", "5steps", "--run-folder", "run"});
  ASSERT_EQ(run_heddle(folder, 1, with(train, {"--length", "10steps"})).exit_code, 0);
  const std::string file = folder / "run/checkpoints/step-00000010/rank-00000.safetensors";
  {
    std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(-100, std::ios::end);
    bytes.put('\x5a');
  }
  const RunResult result =
      run_heddle(folder, 1, with(train, {"--length", "12steps", "--resume"}));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("rank-00000.safetensors"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("resuming after step 5"), std::string::npos) << result.output;
}

}  // namespace
}  // namespace heddle
