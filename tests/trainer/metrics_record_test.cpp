#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/trainer/test_files.h"
#include "trainer/metrics/metrics.h"

namespace heddle {
namespace {

TEST(MetricsRecord, HasEveryDigitAFloatHas) {
  MetricsRecord record{.step = 12, .tokens = 393216};
  EXPECT_EQ(to_json(record), R"({"step":12,"tokens":393216})");
  record.loss = 10.9743261337f;
  record.learning_rate = 6e-4;
  record.mfu = 0.5;
  EXPECT_EQ(to_json(record),
            R"({"step":12,"tokens":393216,"loss":10.9743261,"learning_rate":0.0006,"mfu":0.5})");
  // Floats that are neighbours stay apart.
  record.loss = std::nextafter(10.9743261337f, 11.0f);
  EXPECT_EQ(static_cast<float>(*parse_metrics(to_json(record), "x").loss), static_cast<float>(*record.loss));

  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(to_json({.step = 1, .tokens = 2, .loss = -nan, .validation_loss = inf, .gradient_norm = -inf}),
            R"({"step":1,"tokens":2,"loss":"nan","validation_loss":"inf","gradient_norm":"-inf"})");
}

TEST(MetricsRecord, ReadsBack) {
  const MetricsRecord record{.step = 1,
                             .tokens = 9007199254740993,
                             .loss = 3.25,
                             .validation_loss = std::numeric_limits<double>::infinity(),
                             .learning_rate = 1e-30,
                             .gradient_norm = 0.0,
                             .step_seconds = 0.125,
                             .tokens_per_second = 1e6,
                             .mfu = 0.25};
  EXPECT_EQ(parse_metrics(to_json(record), "x"), record);
  EXPECT_TRUE(std::isnan(*parse_metrics(R"({"step":1,"tokens":2,"loss":"nan"})", "x").loss));
  EXPECT_EQ(parse_metrics(R"({"step":1,"tokens":2,"later":[1]})", "x"),
            (MetricsRecord{.step = 1, .tokens = 2}));
}

TEST(MetricsRecord, RefusesWhatIsNone) {
  const auto bad = [](const char* line) { return error_of([&] { parse_metrics(line, "m:3"); }); };
  EXPECT_EQ(bad(R"({"tokens":2})"), "m:3: 'step' is not a count");
  EXPECT_EQ(bad(R"({"step":-1,"tokens":2})"), "m:3: 'step' is not a count");
  EXPECT_EQ(bad(R"({"step":1.5,"tokens":2})"), "m:3: 'step' is not a count");
  EXPECT_EQ(bad(R"({"step":18446744073709551615,"tokens":2})"), "m:3: 'step' is not a count");
  EXPECT_EQ(bad(R"({"step":1,"tokens":2,"loss":"low"})"), "m:3: 'loss': not a number");
  for (const char* line : {"", "[]", "{", R"({"step":1,"step":2,"tokens":2})", R"({"step":1,"tokens":2} x)"})
    EXPECT_TRUE(bad(line).starts_with("m:3: ")) << bad(line);
}

TEST(RunFolder, IsNotOverwritten) {
  const TestFolder folder;
  const auto path = folder / "deep/run";
  {
    const RunFolder run(path, false);
    EXPECT_EQ(run.name(), "run");
    EXPECT_TRUE(std::filesystem::is_directory(run.checkpoints()));
    run.write_config("[train]\n");
    EXPECT_EQ(content_of(run.config()), "[train]\n");
  }
  EXPECT_EQ(error_of([&] { RunFolder(path, false); }),
            "usage: " + path.string() +
                " already holds a run; continue it with --resume or choose another --run-folder");
  EXPECT_NO_THROW(RunFolder(path, true).write_config("[model]\n"));
  EXPECT_EQ(content_of(path / "config.cfg"), "[model]\n");
  EXPECT_NO_THROW(RunFolder(folder / "new", true));  // a requeued job always resumes

  const auto file = folder.write("file", "x");
  EXPECT_EQ(error_of([&] { RunFolder(file, true); }),
            "usage: run folder " + file.string() + " is a file; choose another --run-folder");
  EXPECT_EQ(RunFolder((folder / "slash").string() + "/", false).name(), "slash");
}

MetricsRecord loss_at(std::int64_t step) {
  return {.step = step, .tokens = step * 10, .loss = 1.0 / step};
}

TEST(MetricsWriter, DropsWhatIsTrainedAgain) {
  const TestFolder folder;
  {
    const RunFolder run(folder / "run", false);
    MetricsWriter writer(run, 0, false);
    for (int step = 1; step <= 5; ++step) {
      writer.write(loss_at(step));
      EXPECT_EQ(read_metrics(run.metrics()).size(), static_cast<std::size_t>(step));  // at once
    }
  }
  const RunFolder run(folder / "run", true);
  std::ofstream(run.metrics(), std::ios::app) << R"({"step":6,"tok)";  // the run died while writing
  EXPECT_EQ(read_metrics(run.metrics()).size(), 5u);

  MetricsWriter(run, 3, false).write(loss_at(4));
  const auto records = read_metrics(run.metrics());
  ASSERT_EQ(records.size(), 4u);
  for (int step = 1; step <= 4; ++step) EXPECT_EQ(records[step - 1].step, step);
  EXPECT_EQ(content_of(run.metrics()),
            "{\"step\":1,\"tokens\":10,\"loss\":1}\n{\"step\":2,\"tokens\":20,\"loss\":0.5}\n"
            "{\"step\":3,\"tokens\":30,\"loss\":0.333333333}\n{\"step\":4,\"tokens\":40,\"loss\":0.25}\n");
  EXPECT_FALSE(std::filesystem::exists(run.metrics().string() + ".tmp"));

  MetricsWriter(run, 0, false);  // died before the first checkpoint
  EXPECT_EQ(content_of(run.metrics()), "");
}

TEST(MetricsWriter, NamesADamagedLine) {
  const TestFolder folder;
  const RunFolder run(folder / "run", false);
  std::ofstream(run.metrics()) << "{\"step\":1,\"tokens\":1}\nrubbish\n{\"step\":2,\"tokens\":2}\n";
  EXPECT_TRUE(error_of([&] { MetricsWriter(run, 9, false); }).starts_with(run.metrics().string() + ":2: "));
  std::ofstream(run.metrics()) << "{\"step\":1,\"tokens\":1}\n" << std::string(100000, ' ') << "\n";
  EXPECT_EQ(error_of([&] { read_metrics(run.metrics()); }),
            run.metrics().string() + ":2: not a metrics record");
  EXPECT_EQ(error_of([&] { read_metrics(folder / "none"); }),
            "cannot read " + (folder / "none").string() + ": No such file or directory");
}

}  // namespace
}  // namespace heddle
