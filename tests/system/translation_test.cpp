// The encoder-decoder as a person runs it: contracts 1 and 2 on batches of many shapes, translation on any layout, and
// words for what cannot work.

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <random>
#include <sstream>

#include "tests/system/heddle_run.h"

namespace heddle {
namespace {

void write(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

std::string read(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// Pairs of made-up sentences; the target is the source's words in reverse, each with an ending.
class TranslationSystem : public ::testing::Test {
 protected:
  TranslationSystem() {
    std::mt19937 random(7);
    std::string source, target;
    for (int line = 0; line < 600; ++line) {
      std::vector<std::string> words(2 + random() % 9);
      for (std::string& word : words) word = std::string("w") + static_cast<char>('a' + random() % 20);
      for (std::size_t i = 0; i < words.size(); ++i) source += words[i] + (i + 1 < words.size() ? " " : "\n");
      for (std::size_t i = words.size(); i-- > 0;) target += words[i] + "n" + (i > 0 ? " " : "\n");
    }
    write(folder_ / "text.source", source);
    write(folder_ / "text.target", target);
  }

  std::vector<std::string> tiny() const {
    return {"train",
            "--family",
            "transformer",
            "--source",
            folder_ / "text.source",
            "--target",
            folder_ / "text.target",
            "--tokenizer",
            "word",
            "--word-minimum-count",
            "1",
            "--num-layers",
            "1",
            "--num-decoder-layers",
            "2",
            "--hidden-size",
            "32",
            "--num-heads",
            "4",
            "--ffn-size",
            "64",
            "--context-length",
            "24",
            "--norm-position",
            "post",
            "--positions",
            "sinusoidal",
            "--embedding-scale",
            "--activation",
            "gelu_tanh",
            "--initialization",
            "xavier",
            "--dropout",
            "0.1",
            "--ffn-dropout",
            "0.1",
            "--label-smoothing",
            "0.1",
            "--batch-tokens",
            "160",
            "--length",
            "30steps",
            "--schedule",
            "noam",
            "--learning-rate",
            "0.1",
            "--min-learning-rate",
            "0",
            "--warmup",
            "20steps",
            "--beta2",
            "0.98",
            "--weight-decay",
            "0",
            "--save-every",
            "0",
            "--validate-every",
            "0",
            "--tensorboard=false"};
  }

  TestFolder folder_;
};

constexpr LayoutCase kLayouts[] = {{1, 1}, {2, 1}, {3, 1}, {1, 2}, {1, 4}, {2, 2}};

// The bounds are those of tests/system/layout_test.cpp. With GELU: at the corner of a ReLU a layout's last bit decides
// between two slopes, which one activation in millions meets.
TEST_F(TranslationSystem, NoLayoutChangesTheLossCurve) {
  for (const char* precision : {"fp32", "bf16"}) {
    const bool bf16 = std::string(precision) == "bf16";
    std::vector<MetricsRecord> reference;
    double worst_loss = 0, worst_norm = 0;
    for (const LayoutCase layout : kLayouts)
      for (const char* micro : {"0", "48"}) {
        if (bf16 && (layout.ranks() > 2) == (std::string(micro) == "0")) continue;  // half of them is enough
        const std::string run = std::string("run-") + precision + layout.name() + "-" + micro;
        const RunResult result =
            run_heddle(folder_, layout.ranks(),
                       with(with(tiny(), layout.words()),
                            {"--precision", precision, "--micro-batch-tokens", micro, "--run-folder", run}));
        ASSERT_EQ(result.exit_code, 0) << result.output;
        const std::vector<MetricsRecord> metrics = metrics_of(folder_, run);
        ASSERT_EQ(metrics.size(), 30u);
        if (reference.empty()) reference = metrics;  // of one rank
        for (std::size_t i = 0; i < metrics.size(); ++i) {
          EXPECT_EQ(metrics[i].tokens, reference[i].tokens);
          worst_loss = std::max(worst_loss, std::abs(*metrics[i].loss / *reference[i].loss - 1));
          worst_norm = std::max(worst_norm, std::abs(*metrics[i].gradient_norm / *reference[i].gradient_norm - 1));
        }
      }
    EXPECT_LE(worst_loss, bf16 ? 1e-3 : 1e-5);
    EXPECT_LE(worst_norm, bf16 ? 1e-2 : 1e-4);
    EXPECT_LT(*reference.back().loss, *reference.front().loss - 0.5) << "it should have learnt something";
    std::printf("%s: largest relative difference of the loss %.2e, of the gradient norm %.2e\n", precision, worst_loss,
                worst_norm);
  }
}

TEST_F(TranslationSystem, RepeatsAndResumesWithTheSameBits) {
  for (const LayoutCase layout : {LayoutCase{1, 1}, LayoutCase{2, 2}})
    for (const char* precision : {"fp32", "bf16"}) {
      const std::string name = layout.name() + precision;
      const auto train = [&](const std::string& run, const char* length, std::vector<std::string> more) {
        const RunResult result = run_heddle(
            folder_, layout.ranks(),
            with(
                with(with(tiny(), layout.words()), {"--precision", precision, "--length", length, "--run-folder", run}),
                more));
        ASSERT_EQ(result.exit_code, 0) << result.output;
      };
      train("once-" + name, "12steps", {});
      train("again-" + name, "12steps", {});
      train("recomputed-" + name, "12steps", {"--recompute", "blocks"});
      train("halves-" + name, "7steps", {});
      train("halves-" + name, "12steps", {"--resume"});
      const std::vector<std::string> once = checkpoint_hashes(folder_.path() / ("once-" + name));
      EXPECT_EQ(once, checkpoint_hashes(folder_.path() / ("again-" + name))) << name << ": a repeated run";
      EXPECT_EQ(once, checkpoint_hashes(folder_.path() / ("recomputed-" + name))) << name << ": with recomputation";
      EXPECT_EQ(once, checkpoint_hashes(folder_.path() / ("halves-" + name))) << name << ": a resumed run";
    }
}

TEST_F(TranslationSystem, TranslatesTheSameOnAnyLayout) {
  ASSERT_EQ(
      run_heddle(folder_, 1, with(tiny(), {"--length", "300steps", "--learning-rate", "0.5", "--run-folder", "model"}))
          .exit_code,
      0);
  // Lines without text stay where they are, a carriage return goes, what was never seen is still one line.
  const std::string input = "wa wb wc\r\n\nwd we\n   \nnever seen this\nwt wa wt wa wt\nwf";
  write(folder_ / "input", input);
  std::string first;
  for (const char* beam : {"1", "3"}) {
    std::string expected;
    for (const LayoutCase layout : kLayouts) {
      const RunResult result = run_heddle(folder_, layout.ranks(),
                                          with({"translate", "model", "--input", folder_ / "input", "--output",
                                                folder_ / "output", "--beam", beam, "--decode-batch-tokens", "20"},
                                               layout.words()));
      ASSERT_EQ(result.exit_code, 0) << result.output;
      const std::string output = read(folder_ / "output");
      EXPECT_EQ(std::count(output.begin(), output.end(), '\n'), 7) << output;
      if (expected.empty()) expected = output;
      EXPECT_EQ(output, expected) << layout.name() << " beam " << beam;
    }
    std::istringstream lines(expected);
    std::string line;
    std::vector<std::string> all;
    while (std::getline(lines, line)) all.push_back(line);
    EXPECT_FALSE(all[0].empty());
    EXPECT_TRUE(all[1].empty());
    EXPECT_FALSE(all[2].empty());
    EXPECT_TRUE(all[3].empty());
    const RunResult recomputed = run_heddle(folder_, 1,
                                            {"translate", "model", "--input", folder_ / "input", "--output",
                                             folder_ / "again", "--beam", beam, "--recompute-keys"});
    ASSERT_EQ(recomputed.exit_code, 0) << recomputed.output;
    EXPECT_EQ(read(folder_ / "again"), expected) << "beam " << beam;
  }
}

TEST_F(TranslationSystem, ScoresEvaluatesAndListsTheBest) {
  ASSERT_EQ(run_heddle(folder_, 2,
                       with(tiny(), {"--length", "300steps", "--learning-rate", "0.5", "--validate-every", "100steps",
                                     "--run-folder", "model"}))
                .exit_code,
            0);
  const RunResult evaluated = run_heddle(folder_, 1, {"evaluate", "model", "--best"});
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.output;
  EXPECT_NE(evaluated.output.find("pairs           60, held back"), std::string::npos) << evaluated.output;
  const RunResult on_others = run_heddle(
      folder_, 2, {"evaluate", "model", "--source", folder_ / "text.source", "--target", folder_ / "text.target"});
  ASSERT_EQ(on_others.exit_code, 0) << on_others.output;
  EXPECT_NE(on_others.output.find("pairs           600\n"), std::string::npos) << on_others.output;

  // A perfect translation scores 100: the reference is what was written.
  write(folder_ / "input", "wa wb wc wd we\nwf wg wh wa\n");
  ASSERT_EQ(run_heddle(folder_, 0, {"translate", "model", "--input", folder_ / "input", "--output", folder_ / "output"})
                .exit_code,
            0);
  const RunResult scored = run_heddle(folder_, 0,
                                      {"translate", "model", "--input", folder_ / "input", "--output",
                                       folder_ / "again", "--reference", folder_ / "output"});
  ASSERT_EQ(scored.exit_code, 0) << scored.output;
  EXPECT_NE(scored.output.find("BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp"), std::string::npos)
      << scored.output;
  EXPECT_NE(scored.output.find("= 100.00 "), std::string::npos) << scored.output;
  const RunResult listed =
      run_heddle(folder_, 0, {"translate", "model", "--input", folder_ / "input", "--n-best", "3", "--beam", "4"});
  ASSERT_EQ(listed.exit_code, 0) << listed.output;
  for (const char* part : {"1 ||| ", "2 ||| ", " ||| -"})
    EXPECT_NE(listed.output.find(part), std::string::npos) << listed.output;
  EXPECT_EQ(std::count(listed.output.begin(), listed.output.end(), '\n'), 6) << listed.output;
}

// Inference in bf16 holds no f32, which is what checkpoints hold.
TEST_F(TranslationSystem, ModelsTrainedInBf16AreOfUse) {
  ASSERT_EQ(run_heddle(folder_, 0, with(tiny(), {"--length", "300steps", "--learning-rate", "0.5", "--precision", "bf16",
                                                 "--run-folder", "model"}))
                .exit_code,
            0);
  write(folder_ / "input", "wa wb wc\nwd we wf wg\n");
  std::string expected;
  for (const LayoutCase layout : {LayoutCase{1, 1}, LayoutCase{2, 1}, LayoutCase{1, 2}}) {
    const RunResult result = run_heddle(
        folder_, layout.ranks(),
        with({"translate", "model", "--input", folder_ / "input", "--output", folder_ / "output"}, layout.words()));
    ASSERT_EQ(result.exit_code, 0) << result.output;
    if (expected.empty()) expected = read(folder_ / "output");
    EXPECT_GT(expected.size(), 10u);
    if (layout.tensor == 1) {
      EXPECT_EQ(read(folder_ / "output"), expected) << layout.name();
    }
  }
  ASSERT_EQ(run_heddle(folder_, 0, with(tiny_gpt(make_text(folder_)), {"--length", "20steps", "--precision", "bf16",
                                                                       "--micro-batch", "4", "--run-folder", "gpt"}))
                .exit_code,
            0);
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"generate", "gpt", "--prompt", "the", "--max-tokens", "5"}, {"evaluate", "gpt"}}) {
    const RunResult result = run_heddle(folder_, 0, words);
    EXPECT_EQ(result.exit_code, 0) << result.output;
  }
}

// Of one checkpoint the mean is itself; of several it is another model that works.
TEST_F(TranslationSystem, AveragesCheckpoints) {
  ASSERT_EQ(run_heddle(folder_, 0,
                       with(tiny(),
                            {"--length", "60steps", "--save-every", "10steps", "--keep", "3", "--run-folder", "model"}))
                .exit_code,
            0);
  const auto loss_of = [&](const std::string& run) {
    const RunResult result = run_heddle(folder_, 0, {"evaluate", run});
    EXPECT_EQ(result.exit_code, 0) << result.output;
    const std::size_t at = result.output.find("loss            ");
    return at == std::string::npos ? std::string() : result.output.substr(at, 40);
  };
  ASSERT_EQ(run_heddle(folder_, 0, {"average", "model", "--last", "1", "--output", "one"}).exit_code, 0);
  EXPECT_EQ(loss_of("one"), loss_of("model"));
  const RunResult averaged = run_heddle(folder_, 0, {"average", "model", "--last", "3"});
  ASSERT_EQ(averaged.exit_code, 0) << averaged.output;
  EXPECT_NE(loss_of("model/average"), loss_of("model"));
  write(folder_ / "input", "wa wb\n");
  EXPECT_EQ(
      run_heddle(folder_, 2, {"translate", "model/average", "--input", folder_ / "input", "--output", folder_ / "o"})
          .exit_code,
      0);
  const RunResult refused = run_heddle(folder_, 0, {"average", "model", "--last", "4"});
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_NE(refused.output.find("has 3 checkpoints, fewer than --last 4"), std::string::npos) << refused.output;
}

struct Refusal {
  std::vector<std::string> words;
  std::vector<std::string> parts;
};

TEST_F(TranslationSystem, SaysWhatCannotWork) {
  ASSERT_EQ(run_heddle(folder_, 0, with(tiny(), {"--length", "2steps", "--run-folder", "model"})).exit_code, 0);
  write(folder_ / "short", "one\ntwo\n");
  write(folder_ / "bad", "fine\n\xff\xfe not text\n");
  write(folder_ / "tabs", "a\tb\nno tab here\n");
  write(
      folder_ / "long", "fine\n" + [] {
        std::string line;
        for (int i = 0; i < 40; ++i) line += "wa ";
        return line;
      }() + "\n");
  const std::string source = folder_ / "text.source", target = folder_ / "text.target";
  const std::vector<std::string> fresh = {"--run-folder", "none", "--data-folder", "none.data"};
  const Refusal refusals[] = {
      {with(with(tiny(), fresh), {"--target", folder_ / "short"}), {"text.source", "600", "short", "2"}},
      {with(with(tiny(), fresh), {"--source", folder_ / "bad", "--target", folder_ / "short"}), {"bad", "2", "UTF-8"}},
      {{"train", "--family", "transformer", "--pairs", folder_ / "tabs"}, {"tabs:2", "tab"}},
      {{"train", "--family", "transformer"}, {"--source and --target"}},
      {{"train", "--family", "transformer", "--source", source}, {"source", "target"}},
      {{"train", "--source", source, "--target", target}, {"family = transformer"}},
      {with(with(tiny(), fresh), {"--joint-vocabulary=false"}), {"share_embeddings"}},
      {with(with(tiny(), fresh), {"--vocabulary-size", "5"}), {"vocabulary_size = 5", "smaller"}},
      {with(with(tiny(), fresh), {"--context-length", "2"}), {"context_length"}},
      {{"translate", "model", "--input", folder_ / "bad"}, {"bad:2", "UTF-8"}},
      {{"translate", "model", "--input", folder_ / "missing"}, {"missing"}},
      {{"translate", "model", "--n-best", "9", "--beam", "2"}, {"n_best = 9", "beam = 2"}},
      {{"translate", "model", "--input", folder_ / "short", "--output", folder_ / "o", "--reference", folder_ / "bad"},
       {"bad:2", "UTF-8"}},
      {{"translate", "model", "--input", folder_ / "short", "--output", folder_ / "o", "--reference", source},
       {"more lines"}},
      {{"generate", "model", "--prompt", "a"}, {"heddle translate"}},
      {{"translate", "model", "--input", folder_ / "short", "--output", "nowhere/at/all"}, {"no folder"}},
      {{"translate"}, {"needs a run"}},
  };
  for (const Refusal& refusal : refusals)
    for (int ranks : {0, 2}) {
      const RunResult result = run_heddle(folder_, ranks, refusal.words);
      std::string words;
      for (const std::string& word : refusal.words) words += word + " ";
      EXPECT_NE(result.exit_code, 0) << words;
      EXPECT_LT(result.seconds, 30) << words;
      for (const std::string& part : refusal.parts)
        EXPECT_NE(result.output.find(part), std::string::npos) << words << "\n" << result.output;
    }
  const RunResult cut = run_heddle(folder_, 0, {"translate", "model", "--input", folder_ / "long"});
  EXPECT_EQ(cut.exit_code, 0) << cut.output;
  EXPECT_NE(cut.output.find("line 2 has 40 tokens, more than this model's 23"), std::string::npos) << cut.output;
}

}  // namespace
}  // namespace heddle
