#include <gtest/gtest.h>

#include <limits>
#include <memory>

#include "tests/trainer/test_files.h"
#include "trainer/metrics/progress.h"

namespace heddle {
namespace {

const MetricsRecord kRecord{.step = 120,
                            .tokens = 3'932'160,
                            .loss = 3.42154,
                            .learning_rate = 6e-4,
                            .gradient_norm = 0.5213,
                            .step_seconds = 2.0,
                            .tokens_per_second = 12345,
                            .mfu = 0.412};

std::string without_colors(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') {
      i = text.find('m', i);
    } else {
      plain += text[i];
    }
  }
  return plain;
}

TEST(ProgressText, ShowsTheWholeRecord) {
  EXPECT_EQ(
      progress_text(kRecord, 1000, 192, 0, false),
      "step  120/1000  loss 3.4215  lr 6.00e-04  grad norm 0.521  12.3k tokens/s  MFU 41.2%  ETA 3min 12s");
  EXPECT_EQ(progress_text({.step = 1, .tokens = 1}, 5, -1, 0, false), "step 1/5");
}

TEST(ProgressText, LeavesOutTheLeastNeeded) {
  EXPECT_EQ(progress_text(kRecord, 1000, 192, 80, false),
            "step  120/1000  loss 3.4215  lr 6.00e-04  12.3k tokens/s  ETA 3min 12s");
  EXPECT_EQ(progress_text(kRecord, 1000, 192, 50, false), "step  120/1000  loss 3.4215  12.3k tokens/s");
  EXPECT_EQ(progress_text(kRecord, 1000, 192, 30, false), "step  120/1000  loss 3.4215");
  EXPECT_EQ(progress_text(kRecord, 1000, 192, 10, true), "step  120/");
}

TEST(ProgressText, FitsEveryWidth) {
  for (int width = 1; width < 150; ++width) {
    const std::string plain = progress_text(kRecord, 1000, 192, width, false);
    EXPECT_LE(plain.size(), static_cast<std::size_t>(width));
    EXPECT_EQ(without_colors(progress_text(kRecord, 1000, 192, width, true)), plain);
  }
}

TEST(ProgressText, NumbersAreShort) {
  EXPECT_EQ(count_text(0), "0");
  EXPECT_EQ(count_text(999), "999");
  EXPECT_EQ(count_text(999.7), "1.00k");
  EXPECT_EQ(count_text(12345), "12.3k");
  EXPECT_EQ(count_text(99960), "100k");
  EXPECT_EQ(count_text(4'560'000), "4.56M");
  EXPECT_EQ(count_text(1e18), "1000000T");
  EXPECT_EQ(duration_text(0.4), "0s");
  EXPECT_EQ(duration_text(59.6), "1min 00s");
  EXPECT_EQ(duration_text(3 * 60 + 12), "3min 12s");
  EXPECT_EQ(duration_text(2 * 3600 + 5 * 60), "2h 05min");
  EXPECT_EQ(duration_text(3 * 86400 + 4 * 3600), "3d 04h");
  EXPECT_EQ(duration_text(std::numeric_limits<double>::infinity()), "a long time");
}

// What a ProgressLine with this style writes.
template <typename Use>
std::string written(ProgressStyle style, Use use) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), std::fclose);
  {
    ProgressLine line(file.get(), style, 1000);
    use(line);
  }
  std::string text(static_cast<std::size_t>(std::ftell(file.get())), '\0');
  std::rewind(file.get());
  EXPECT_EQ(std::fread(text.data(), 1, text.size(), file.get()), text.size());
  return text;
}

void some_steps(ProgressLine& line) {
  line.step({.step = 1, .tokens = 1, .loss = 2});
  line.validation({.step = 1, .tokens = 1, .validation_loss = 1.5}, true);
  line.saved(1, "runs/x/checkpoints/step_1");
  line.step({.step = 2, .tokens = 2, .loss = 1});
}

TEST(ProgressLine, IsPlainLinesOutsideATerminal) {
  EXPECT_EQ(written({}, some_steps),
            "step    1/1000  loss 2.0000\n"
            "step 1  validation loss 1.5000  (best so far)\n"
            "step 1  saved runs/x/checkpoints/step_1\n"
            "step    2/1000  loss 1.0000\n");
}

TEST(ProgressLine, RedrawsOneLineInATerminal) {
  const ProgressStyle style{.redraw = true, .color = false, .width = 60, .redraw_seconds = 0};
  EXPECT_EQ(written(style, some_steps),
            "\r\x1b[Kstep    1/1000  loss 2.0000"
            "\r\x1b[Kstep 1  validation loss 1.5000  (best so far)\nstep    1/1000  loss 2.0000"
            "\r\x1b[Kstep 1  saved runs/x/checkpoints/step_1\nstep    1/1000  loss 2.0000"
            "\r\x1b[Kstep    2/1000  loss 1.0000\n");
  // The last column stays free.
  const ProgressStyle narrow{.redraw = true, .color = false, .width = 15, .redraw_seconds = 0};
  EXPECT_EQ(written(narrow, [](ProgressLine& line) { line.step(kRecord); }), "\r\x1b[Kstep  120/1000\n");
}

TEST(ProgressLine, IsNotRedrawnAllTheTimeButAtTheEnd) {
  const ProgressStyle style{.redraw = true, .color = false, .width = 60, .redraw_seconds = 1e6};
  EXPECT_EQ(written(style,
                    [](ProgressLine& line) {
                      for (std::int64_t step : {1, 2, 3, 1000})
                        line.step({.step = step, .tokens = 1, .loss = 1});
                    }),
            "\r\x1b[Kstep    1/1000  loss 1.0000\r\x1b[Kstep 1000/1000  loss 1.0000\n");
}

TEST(ProgressLine, TimeLeftFollowsTheStepTime) {
  const std::string text = written({}, [](ProgressLine& line) {
    line.step({.step = 500, .tokens = 1, .step_seconds = 2});
    line.step({.step = 990, .tokens = 1, .step_seconds = 12});
  });
  EXPECT_EQ(text, "step  500/1000  ETA 16min 40s\nstep  990/1000  ETA 30s\n");
}

}  // namespace
}  // namespace heddle
