// Work: what waits in a stream or stands in a graph. What other emulated libraries (cuBLASLt, NCCL) queue
// through.
#pragma once

#include <cuda_runtime.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace heddle::emulator {

enum class Progress {
  idle,  // nothing could be done: it waits for another process
  some,
  done,
};

// Runs under the scheduler's lock with device memory accessible. advance() is called, when ready() says so,
// until it returns done. It may throw Fault.
class Work {
 public:
  explicit Work(std::string name) : name_(std::move(name)) {}
  virtual ~Work() = default;
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  const std::string& name() const { return name_; }
  virtual bool ready() const { return true; }
  virtual Progress advance() = 0;

 private:
  std::string name_;
};

// Called once for a stream, once per launch for a graph: it holds what was given at the call.
using WorkFactory = std::function<std::unique_ptr<Work>()>;

// Queues on `stream`, or adds a node to the graph that the stream is captured into. `name` is for messages.
cudaError_t enqueue(cudaStream_t stream, std::string name, WorkFactory make);
// Work that is done at once when its turn comes.
cudaError_t enqueue(cudaStream_t stream, std::string name, std::function<void()> body);

// The context is lost, as after a faulty kernel: prints `text` once, drops all queued work, and every call
// returns cudaErrorLaunchFailure until cudaDeviceReset(). The text of the last loss; empty if none.
std::string last_fault();

// Runs queued work until `done` returns true. For libraries whose calls wait; false when the context is lost.
// `done` is called under the scheduler's lock.
bool wait_for(const std::function<bool()>& done);
// Runs queued work until nothing can be done at once, unless the host has run some in the last milliseconds.
// For a thread that keeps communication going while the host does other things.
void progress_in_background();
// Calls `action` under the scheduler's lock.
void with_scheduler(const std::function<void()>& action);

}  // namespace heddle::emulator
