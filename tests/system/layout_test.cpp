// Contract 1 and 2: the loss curve does not depend on the layout, and a resumed run has the bits of one that
// was never interrupted.

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "tests/system/heddle_run.h"

namespace heddle {
namespace {

constexpr LayoutCase kLayouts[] = {{1, 1}, {2, 1}, {4, 1}, {1, 2}, {1, 4}, {2, 2}};

class LayoutTest : public ::testing::TestWithParam<const char*> {};

// Loss of 50 steps with dropout, {one, four} micro-batches of the same global batch.
//
// fp32: 1e-5 for the loss, 1e-4 for the gradient norm. bf16: an activation is rounded to 8 bits, 2^-9
// relative, and layouts round in different places (partial sums of a row-parallel product, gradients of the
// activations at its input). A loss of about 3 nats averages 512 tokens' rounding errors of about 2^-9 of
// their logits' spread (1), so layouts may differ by 2^-9 / sqrt(512) ~ 1e-4 per step at equal weights; 50
// AdamW steps let the weights drift apart by about as much again each ten steps. The bound is 1e-3 for the
// loss and, for the norm of the gradient, which one step of it moves as much, ten times that.
TEST_P(LayoutTest, DoesNotChangeTheLossCurve) {
  const bool bf16 = std::string(GetParam()) != "fp32";
  const double loss_bound = bf16 ? 1e-3 : 1e-5, norm_bound = bf16 ? 1e-2 : 1e-4;
  TestFolder folder;
  const std::string text = make_text(folder);
  std::vector<MetricsRecord> reference;
  double worst_loss = 0, worst_norm = 0;
  for (const LayoutCase layout : kLayouts) {
    for (int passes : {1, 4}) {
      const int micro = 16 / layout.data / passes;
      const std::string run = "run-" + std::to_string(layout.data) + "x" + std::to_string(layout.tensor) +
                              "-" + std::to_string(passes);
      const RunResult result = run_heddle(
          folder, layout.ranks(),
          with(with(with(tiny_gpt(text), layout.words()), precision_words(GetParam())),
               {"--micro-batch", std::to_string(micro), "--run-folder", run}));
      ASSERT_EQ(result.exit_code, 0) << result.output;
      const std::vector<MetricsRecord> metrics = metrics_of(folder, run);
      ASSERT_EQ(metrics.size(), 50u);
      if (reference.empty()) reference = metrics;
      for (std::size_t i = 0; i < metrics.size(); ++i) {
        worst_loss = std::max(worst_loss, std::abs(*metrics[i].loss / *reference[i].loss - 1));
        worst_norm =
            std::max(worst_norm, std::abs(*metrics[i].gradient_norm / *reference[i].gradient_norm - 1));
      }
    }
  }
  EXPECT_LE(worst_loss, loss_bound);
  EXPECT_LE(worst_norm, norm_bound);
  EXPECT_LT(*reference.back().loss, *reference.front().loss - 1.5) << "it should have learnt something";
  RecordProperty("worst_loss", std::to_string(worst_loss));
  std::printf("%s: largest relative difference of the loss %.2e, of the gradient norm %.2e\n", GetParam(),
              worst_loss, worst_norm);
}

// Twice the same run, and N steps against N/2 + resume + N/2: equal files on each layout.
TEST_P(LayoutTest, RepeatsAndResumesWithTheSameBits) {
  TestFolder folder;
  const std::string text = make_text(folder);
  for (const LayoutCase layout : kLayouts) {
    const int ranks = layout.ranks();
    const auto train = [&](const std::string& run, const std::string& length, std::vector<std::string> more) {
      const RunResult result =
          run_heddle(folder, ranks,
                     with(with(with(with(tiny_gpt(text), layout.words()), precision_words(GetParam())),
                               {"--micro-batch", "2", "--length", length, "--decay-length", "20steps",
                                "--run-folder", run}),
                          more));
      ASSERT_EQ(result.exit_code, 0) << result.output;
    };
    const std::string name = std::to_string(layout.data) + "x" + std::to_string(layout.tensor);
    train("once-" + name, "20steps", {});
    train("again-" + name, "20steps", {});
    train("halves-" + name, "10steps", {});
    train("halves-" + name, "20steps", {"--resume"});
    const std::vector<std::string> once = checkpoint_hashes(folder.path() / ("once-" + name));
    EXPECT_EQ(once, checkpoint_hashes(folder.path() / ("again-" + name))) << name << ": a repeated run";
    EXPECT_EQ(once, checkpoint_hashes(folder.path() / ("halves-" + name))) << name << ": a resumed run";
    std::vector<MetricsRecord> a = metrics_of(folder, "once-" + name),
                               b = metrics_of(folder, "halves-" + name);
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i)
      EXPECT_EQ(*a[i].loss, *b[i].loss) << name << " step " << a[i].step;
  }
}

// A checkpoint of any layout goes on in any other.
TEST(LayoutChange, AResumedRunGoesOnInAnotherLayout) {
  TestFolder folder;
  const std::string text = make_text(folder);
  const std::vector<std::string> base = with(tiny_gpt(text), {"--decay-length", "20steps"});
  ASSERT_EQ(run_heddle(folder, 1, with(base, {"--length", "20steps", "--run-folder", "straight"})).exit_code,
            0);
  const std::vector<MetricsRecord> straight = metrics_of(folder, "straight");
  const std::pair<LayoutCase, LayoutCase> changes[] = {
      {{1, 1}, {2, 2}}, {{2, 2}, {1, 1}}, {{1, 4}, {4, 1}}, {{4, 1}, {1, 2}}, {{2, 1}, {1, 4}}};
  int number = 0;
  for (const auto& [from, to] : changes) {
    const std::string run = "change-" + std::to_string(number++);
    for (const auto& [layout, length] : {std::pair{from, "10steps"}, std::pair{to, "20steps"}}) {
      const RunResult result =
          run_heddle(folder, layout.ranks(),
                     with(with(base, layout.words()), {"--length", length, "--run-folder", run, "--resume"}));
      ASSERT_EQ(result.exit_code, 0) << result.output;
    }
    const std::vector<MetricsRecord> changed = metrics_of(folder, run);
    ASSERT_EQ(changed.size(), 20u);
    for (std::size_t i = 0; i < changed.size(); ++i)
      EXPECT_NEAR(*changed[i].loss / *straight[i].loss, 1, 1e-5) << run << " step " << changed[i].step;
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, LayoutTest, ::testing::Values("fp32", "bf16", "bf16_stochastic"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace heddle
