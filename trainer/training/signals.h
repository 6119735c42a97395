// Signals that end or checkpoint a run. The handler only notes the signal; the ranks decide together between steps.
//   SIGINT, SIGTERM, SIGUSR1  save a checkpoint and exit with kExitPreempted; a second SIGINT or SIGTERM exits at once
//   SIGUSR2                   save a checkpoint and go on
#pragma once

namespace heddle {

enum class StopRequest : int { none = 0, save = 1, save_and_exit = 2 };

// Takes over the signals while it lives.
class SignalWatch {
 public:
  SignalWatch();
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  // What was asked for since the last call; an exit stays asked for.
  StopRequest take();
};

}  // namespace heddle
