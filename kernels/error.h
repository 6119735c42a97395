// Errors that reach a person: one line that names the file, option or rank, what is wrong and what to do.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace heddle {

// Exit codes of the heddle binary, the same on every rank.
enum ExitCode : int {
  kExitDone = 0,
  kExitFailure = 1,     // something went wrong while running: a file, the network, the disk, a NaN
  kExitUsage = 2,       // a flag, a config key or a value that cannot work
  kExitPreempted = 75,  // stopped by a signal after saving; start again with --resume (EX_TEMPFAIL)
};

// A failure with a message for the user. Messages have no trailing full stop or newline.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, int exit_code = kExitFailure, bool on_all_ranks = false)
      : std::runtime_error(message), exit_code_(exit_code), on_all_ranks_(on_all_ranks) {}
  int exit_code() const { return exit_code_; }
  // Every rank throws the same error at the same place: one of them says so, and all end in order. Otherwise only
  // this rank knows, and the others must be ended.
  bool on_all_ranks() const { return on_all_ranks_; }

 private:
  int exit_code_;
  bool on_all_ranks_;
};

// A flag, config key or combination of values that cannot work: exit code 2.
class UsageError : public Error {
 public:
  explicit UsageError(const std::string& message) : Error(message, kExitUsage) {}
};

// error("cannot read {}: {}", path, reason)
template <typename... Args>
Error error(fmt::format_string<Args...> format, Args&&... args) {
  return Error(fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
UsageError usage_error(fmt::format_string<Args...> format, Args&&... args) {
  return UsageError(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace heddle
