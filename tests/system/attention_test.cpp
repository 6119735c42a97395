// heddle attention as a person runs it: the same weights on any layout, and one line for what cannot work.

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/system/heddle_run.h"

namespace heddle {
namespace {

nlohmann::json json_in(const TestFolder& folder, const std::string& name) {
  return nlohmann::json::parse(std::ifstream(folder / (name + "/attention.json")));
}

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream words(line);
  return {std::istream_iterator<std::string>(words), {}};
}

void expect_same_weights(const nlohmann::json& a, const nlohmann::json& b) {
  EXPECT_EQ(a["tokens"], b["tokens"]);
  ASSERT_EQ(a["layers"].size(), b["layers"].size());
  for (std::size_t l = 0; l < a["layers"].size(); ++l) {
    const nlohmann::json &heads_a = a["layers"][l]["heads"], &heads_b = b["layers"][l]["heads"];
    ASSERT_EQ(heads_a.size(), heads_b.size());
    for (std::size_t h = 0; h < heads_a.size(); ++h)
      for (std::size_t i = 0; i < heads_a[h]["weights"].size(); ++i)
        for (std::size_t j = 0; j < heads_a[h]["weights"][i].size(); ++j)
          EXPECT_NEAR(heads_a[h]["weights"][i][j].get<double>(), heads_b[h]["weights"][i][j].get<double>(),
                      1e-5)
              << "layer " << l << " head " << h;
  }
}

// Each tensor rank has half of the heads.
TEST(AttentionCommand, GivesTheSameWeightsOnTwoRanks) {
  TestFolder folder;
  std::ofstream(folder / "source.txt") << "one two three\nfour five\nsix\nseven eight\n";
  std::ofstream(folder / "target.txt") << "un deux trois\nquatre cinq\nsix\nsept huit\n";
  const std::vector<std::string> gpt =
      with(tiny_gpt(make_text(folder)), {"--length", "10steps", "--run-folder", "gpt"});
  const std::vector<std::string> pairs = words_of(
      "train --family transformer --source source.txt --target target.txt --validation-fraction 0 "
      "--tokenizer byte "
      "--num-layers 2 --num-decoder-layers 1 --hidden-size 32 --num-heads 4 --context-length 32 "
      "--global-batch 2 "
      "--length 4steps --warmup 1steps --threads 1 --validate-every 0 --tensorboard=false --run-folder "
      "pairs");
  for (const std::vector<std::string>& train : {gpt, pairs}) {
    const RunResult trained = run_heddle(folder, 0, train);
    ASSERT_EQ(trained.exit_code, 0) << trained.output;
  }
  const std::vector<std::pair<std::string, std::vector<std::string>>> texts = {
      {"gpt", {"--text", "what is it?"}}, {"pairs", {"--text", "nine ten", "--target-text", "neuf dix"}}};
  for (const auto& [run, text] : texts) {
    const std::vector<std::string> look = with({"attention", run, "--threads", "1"}, text);
    const RunResult one = run_heddle(folder, 0, with(look, {"--output", run + "-one"}));
    ASSERT_EQ(one.exit_code, 0) << one.output;
    const RunResult two =
        run_heddle(folder, 2, with(look, {"--output", run + "-two", "--tensor-parallel", "2"}));
    ASSERT_EQ(two.exit_code, 0) << two.output;
    const nlohmann::json weights = json_in(folder, run + "-one");
    EXPECT_EQ(weights["layers"].size(), run == "gpt" ? 2u : 4u);
    EXPECT_EQ(weights["layers"][0]["heads"].size(), 4u);
    expect_same_weights(weights, json_in(folder, run + "-two"));
    EXPECT_TRUE(std::filesystem::exists(folder / (run + "-two/decoder-lines.svg")));
  }

  // The model's own translation is the target if none is given.
  const RunResult own = run_heddle(folder, 0, {"attention", "pairs", "--text", "nine ten", "--threads", "1"});
  EXPECT_EQ(own.exit_code, 0) << own.output;
  EXPECT_EQ(json_in(folder, "pairs/attention")["tokens"]["source"].size(), 9u);

  struct BadInput {
    int ranks;
    std::vector<std::string> words;
    int exit_code;
    const char* says;
  };
  std::ofstream(folder / "places.txt") << "0 1\n";
  std::ofstream(folder / "words.txt") << "a b\n";
  const BadInput cases[] = {
      {0, {"gpt"}, 2, "--text"},
      {0, {"nowhere", "--text", "a"}, 1, "nowhere"},
      {0, {"gpt", "--text", ""}, 2, "--text"},
      {0, {"pairs", "--text", std::string(40, 'a')}, 2, "40 tokens, more than the 31"},
      {2, {"pairs", "--text", "a", "--target-text", std::string(40, 'a')}, 2, "--target-text has 40 tokens"},
      {0, {"gpt", "--text", "a", "--target-text", "b"}, 2, "--target-text"},
      {0, {"gpt", "--text", "a", "--kind", "cross"}, 2, "--kind decoder"},
      {0, {"gpt", "--text", "a", "--layer", "2"}, 2, "layers are 0 to 1"},
      {0, {"gpt", "--text", "a", "--head", "4"}, 2, "heads are 0 to 3"},
      {2, {"gpt", "--text", "a", "--row", "b"}, 2, "no token is 'b'"},
      {0, {"gpt", "--score", "words.txt"}, 2, "--places"},
      {2, {"gpt", "--score", "words.txt", "--places", "places.txt"}, 1, "words.txt:1 has 2 words"},
  };
  for (const BadInput& bad : cases) {
    std::vector<std::string> words = {"attention"};
    words.insert(words.end(), bad.words.begin(), bad.words.end());
    const RunResult result = run_heddle(folder, bad.ranks, words);
    EXPECT_EQ(result.exit_code, bad.exit_code) << result.output;
    EXPECT_NE(result.output.find(bad.says), std::string::npos) << result.output;
    EXPECT_EQ(result.output.find("heddle: "), result.output.rfind("heddle: "))
        << "one line: " << result.output;
  }
}

}  // namespace
}  // namespace heddle
