#include "parallel/watchdog.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/error.h"
#include "parallel/mpi_error.h"

namespace heddle {

using namespace std::chrono_literals;

// --- the group's side ---

WatchedGroup::WatchedGroup(const std::string& name, int number, RankRange ranks) {
  std::memcpy(state_.name, name.data(), std::min<std::size_t>(name.size(), GroupState::kNameBytes - 1));
  state_.number = number;
  state_.ranks = ranks;
}

void WatchedGroup::begin(const CollectiveCall& call) {
  const std::lock_guard lock(mutex_);
  state_.call = call;
  state_.active = 1;
  state_.waited_seconds = 0;
  ++state_.calls;
}

void WatchedGroup::end() {
  const std::lock_guard lock(mutex_);
  state_.active = 0;
}

void WatchedGroup::observe(std::int64_t finished, const CollectiveCall* current) {
  const std::lock_guard lock(mutex_);
  const std::int64_t calls = current ? finished + 1 : finished;
  const bool active = current != nullptr;
  if (active && (state_.calls != calls || !state_.active)) {
    state_.call = *current;
    state_.waited_seconds = 0;
  }
  state_.calls = calls;
  state_.active = active;
}

GroupState WatchedGroup::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

void WatchedGroup::add_time(double seconds) {
  const std::lock_guard lock(mutex_);
  if (state_.active) state_.waited_seconds += seconds;
}

// --- the end of a job ---

void end_job(const std::string& text, int exit_code) {
  // A second thread of this rank that also has something to say waits here for the end.
  static std::atomic<bool> ending{false};
  if (ending.exchange(true))
    for (;;) std::this_thread::sleep_for(1h);

  const std::string line = "heddle: " + text + "\n";
  std::fflush(stdout);
  // One write, so that lines of several ranks do not mix.
  if (write(STDERR_FILENO, line.data(), line.size()) < 0) std::perror("heddle");
  // If even the abort hangs, because mpirun is gone or cut off, the process still ends.
  std::thread([exit_code] {
    std::this_thread::sleep_for(10s);
    _exit(exit_code);
  }).detach();
  std::this_thread::sleep_for(100ms);  // mpirun may drop what a rank wrote just before it was killed
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  _exit(exit_code);
}

// --- the watchdog ---

namespace {

enum Tag : int { kQuestion = 1, kAnswer = 2, kHeartbeat = 3, kReport = 4 };

constexpr auto kTick = 100ms;
constexpr auto kTickOfInquiry = 10ms;
constexpr std::size_t kLongestReport = 4096;

}  // namespace

Watchdog::Watchdog(UniqueComm comm, std::vector<std::string> hosts, std::chrono::milliseconds timeout)
    : comm_(std::move(comm)),
      hosts_(std::move(hosts)),
      timeout_(timeout),
      answer_time_(std::clamp<std::chrono::milliseconds>(timeout / 4, 1s, 5s)),
      rank_(comm_.rank()),
      size_(comm_.size()) {
  thread_ = std::thread([this] { run(); });
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

std::shared_ptr<WatchedGroup> Watchdog::watch(const std::string& name, RankRange ranks) {
  const std::lock_guard lock(mutex_);
  std::erase_if(groups_, [](const auto& g) { return g.expired(); });
  if (groups_.size() == RankState::kMaxGroups)
    throw error("more than {} groups of ranks", RankState::kMaxGroups);
  auto group = std::make_shared<WatchedGroup>(name, groups_made_++, ranks);
  groups_.push_back(group);
  return group;
}

void Watchdog::set_progress(std::int64_t step, const char* activity) {
  step_.store(step, std::memory_order_relaxed);
  activity_.store(activity, std::memory_order_relaxed);
}

Progress Watchdog::progress() const {
  return Progress(step_.load(std::memory_order_relaxed), activity_.load(std::memory_order_relaxed));
}

std::vector<std::shared_ptr<WatchedGroup>> Watchdog::groups() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<WatchedGroup>> alive;
  for (const auto& weak : groups_)
    if (auto group = weak.lock()) alive.push_back(std::move(group));
  return alive;
}

RankState Watchdog::state() const {
  RankState state;
  state.rank = rank_;
  state.progress = progress();
  state.neighbour = neighbour_;
  for (const auto& group : groups())
    if (state.group_count < RankState::kMaxGroups) state.groups[state.group_count++] = group->state();
  return state;
}

void Watchdog::fail(const WatchedGroup& group, const std::string& reason) {
  const GroupState stuck = group.state();
  const Progress now = progress();
  abort(fmt::format("rank {} (host {}): {} in {} (call {}){}", rank_, hosts_[static_cast<std::size_t>(rank_)], reason,
                    stuck.to_string(), stuck.calls, now == Progress() ? "" : ", " + now.to_string()),
        kExitFailure);
}

bool Watchdog::finish(std::optional<std::chrono::milliseconds> limit) {
  finishing_ = true;  // no more heartbeats that nobody would receive
  const auto group = watch("job", RankRange{0, 1, size_});
  group->begin(CollectiveCall(CollectiveKind::barrier, Element::u8, 0, "end of the run"));
  MPI_Request request;
  mpi_check(MPI_Ibarrier(comm_.get(), &request), "MPI_Ibarrier");
  const auto start = Clock::now();
  for (int done = 0; !done;) {
    mpi_check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    if (done) break;
    if (limit && Clock::now() - start > *limit) return false;
    std::this_thread::sleep_for(1ms);
  }
  group->end();
  return true;
}

void Watchdog::abort_through(int reporter, const std::string& text, int exit_code) {
  if (rank_ != reporter) {
    // One rank speaks for all, so that what many ranks notice is told once. If it does not, we are still here
    // after a moment.
    std::vector<char> message(sizeof exit_code + std::min(text.size(), kLongestReport));
    std::memcpy(message.data(), &exit_code, sizeof exit_code);
    std::memcpy(message.data() + sizeof exit_code, text.data(), message.size() - sizeof exit_code);
    MPI_Request request;
    if (MPI_Isend(message.data(), static_cast<int>(message.size()), MPI_BYTE, reporter, kReport, comm_.get(),
                  &request) == MPI_SUCCESS) {
      const auto start = Clock::now();
      while (Clock::now() - start < 3s) {
        int sent = 0;
        if (MPI_Test(&request, &sent, MPI_STATUS_IGNORE) != MPI_SUCCESS) break;
        std::this_thread::sleep_for(10ms);
      }
    }
  }
  end_job(text, exit_code);
}

// --- its thread ---

void Watchdog::run() {
  pthread_setname_np(pthread_self(), "heddle-watchdog");
  auto last = Clock::now();
  try {
    for (std::unique_lock lock(mutex_); !stopping_; lock.lock()) {
      wake_.wait_for(lock, inquiry_ ? kTickOfInquiry : kTick);
      lock.unlock();
      const auto now = Clock::now();
      // While this process was stopped its clock went on; that time is nobody's fault.
      age_calls(std::min(std::chrono::duration<double>(now - last).count(), 1.0));
      last = now;
      take_messages();
      drop_sent();
      if (!finishing_) send_heartbeat();
      if (inquiry_) {
        if (inquiry_->answers_due == 0 || now >= inquiry_->deadline) conclude_inquiry();
      } else if (now >= no_inquiry_before_) {
        begin_inquiry();
      }
    }
  } catch (const std::exception& e) {
    end_job(fmt::format("rank {} (host {}): watchdog: {}", rank_, hosts_[static_cast<std::size_t>(rank_)],
                        e.what()),
            kExitFailure);
  }
}

void Watchdog::age_calls(double seconds) {
  for (const auto& group : groups()) group->add_time(seconds);
}

void Watchdog::send(int to, int tag, const void* data, std::size_t bytes) {
  const char* begin = static_cast<const char*>(data);
  Outgoing& message = outgoing_.emplace_back();
  message.bytes.assign(begin, begin + bytes);
  mpi_check(MPI_Isend(message.bytes.data(), static_cast<int>(bytes), MPI_BYTE, to, tag, comm_.get(),
                      &message.request),
            "MPI_Isend");
}

void Watchdog::drop_sent() {
  for (auto message = outgoing_.begin(); message != outgoing_.end();) {
    int sent = 0;
    mpi_check(MPI_Test(&message->request, &sent, MPI_STATUS_IGNORE), "MPI_Test");
    message = sent ? outgoing_.erase(message) : std::next(message);
  }
}

void Watchdog::send_heartbeat() {
  const Progress now = progress();
  if (size_ == 1 || now == told_ || outgoing_.size() > 4) return;  // a stopped neighbour is not flooded
  send((rank_ + 1) % size_, kHeartbeat, &now, sizeof now);
  told_ = now;
}

void Watchdog::take_messages() {
  for (;;) {
    int found = 0;
    MPI_Status status;
    mpi_check(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm_.get(), &found, &status), "MPI_Iprobe");
    if (!found) return;
    int bytes = 0;
    mpi_check(MPI_Get_count(&status, MPI_BYTE, &bytes), "MPI_Get_count");
    std::vector<char> message(static_cast<std::size_t>(bytes));
    mpi_check(MPI_Recv(message.data(), bytes, MPI_BYTE, status.MPI_SOURCE, status.MPI_TAG, comm_.get(),
                       MPI_STATUS_IGNORE),
              "MPI_Recv");

    if (status.MPI_TAG == kQuestion) {
      const RankState mine = state();
      send(status.MPI_SOURCE, kAnswer, &mine, sizeof mine);
      // One inquiry is enough; if the lower rank's does not end the job, ours follows.
      if (status.MPI_SOURCE < rank_ && !inquiry_) no_inquiry_before_ = Clock::now() + 2 * answer_time_;
    } else if (status.MPI_TAG == kAnswer && message.size() == sizeof(RankState) && inquiry_) {
      auto& slot = inquiry_->survey.states[static_cast<std::size_t>(status.MPI_SOURCE)];
      if (!slot) --inquiry_->answers_due;
      slot.emplace();
      std::memcpy(&*slot, message.data(), sizeof(RankState));
    } else if (status.MPI_TAG == kHeartbeat && message.size() == sizeof(Progress)) {
      std::memcpy(&neighbour_, message.data(), sizeof neighbour_);
    } else if (status.MPI_TAG == kReport && message.size() >= sizeof(int)) {
      int exit_code = kExitFailure;
      std::memcpy(&exit_code, message.data(), sizeof exit_code);
      end_job(std::string(message.begin() + sizeof exit_code, message.end()), exit_code);
    }
  }
}

void Watchdog::begin_inquiry() {
  for (const auto& group : groups()) {
    const GroupState state = group->state();
    if (!state.active || state.waited_seconds * 1000 < static_cast<double>(timeout_.count())) continue;
    inquiry_.emplace(Inquiry{group, state.calls, Clock::now() + answer_time_, {}, size_ - 1});
    inquiry_->survey.states.resize(static_cast<std::size_t>(size_));
    inquiry_->survey.hosts = hosts_;
    for (int rank = 0; rank < size_; ++rank)
      if (rank != rank_) send(rank, kQuestion, &rank_, sizeof rank_);
    return;
  }
}

void Watchdog::conclude_inquiry() {
  Inquiry inquiry = std::move(*inquiry_);
  inquiry_.reset();
  const RankState mine = state();
  inquiry.survey.states[static_cast<std::size_t>(rank_)] = mine;
  const GroupState stuck = inquiry.group->state();
  if (!stuck.active || stuck.calls != inquiry.call) return;  // it went on meanwhile
  for (int i = 0; i < mine.group_count; ++i) {
    if (!mine.groups[i].same_group(stuck)) continue;
    const std::string text = diagnose(inquiry.survey, rank_, i);
    int reporter = 0;
    while (!inquiry.survey.states[static_cast<std::size_t>(reporter)]) ++reporter;
    abort_through(reporter, text, kExitFailure);
  }
}

}  // namespace heddle
