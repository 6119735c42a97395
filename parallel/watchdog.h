// Watchdog: notices a collective that does not end, finds out which rank is to blame, and ends the job.
//
// Each rank has one thread. Ten times a second it looks at the age of this rank's collectives and at its own
// MPI communicator for questions of other watchdogs; so it answers while the rank computes, and a rank that
// is stopped or dead does not. When a collective exceeds the timeout, the watchdog asks all ranks for their
// states, and the lowest rank that answers prints one line and aborts:
//
//   heddle: no progress for 20 s in all_reduce "gradients 3/7" of group data (step 12, call 88): rank 3 (host
//   b) does not answer; last seen in step 11 "forward"
//
// Each rank also sends its progress to the next rank whenever it has changed, so that somebody knows where a
// dead rank was. Time in which the whole job is suspended does not count.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "parallel/diagnosis.h"
#include "parallel/unique_comm.h"

namespace heddle {

// The collectives of one group on this rank; filled by the communicator, read by the watchdog.
class WatchedGroup {
 public:
  WatchedGroup(const std::string& name, int number, RankRange ranks);

  // One call after the other, as the host executes them.
  void begin(const CollectiveCall& call);
  void end();
  // What a GPU has done with the calls that were queued on it: so many are finished, and `current`, if not null, is
  // the one after them.
  void observe(std::int64_t finished, const CollectiveCall* current);

  GroupState state() const;
  void add_time(double seconds);  // to the call that is active, if any

 private:
  mutable std::mutex mutex_;
  GroupState state_;
};

class Watchdog {
 public:
  // `comm` is a duplicate of the world, used by nobody else; `hosts` by rank.
  Watchdog(UniqueComm comm, std::vector<std::string> hosts, std::chrono::milliseconds timeout);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // All ranks create their groups in the same order. At most RankState::kMaxGroups are watched at a time.
  std::shared_ptr<WatchedGroup> watch(const std::string& name, RankRange ranks);

  void set_progress(std::int64_t step, const char* activity);

  // Ends the job with a line that says where this rank is, which call of `group` is under way and the reason.
  [[noreturn]] void fail(const WatchedGroup& group, const std::string& reason);

  // Waits until all ranks are here, then stops the thread. `limit` ends the wait early: false.
  bool finish(std::optional<std::chrono::milliseconds> limit);

  // Prints "heddle: text" once for the whole job, on rank 0 if it lives, and ends all ranks with `exit_code`.
  [[noreturn]] void abort(const std::string& text, int exit_code) { abort_through(0, text, exit_code); }

 private:
  using Clock = std::chrono::steady_clock;
  struct Outgoing {
    MPI_Request request;
    std::vector<char> bytes;
  };
  struct Inquiry {
    std::shared_ptr<WatchedGroup> group;
    std::int64_t call;
    Clock::time_point deadline;
    Survey survey;
    int answers_due;
  };

  void run();
  [[noreturn]] void abort_through(int reporter, const std::string& text, int exit_code);
  void take_messages();
  void send(int to, int tag, const void* data, std::size_t bytes);
  void drop_sent();
  void send_heartbeat();
  void age_calls(double seconds);
  void begin_inquiry();
  void conclude_inquiry();
  RankState state() const;
  Progress progress() const;
  std::vector<std::shared_ptr<WatchedGroup>> groups() const;

  UniqueComm comm_;
  std::vector<std::string> hosts_;
  std::chrono::milliseconds timeout_;
  std::chrono::milliseconds answer_time_;  // how long the others may take to answer
  int rank_;
  int size_;

  std::atomic<std::int64_t> step_{-1};
  std::atomic<const char*> activity_{""};
  mutable std::mutex mutex_;  // of groups_, groups_made_ and stopping_
  std::condition_variable wake_;
  std::vector<std::weak_ptr<WatchedGroup>> groups_;
  int groups_made_ = 0;
  bool stopping_ = false;
  std::atomic<bool> finishing_{false};

  // Of the thread alone.
  std::list<Outgoing> outgoing_;
  Progress told_;       // what the next rank knows of us
  Progress neighbour_;  // what we know of the rank before
  std::optional<Inquiry> inquiry_;
  Clock::time_point no_inquiry_before_{};

  std::thread thread_;
};

// Prints "heddle: text" and ends all ranks with `exit_code`; never returns and never hangs.
[[noreturn]] void end_job(const std::string& text, int exit_code);

}  // namespace heddle
