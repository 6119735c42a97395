// The scheduler: streams, events, and who runs next.
//
// Work is queued per stream and runs only when the host waits for something (a little of it when the host
// asks whether something is done). The next piece is then drawn at random from the heads of all streams,
// whatever the host waits for; now and then the odds change, so that one stream gets far ahead of another.
// Hence a wait between streams left out, a host buffer reused while a copy is queued, or a result read too
// early shows as wrong numbers for most seeds. With one seed in four, work may also run as soon as it is
// queued (never with seed 0).
//
// Everything here happens under one lock. CUDA's functions take it through call(), in api.h.
#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/emulator/host/work.h"
#include "tests/emulator/random.h"

namespace heddle::emulator {

struct Capture;

// One recording of an event: a point in a stream, or in a graph that is being captured.
struct Record {
  bool done = false;
  std::chrono::steady_clock::time_point when{};
  std::shared_ptr<Capture> capture;  // recorded in a captured stream
  std::vector<std::size_t> nodes;    // of the capture: what comes before
};

}  // namespace heddle::emulator

struct CUgraphNode_st {
  std::string name;
  heddle::emulator::WorkFactory make;
  std::vector<std::size_t> dependencies;  // indices of earlier nodes
};

struct CUevent_st {
  unsigned flags = 0;
  std::shared_ptr<heddle::emulator::Record> latest;  // null: never recorded
};

struct CUstream_st {
  int device = 0;
  unsigned flags = 0;
  int priority = 0;
  bool destroyed = false;  // goes away when its work is done
  unsigned odds = 1;       // of being chosen next
  std::deque<std::unique_ptr<heddle::emulator::Work>> queue;

  std::shared_ptr<heddle::emulator::Capture> capture;  // null: not captured
  std::vector<std::size_t> tail;                       // nodes that the next one comes after

  bool blocking() const { return !(flags & cudaStreamNonBlocking); }
};

namespace heddle::emulator {

// A graph that grows while streams are captured.
struct Capture {
  CUstream_st* origin = nullptr;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;
  std::vector<CUgraphNode_st> nodes;
  bool invalid = false;
  bool ended = false;
};

class Scheduler {
 public:
  using Lock = std::unique_lock<std::mutex>;

  static Scheduler& instance();

  // The lock, however long another thread runs work.
  Lock lock();

  // --- streams and events, under the lock ---
  CUstream_st* make_stream(int device, unsigned flags, int priority);
  void destroy_stream(CUstream_st* stream);
  CUevent_st* make_event(unsigned flags);
  void destroy_event(CUevent_st* event);
  bool known(CUstream_st* stream) const;
  bool known(CUevent_st* event) const { return events_.contains(event); }
  CUstream_st* default_stream(int device);  // what nullptr names

  // Puts `work` behind what is in the stream, which is not captured. Implicit waits between the default
  // stream and blocking streams are added.
  void push(CUstream_st* stream, std::unique_ptr<Work> work);
  std::shared_ptr<Record> record(CUstream_st* stream);
  void wait(CUstream_st* stream, std::shared_ptr<Record> record);

  const std::vector<CUstream_st*>& streams() const { return streams_; }
  std::vector<std::shared_ptr<Capture>> captures() const;  // that are going on

  // --- running, under the lock ---
  // Until done() or the context is lost; sleeps without the lock while only other processes can help.
  bool run_until(Lock& lock, const std::function<bool()>& done);
  // A few pieces of work, as a GPU gets on between two questions.
  void run_a_little();
  // All that can be done at once, when the host has not run anything for a while.
  void run_in_background();

  bool lost() const { return lost_; }
  const std::string& fault() const { return fault_; }
  void lose(const std::string& text);
  void reset();
  Random& random() { return random_; }
  // Called when work has been queued.
  void queued();

 private:
  Scheduler();
  bool step();  // false: nothing could be done
  CUstream_st* choose(std::vector<CUstream_st*>& candidates);
  Progress advance(CUstream_st* stream);
  void start_seed();
  void forget_if_finished(CUstream_st* stream);

  std::mutex mutex_;
  std::atomic<int> waiting_{0};        // threads that want the lock
  std::vector<CUstream_st*> streams_;  // in the order of their creation
  std::set<CUevent_st*> events_;
  std::vector<CUstream_st*> default_streams_;  // by device, null until used
  std::uint64_t seed_ = 0;
  Random random_{0};
  bool eager_ = false;
  int running_ = 0;                                   // threads in run_until()
  std::chrono::steady_clock::time_point last_run_{};  // by the host
  bool lost_ = false;
  std::string fault_;
};

// work.advance(); throws Fault when a guard zone of device memory has been written to.
Progress advance_checked(Work& work);
// Work that is done at once.
std::unique_ptr<Work> immediate(std::string name, std::function<void()> body);

}  // namespace heddle::emulator
