#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "tests/trainer/test_files.h"
#include "trainer/commands/command.h"
#include "trainer/metrics/gnuplot.h"
#include "trainer/metrics/loss_plot.h"

namespace heddle {
namespace {

std::vector<MetricsRecord> synthetic_run(int steps) {
  std::vector<MetricsRecord> records;
  for (int step = 1; step <= steps; ++step) {
    MetricsRecord record{.step = step, .tokens = step * 1000};
    record.loss = 3 + 8 * std::exp(-step / 50.0) + 0.1 * std::sin(step * 12.9898);
    record.tokens_per_second = 1e5 + 100 * step;
    if (step % 50 == 0) record.validation_loss = *record.loss + 0.1;
    records.push_back(record);
  }
  return records;
}

int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(Plot, SmoothingIsAMovingAverage) {
  const std::vector<double> values{1, 2, 6, 3, 8};
  EXPECT_EQ(smoothed(values, 1), values);
  EXPECT_EQ(smoothed(values, 3), (std::vector<double>{1.5, 3, 11.0 / 3, 17.0 / 3, 5.5}));
  EXPECT_EQ(smoothed(values, 100), (std::vector<double>{4, 4, 4, 4, 4}));
  EXPECT_EQ(smoothed({}, 3), std::vector<double>{});
}

TEST(Plot, ScriptDrawsWhatIsAskedFor) {
  const std::vector<PlottedRun> one{{"a", synthetic_run(200)}};
  const std::string both = plot_script(one, {});
  EXPECT_EQ(count(both, "\nplot "), 2);
  EXPECT_EQ(count(both, "title 'validation'"), 1);
  EXPECT_NE(both.find("\nset logscale y"), std::string::npos);
  EXPECT_NE(both.find("set xlabel 'tokens'"), std::string::npos);
  EXPECT_NE(both.find("'200k' 200000"), std::string::npos);

  const std::string loss = plot_script(one, {.what = PlotWhat::loss, .axis = PlotAxis::steps, .smooth = 1});
  EXPECT_EQ(count(loss, "\nplot "), 1);
  EXPECT_EQ(count(loss, "tokens per second"), 0);
  EXPECT_NE(loss.find("set xlabel 'steps'"), std::string::npos);
  EXPECT_EQ(count(loss, "lw 1 lc"), 0);  // nothing is averaged: no thin line

  const std::string two = plot_script({{"a", synthetic_run(200)}, {"b", synthetic_run(100)}}, {});
  EXPECT_EQ(count(two, "title 'a, training'") + count(two, "title 'b, validation'"), 2);

  // A loss that hardly falls stays on a linear axis.
  std::vector<MetricsRecord> flat = synthetic_run(200);
  for (MetricsRecord& record : flat) record.loss = *record.loss / 100 + 3;
  for (MetricsRecord& record : flat) record.validation_loss.reset();
  EXPECT_EQ(plot_script({{"a", flat}}, {}).find("\nset logscale"), std::string::npos);
}

TEST(Plot, LongRunsAreThinned) {
  EXPECT_LT(plot_script({{"a", synthetic_run(100'000)}}, {}).size(), 500'000u);
}

TEST(Plot, NumbersThatAreNoneAreLeftOut) {
  auto records = synthetic_run(10);
  records[3].loss = std::nan("");
  records[4].loss = HUGE_VAL;
  const std::string script = plot_script({{"a", records}}, {});
  EXPECT_EQ(script.find("nan"), std::string::npos);
  EXPECT_EQ(script.find("inf"), std::string::npos);
  EXPECT_EQ(error_of([] {
              plot_script({{"a", {{.step = 1, .tokens = 1}}}}, {});
            }),
            "a: no record with a number to draw");
}

TEST(Plot, NamesAreDataAndNotScript) {
  EXPECT_EQ(gnuplot_string("it's `ls` \"x\" \\n\n"), "'it''s `ls` \"x\" \\n '");
  EXPECT_EQ(error_of([] { gnuplot_terminal("a.gif", 1, 1); }),
            "usage: a.gif: the ending of a picture is .png, .svg or .pdf");
}

TEST(Plot, DrawsAPicture) {
  if (!has_gnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  const TestFolder folder;
  // A name that would be a command in a shell, and one in gnuplot.
  const std::string hostile = "it's $(touch x) `touch y`";
  for (const std::string& name : {std::string("plain"), hostile}) {
    std::filesystem::create_directories(folder / name);
    std::string lines;
    for (const MetricsRecord& record : synthetic_run(300)) lines += to_json(record) + "\n";
    folder.write(name + "/metrics.jsonl", lines);
  }
  for (const auto& [file, magic] : {std::pair("|p.png", "\x89PNG"), {"p.svg", "<?xml"}, {"p.pdf", "%PDF"}}) {
    std::vector<std::string> words{
        "heddle", "plot", folder / "plain", (folder / hostile).string() + "/", "--output", folder / file};
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    std::ostringstream out;
    ASSERT_EQ(run_command_line(all_commands(), static_cast<int>(argv.size()), argv.data(), out), 0);
    const std::string picture = content_of(folder / file);
    EXPECT_TRUE(picture.starts_with(magic)) << file;
    EXPECT_GT(picture.size(), 5000u) << file;
  }
  EXPECT_NE(content_of(folder / "p.svg").find("it's $(touch x) `touch y`, training"), std::string::npos);
}

TEST(Plot, FailuresSayWhy) {
  if (!has_gnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  const TestFolder folder;
  const auto picture = folder.write("p.png", "old");
  EXPECT_TRUE(
      error_of([&] { run_gnuplot("nonsense\n", picture); }).starts_with("gnuplot failed (exit code 1): "));
  EXPECT_TRUE(error_of([&] { run_gnuplot("print 1\n", picture); }).starts_with("gnuplot drew nothing"));
  EXPECT_EQ(content_of(picture), "old");
}

}  // namespace
}  // namespace heddle
