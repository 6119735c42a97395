// Runs the heddle binary from tests and reads what it leaves.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "trainer/metrics/metrics.h"

namespace heddle {

// A directory of the test's own, removed at the end.
class TestFolder {
 public:
  TestFolder();
  ~TestFolder();
  const std::filesystem::path& path() const { return path_; }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

struct RunResult {
  int exit_code = -1;   // 128 + signal if a signal ended it
  std::string output;   // standard output and standard error together
  double seconds = 0;
};

// `words` go to heddle, started directly (ranks 0) or by mpirun; in `folder`. Killed after two minutes.
RunResult run_heddle(const TestFolder& folder, int ranks, const std::vector<std::string>& words);

// The same without waiting; the process group can be signalled.
class BackgroundRun {
 public:
  BackgroundRun(const TestFolder& folder, int ranks, const std::vector<std::string>& words);
  ~BackgroundRun();
  pid_t pid() const { return pid_; }  // of mpirun, or of heddle itself
  // The processes of heddle's ranks (children of mpirun), once there are `count`.
  std::vector<pid_t> ranks(std::size_t count) const;
  // Waits until the output has `text`; false after a minute.
  bool wait_for(const std::string& text) const;
  RunResult wait();

 private:
  std::string output_path_;
  pid_t pid_ = -1;
};

// Whether a process is there and not merely waiting to be collected by its parent.
bool is_running(pid_t process);

// A data x tensor parallel grid.
struct LayoutCase {
  int data, tensor;
  int ranks() const { return data * tensor; }
  std::string name() const;                // "2x1"
  std::vector<std::string> words() const;  // the flags that ask for it
};

// The hashes of the tensors' files in a run's newest checkpoint, which tell whether two checkpoints hold the same bits.
std::vector<std::string> checkpoint_hashes(const std::filesystem::path& run);

// 200 KB of text made of common words, the same on every call.
std::string make_text(const TestFolder& folder);

// A tiny GPT with dropout on `text`: the options every run below shares.
std::vector<std::string> tiny_gpt(const std::string& text);

// The flags of "fp32", "bf16" and "bf16_stochastic", whose weights are rounded stochastically.
std::vector<std::string> precision_words(const std::string& name);

std::vector<MetricsRecord> metrics_of(const TestFolder& folder, const std::string& run);

// `words` and `more`, where a flag of `more` replaces the same one (and its value) in `words`.
std::vector<std::string> with(std::vector<std::string> words, const std::vector<std::string>& more);

}  // namespace heddle
