// Signals, killed ranks and what is left afterwards.

#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cmath>
#include <thread>

#include "tests/system/heddle_run.h"
#include "trainer/checkpoint/checkpoint.h"

namespace heddle {
namespace {

using namespace std::chrono_literals;

std::vector<std::string> long_run(const std::string& text) {
  return with(tiny_gpt(text), {"--length", "100000steps", "--decay-length", "1000steps", "--save-every", "20steps",
                               "--run-folder", "run"});
}

std::int64_t newest_step(const TestFolder& folder) {
  return Checkpoint::open(folder.path() / "run", [](const std::string&) {}).step();
}

TEST(Signals, ASavedRunGoesOn) {
  for (int signal : {SIGUSR1, SIGTERM}) {
    TestFolder folder;
    const std::string text = make_text(folder);
    BackgroundRun run(folder, 2, with(long_run(text), {"--save-every", "0"}));
    ASSERT_TRUE(run.wait_for(" 30/100000"));
    kill(run.pid(), signal);
    const RunResult result = run.wait();
    EXPECT_NE(result.exit_code, 0) << result.output;
    // After SIGTERM mpirun takes no more output from the ranks, and kills them after two seconds.
    if (signal == SIGUSR1) {
      EXPECT_EQ(result.exit_code, 75);
      EXPECT_NE(result.output.find("go on with --resume"), std::string::npos) << result.output;
    }
    const std::int64_t step = newest_step(folder);
    EXPECT_GE(step, 30);

    const std::string length = std::to_string(step + 3) + "steps";
    const RunResult resumed =
        run_heddle(folder, 2, with(long_run(text), {"--length", length, "--resume"}));
    EXPECT_EQ(resumed.exit_code, 0) << resumed.output;
    EXPECT_NE(resumed.output.find("resuming after step " + std::to_string(step)), std::string::npos);
    EXPECT_EQ(newest_step(folder), step + 3);
  }
}

TEST(Signals, OfASingleProcessGiveItsOwnExitCode) {
  TestFolder folder;
  BackgroundRun run(folder, 0, long_run(make_text(folder)));
  ASSERT_TRUE(run.wait_for(" 30/100000"));
  kill(run.pid(), SIGINT);
  const RunResult result = run.wait();
  EXPECT_EQ(result.exit_code, 75) << result.output;
}

TEST(Signals, SaveAndGoOn) {
  TestFolder folder;
  BackgroundRun run(folder, 0, with(long_run(make_text(folder)), {"--save-every", "0"}));
  ASSERT_TRUE(run.wait_for(" 10/100000"));
  kill(run.pid(), SIGUSR2);
  ASSERT_TRUE(run.wait_for("saved"));
  const std::int64_t step = newest_step(folder);
  ASSERT_TRUE(run.wait_for(" " + std::to_string(step + 20) + "/100000"));
}

// kill -9 of each rank at several moments: the others end within 10 s, and what was saved loads.
TEST(Kill, OfAnyRankEndsTheJobAndKeepsTheCheckpoint) {
  for (std::size_t victim : {0u, 1u, 3u}) {
    TestFolder folder;
    const std::string text = make_text(folder);
    BackgroundRun run(folder, 4,
                      with(long_run(text), {"--tensor-parallel", "2", "--save-every", "1steps"}));
    ASSERT_TRUE(run.wait_for("saved"));
    const std::vector<pid_t> ranks = run.ranks(4);
    ASSERT_EQ(ranks.size(), 4u);
    std::this_thread::sleep_for(std::chrono::milliseconds(137 * (victim + 1)));
    kill(ranks[victim], SIGKILL);
    const auto start = std::chrono::steady_clock::now();
    const RunResult result = run.wait();
    EXPECT_NE(result.exit_code, 0);
    EXPECT_LT(std::chrono::steady_clock::now() - start, 10s) << "after killing rank " << victim;
    for (pid_t rank : ranks) EXPECT_FALSE(is_running(rank)) << "a rank outlived the job";

    const std::int64_t step = newest_step(folder);
    const RunResult resumed = run_heddle(
        folder, 4,
        with(long_run(text),
             {"--tensor-parallel", "2", "--length", std::to_string(step + 2) + "steps", "--resume"}));
    EXPECT_EQ(resumed.exit_code, 0) << resumed.output;
    EXPECT_EQ(newest_step(folder), step + 2);
  }
}

TEST(Hang, AStoppedRankIsNamed) {
  TestFolder folder;
  BackgroundRun run(folder, 2, with(long_run(make_text(folder)), {"--timeout", "3s"}));
  ASSERT_TRUE(run.wait_for(" 10/100000"));
  const std::vector<pid_t> ranks = run.ranks(2);
  ASSERT_EQ(ranks.size(), 2u);
  kill(ranks[1], SIGSTOP);
  const RunResult result = run.wait();
  EXPECT_NE(result.exit_code, 0);
  EXPECT_LT(result.seconds, 20);
  EXPECT_NE(result.output.find("rank 1"), std::string::npos) << result.output;
}

TEST(EarlyStop, EndsAfterEvaluationsWithoutImprovement) {
  TestFolder folder;
  const RunResult result = run_heddle(
      folder, 0,
      with(long_run(make_text(folder)), {"--early-stop", "2", "--validate-every", "10steps", "--learning-rate", "0.5",
                                         "--min-learning-rate", "0.5"}));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("no improvement in 2 evaluations"), std::string::npos) << result.output;
}

// Contract 3: what was planned before step 0 is what the process takes, within 5 %.
TEST(Memory, IsWhatThePlanSaid) {
  for (const char* precision : {"fp32", "bf16"}) {
    TestFolder folder;
    const RunResult result = run_heddle(
        folder, 0,
        with(tiny_gpt(make_text(folder)),
             {"--num-layers", "6", "--hidden-size", "512", "--num-heads", "8", "--context-length", "256",
              "--global-batch", "8", "--length", "2steps", "--warmup", "1steps", "--precision", precision}));
    ASSERT_EQ(result.exit_code, 0) << result.output;
    const std::size_t at = result.output.find("at the peak (");
    ASSERT_NE(at, std::string::npos) << result.output;
    EXPECT_LE(std::abs(std::stod(result.output.substr(at + 13))), 5) << result.output;
  }
}

}  // namespace
}  // namespace heddle
