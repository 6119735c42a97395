#include "tests/emulator/host/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "tests/emulator/host/device_memory.h"
#include "tests/emulator/host/environment.h"

namespace heddle::emulator {

namespace {

class Immediate : public Work {
 public:
  Immediate(std::string name, std::function<void()> body) : Work(std::move(name)), body_(std::move(body)) {}
  Progress advance() override {
    body_();
    return Progress::done;
  }

 private:
  std::function<void()> body_;
};

class RecordEvent : public Work {
 public:
  explicit RecordEvent(std::shared_ptr<Record> record) : Work("event"), record_(std::move(record)) {}
  Progress advance() override {
    record_->done = true;
    record_->when = std::chrono::steady_clock::now();
    return Progress::done;
  }

 private:
  std::shared_ptr<Record> record_;
};

class WaitForEvent : public Work {
 public:
  explicit WaitForEvent(std::shared_ptr<Record> record) : Work("wait"), record_(std::move(record)) {}
  bool ready() const override { return record_->done; }
  Progress advance() override { return Progress::done; }

 private:
  std::shared_ptr<Record> record_;
};

}  // namespace

std::unique_ptr<Work> immediate(std::string name, std::function<void()> body) {
  return std::make_unique<Immediate>(std::move(name), std::move(body));
}

Scheduler& Scheduler::instance() {
  static Scheduler* scheduler = new Scheduler;  // never destroyed: other static objects may still call
  return *scheduler;
}

Scheduler::Scheduler() : default_streams_(static_cast<std::size_t>(emulated_gpus())) {
  start_seed();
}

Scheduler::Lock Scheduler::lock() {
  ++waiting_;
  Lock lock(mutex_);
  --waiting_;
  return lock;
}

Progress advance_checked(Work& work) {
  const Progress progress = work.advance();
  if (progress == Progress::idle) return progress;
  if (const auto damage = DeviceMemory::instance().damage())
    throw Fault(fmt::format("{} {}", work.name(), *damage));
  return progress;
}

// --- streams and events ---

bool Scheduler::known(CUstream_st* stream) const {
  return std::find(streams_.begin(), streams_.end(), stream) != streams_.end() && !stream->destroyed;
}

CUstream_st* Scheduler::make_stream(int device, unsigned flags, int priority) {
  auto* stream = new CUstream_st;
  stream->device = device;
  stream->flags = flags;
  stream->priority = priority;
  streams_.push_back(stream);
  return stream;
}

void Scheduler::destroy_stream(CUstream_st* stream) {
  stream->destroyed = true;
  forget_if_finished(stream);
}

void Scheduler::forget_if_finished(CUstream_st* stream) {
  if (!stream->destroyed || !stream->queue.empty()) return;
  std::erase(streams_, stream);
  delete stream;
}

CUevent_st* Scheduler::make_event(unsigned flags) {
  auto* event = new CUevent_st;
  event->flags = flags;
  events_.insert(event);
  return event;
}

void Scheduler::destroy_event(CUevent_st* event) {
  events_.erase(event);
  delete event;
}

CUstream_st* Scheduler::default_stream(int device) {
  CUstream_st*& stream = default_streams_[static_cast<std::size_t>(device)];
  if (!stream) stream = make_stream(device, cudaStreamDefault, 0);
  return stream;
}

std::vector<std::shared_ptr<Capture>> Scheduler::captures() const {
  std::vector<std::shared_ptr<Capture>> all;
  for (const CUstream_st* stream : streams_)
    if (stream->capture && stream->capture->origin == stream) all.push_back(stream->capture);
  return all;
}

void Scheduler::push(CUstream_st* stream, std::unique_ptr<Work> work) {
  const bool is_default = stream == default_streams_[static_cast<std::size_t>(stream->device)];
  std::vector<CUstream_st*> others;  // that the default stream orders itself with
  if (is_default)
    for (CUstream_st* other : streams_)
      if (other != stream && other->device == stream->device && other->blocking() && !other->capture)
        others.push_back(other);
  for (CUstream_st* other : others) wait(stream, record(other));
  stream->queue.push_back(std::move(work));
  if (others.empty()) return;
  const auto after = record(stream);
  for (CUstream_st* other : others) wait(other, after);
}

std::shared_ptr<Record> Scheduler::record(CUstream_st* stream) {
  auto record = std::make_shared<Record>();
  stream->queue.push_back(std::make_unique<RecordEvent>(record));
  return record;
}

void Scheduler::wait(CUstream_st* stream, std::shared_ptr<Record> record) {
  stream->queue.push_back(std::make_unique<WaitForEvent>(std::move(record)));
}

// --- running ---

void Scheduler::start_seed() {
  seed_ = seed();
  random_ = Random(seed_);
  eager_ = seed_ != 0 && random_.below(4) == 0;
}

void Scheduler::queued() {
  if (seed_ != seed()) start_seed();
  if (eager_ && random_.below(2) == 0) run_a_little();
}

bool Scheduler::run_until(Lock& lock, const std::function<bool()>& done) {
  using namespace std::chrono_literals;
  if (done()) return !lost_;
  const DeviceAccess access;
  ++running_;
  auto nap = 20us;
  while (!lost_ && !done()) {
    const bool stepped = step();
    if (stepped && waiting_ == 0) {
      nap = 20us;
      continue;
    }
    lock.unlock();
    std::this_thread::sleep_for(nap);
    nap = stepped ? 20us : std::min(nap * 2, 1000us);
    lock.lock();
  }
  --running_;
  last_run_ = std::chrono::steady_clock::now();
  return !lost_;
}

void Scheduler::run_a_little() {
  if (lost_) return;
  last_run_ = std::chrono::steady_clock::now();
  const DeviceAccess access;
  for (auto pieces = 1 + random_.below(3); pieces > 0 && !lost_; --pieces)
    if (!step()) return;
}

void Scheduler::run_in_background() {
  constexpr std::chrono::milliseconds kPatience{5};
  if (running_ > 0 || lost_ || std::chrono::steady_clock::now() - last_run_ < kPatience) return;
  const DeviceAccess access;
  while (!lost_ && waiting_ == 0 && step()) {
  }
}

// One piece of one stream's work.
bool Scheduler::step() {
  if (seed_ != seed()) start_seed();
  std::vector<CUstream_st*> candidates;
  for (CUstream_st* stream : streams_)
    if (!stream->queue.empty() && stream->queue.front()->ready()) candidates.push_back(stream);
  while (!candidates.empty() && !lost_) {
    CUstream_st* stream = choose(candidates);
    if (advance(stream) != Progress::idle) return true;
  }
  return false;
}

// Removes one of the candidates, by the streams' odds.
CUstream_st* Scheduler::choose(std::vector<CUstream_st*>& candidates) {
  constexpr std::uint64_t kSpell = 16;  // mean number of pieces between changes of the odds
  if (random_.below(kSpell) == 0)
    for (CUstream_st* stream : streams_) stream->odds = 1u << random_.below(8);
  std::uint64_t sum = 0;
  for (const CUstream_st* stream : candidates) sum += stream->odds;
  std::uint64_t ticket = random_.below(sum);
  auto chosen = candidates.begin();
  while (ticket >= (*chosen)->odds) ticket -= (*chosen++)->odds;
  CUstream_st* stream = *chosen;
  candidates.erase(chosen);
  return stream;
}

Progress Scheduler::advance(CUstream_st* stream) {
  try {
    const Progress progress = advance_checked(*stream->queue.front());
    if (progress == Progress::done) {
      stream->queue.pop_front();
      forget_if_finished(stream);
    }
    return progress;
  } catch (const std::exception& e) {
    lose(e.what());
    return Progress::some;
  }
}

void Scheduler::lose(const std::string& text) {
  if (lost_) return;
  lost_ = true;
  fault_ = text;
  std::fflush(stdout);
  std::fprintf(stderr, "emulator: the GPU's context is lost: %s\n", text.c_str());
  const auto all = streams_;
  for (CUstream_st* stream : all) {
    stream->queue.clear();
    forget_if_finished(stream);
  }
}

void Scheduler::reset() {
  for (CUstream_st* stream : streams_) delete stream;
  for (CUevent_st* event : events_) delete event;
  streams_.clear();
  events_.clear();
  std::fill(default_streams_.begin(), default_streams_.end(), nullptr);
  lost_ = false;
  fault_.clear();
  start_seed();
}

// --- for other libraries ---

std::string last_fault() {
  const auto lock = Scheduler::instance().lock();
  return Scheduler::instance().fault();
}

bool wait_for(const std::function<bool()>& done) {
  auto lock = Scheduler::instance().lock();
  return Scheduler::instance().run_until(lock, done);
}

void progress_in_background() {
  const auto lock = Scheduler::instance().lock();
  Scheduler::instance().run_in_background();
}

void with_scheduler(const std::function<void()>& action) {
  const auto lock = Scheduler::instance().lock();
  action();
}

}  // namespace heddle::emulator
