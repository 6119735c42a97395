// Starts jobs that go wrong under mpirun and checks how they end: in time, with a non-zero exit code, and
// with one line that names the culprit.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

namespace {

struct Outcome {
  int exit_code = -1;
  double seconds = 0;
  std::vector<std::string> lines;  // those that begin with "heddle: "
  std::string all;
};

// GPUs are emulated ones.
std::string program_for(const std::string& arguments) {
  const bool on_gpu = arguments.ends_with("--cuda") || arguments.ends_with("--share-gpu");
  return on_gpu ? HEDDLE_FAILING_PROGRAM_EMULATED : HEDDLE_FAILING_PROGRAM;
}

Outcome run(const std::string& arguments, int ranks) {
  // Standard input is closed: mpirun would read the terminal's. `timeout` bounds the test and gives 124.
  const std::string command = "timeout -k 5 40 " HEDDLE_MPIRUN " -n " + std::to_string(ranks) + " " +
                              program_for(arguments) + " " + arguments + " 2>&1 </dev/null";
  Outcome outcome;
  const auto start = std::chrono::steady_clock::now();
  FILE* pipe = popen(command.c_str(), "r");
  if (!pipe) return outcome;
  char line[8192];
  while (std::fgets(line, sizeof line, pipe)) {
    outcome.all += line;
    const std::string text = line;
    if (text.starts_with("heddle: ")) outcome.lines.push_back(text);
  }
  const int status = pclose(pipe);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return outcome;
}

// One line with all the parts, and the exit code. The limit leaves room for a busy machine: start, 3 s
// timeout, 1 s for answers, end.
void expect(const std::string& arguments, int ranks, int exit_code, const std::vector<std::string>& parts) {
  const Outcome outcome = run(arguments, ranks);
  EXPECT_EQ(outcome.exit_code, exit_code) << outcome.all;
  EXPECT_LT(outcome.seconds, 30);
  ASSERT_EQ(outcome.lines.size(), 1u) << outcome.all;
  for (const std::string& part : parts)
    EXPECT_NE(outcome.lines[0].find(part), std::string::npos)
        << "no \"" << part << "\" in: " << outcome.lines[0];
}

class Failures : public ::testing::TestWithParam<const char*> {
 protected:
  std::string with(const char* what) { return std::string(what) + GetParam(); }
};

TEST_P(Failures, StoppedRank) {
  expect(with("stop"), 3, 1,
         {"no progress for", "in all_reduce \"activations\" of group world (step 4, call 7): rank 2 (host ",
          "does not answer; last seen in step 3 \"backward\""});
}

TEST_P(Failures, StoppedFirstRank) {
  expect(with("stop-first"), 4, 1, {"rank 0 (host ", "does not answer; last seen in step 3 \"backward\""});
}

TEST_P(Failures, RankThatNeverCalls) {
  expect(with("absent"), 2, 1,
         {"in all_reduce \"gradients\" of group world (step 4, call 7): rank 1 (host ",
          "answers but has not arrived: it is in step 4 \"saving checkpoint\""});
}

TEST_P(Failures, StoppedRankUnderAnEvent) {
  expect(with("background"), 2, 1,
         {"in all_reduce \"bucket\" of group world", "rank 1 (host ", "does not answer"});
}

TEST_P(Failures, TheRootOfAChainOfWaitsIsNamed) {
  expect(with("chain"), 4, 1, {"rank 3 (host ", "does not answer"});
}

TEST_P(Failures, OtherLabel) {
  expect(with("mismatch-label"), 3, 1,
         {"all_reduce \"gradients\" of 1000 f32", "all_reduce \"loss\" of 1000 f32"});
}

TEST_P(Failures, OtherCount) {
  expect(with("mismatch-count"), 2, 1,
         {"all_reduce \"gradients\" of 1000 f32", "all_reduce \"gradients\" of 10 f32"});
}

TEST_P(Failures, OtherKind) {
  expect(with("mismatch-kind"), 2, 1, {"barrier \"gradients\"", "all_reduce \"gradients\" of 1000 f32"});
}

TEST_P(Failures, LateIsNotLost) {
  const Outcome outcome = run(with("slow"), 2);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.all;
  EXPECT_TRUE(outcome.lines.empty()) << outcome.all;
}

// What does not depend on ranks that call different things, which NCCL does not notice.
class GpuFailures : public Failures {};

TEST_P(GpuFailures, StoppedRank) {
  expect(with("stop"), 3, 1,
         {"no progress for", "in all_reduce \"activations\" of group world (step 4, call 7): rank 2 (host ",
          "does not answer; last seen in step 3 \"backward\""});
}

TEST_P(GpuFailures, RankThatNeverCalls) {
  expect(with("absent"), 2, 1,
         {"in all_reduce \"gradients\" of group world (step 4, call 7): rank 1 (host ",
          "answers but has not arrived: it is in step 4 \"saving checkpoint\""});
}

TEST_P(GpuFailures, TheRootOfAChainOfWaitsIsNamed) {
  expect(with("chain"), 4, 1, {"rank 3 (host ", "does not answer"});
}

TEST_P(GpuFailures, LateIsNotLost) {
  const Outcome outcome = run(with("slow"), 2);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.all;
  EXPECT_TRUE(outcome.lines.empty()) << outcome.all;
}

INSTANTIATE_TEST_SUITE_P(Nccl, GpuFailures, ::testing::Values(" --cuda"));
INSTANTIATE_TEST_SUITE_P(Staged, GpuFailures, ::testing::Values(" --share-gpu"));

TEST(NcclFailures, StoppedRankUnderAnEvent) {
  expect("background --cuda", 2, 1,
         {"in all_reduce \"bucket\" of group world", "rank 1 (host ", "does not answer"});
}

TEST(NcclFailures, TheCallInsideAGraphIsNamed) {
  expect("graph --cuda", 2, 1,
         {"in all_reduce \"gradients\" of group world (step 4, call 10): rank 1 (host ",
          "answers but has not arrived: it is in step 4 \"backward\""});
}

// The third step's first call, on rank 1; its peers learn of it from NCCL.
TEST(NcclFailures, ABrokenNetworkIsReportedWithRankStepAndCall) {
  setenv("HEDDLE_EMULATOR_NCCL_FAIL", "1:4", 1);
  expect("stop --cuda", 3, 1,
         {": NCCL: ", "error", " in all_reduce \"activations\" of group world (call 5), step 3 \"forward\""});
  unsetenv("HEDDLE_EMULATOR_NCCL_FAIL");
}

TEST(NcclFailures, MoreRanksThanGpus) {
  setenv("HEDDLE_EMULATOR_GPUS", "2", 1);
  expect("stop --cuda", 3, 2, {"has 3 ranks but 2 GPUs", "--share-gpu"});
  unsetenv("HEDDLE_EMULATOR_GPUS");
}

INSTANTIATE_TEST_SUITE_P(SharedMemory, Failures, ::testing::Values(""));
INSTANTIATE_TEST_SUITE_P(Messages, Failures, ::testing::Values(" --messages"));

TEST(SessionEnd, RankThatNeverEnds) {
  expect("no-end", 2, 1, {"in barrier \"end of the run\"", "rank 1 (host ", "answers but has not arrived"});
}

TEST(SessionEnd, ErrorOnOneRankEndsAllWithItsCode) {
  expect("error-on-one", 3, 2, {"heddle: rank 2 (host ", "): option --x is wrong"});
}

TEST(SessionEnd, ErrorOnAllRanksIsToldOnce) {
  expect("error-on-all", 4, 1, {"): the data is gone"});
}

TEST(SessionEnd, ErrorOfASingleRank) {
  expect("error-on-all", 1, 1, {"rank 0 (host ", "): the data is gone"});
}

TEST(SessionEnd, ExceptionThatNobodyReports) {
  const Outcome outcome = run("unwound", 2);
  EXPECT_EQ(outcome.exit_code, 1) << outcome.all;
  EXPECT_LT(outcome.seconds, 30);
}

TEST(SessionEnd, KilledRank) {
  const Outcome outcome = run("killed", 2);
  EXPECT_EQ(outcome.exit_code, 137) << outcome.all;
  EXPECT_LT(outcome.seconds, 30);
}

}  // namespace
