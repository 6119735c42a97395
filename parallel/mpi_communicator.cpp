#include "parallel/mpi_communicator.h"

#include <pthread.h>
#include <sys/prctl.h>

#include <algorithm>

#include "kernels/error.h"
#include "parallel/affinity.h"
#include "parallel/message_transport.h"
#include "parallel/mpi_error.h"
#include "parallel/shared_memory_transport.h"
#include "parallel/shared_region.h"

namespace heddle {

namespace {

CpuEvent& cpu_event(Event& event) {
  auto* found = dynamic_cast<CpuEvent*>(&event);
  if (!found) throw error("collectives on host memory take events made by the CPU device");
  return *found;
}

}  // namespace

MpiCommunicator::MpiCommunicator(std::string name, std::unique_ptr<Transport> transport,
                                 std::shared_ptr<WatchedGroup> watched)
    : name_(std::move(name)), transport_(std::move(transport)), watched_(std::move(watched)) {
  process_cores();
  thread_ = std::thread([this] { serve(); });
}

MpiCommunicator::~MpiCommunicator() {
  cancelled_ = true;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

// --- the sequence of calls ---

void MpiCommunicator::run_now(const Operation& operation) {
  std::unique_lock lock(mutex_);
  throw_if_broken();
  if (executing_ || queued_ > 0) {
    Operation queued = operation;
    queued.done = &turn_;
    turn_.begin();
    push(lock, queued);
    lock.unlock();
    turn_.synchronize();
    return;
  }
  executing_ = true;
  lock.unlock();
  std::exception_ptr failure;
  try {
    execute(operation, Patience(nullptr, cancelled_));
  } catch (...) {
    failure = std::current_exception();
  }
  lock.lock();
  executing_ = false;
  if (failure) broken_ = failure;
  lock.unlock();
  changed_.notify_all();
  if (failure) std::rethrow_exception(failure);
}

void MpiCommunicator::enqueue(Operation operation, Event& ready, Event& done) {
  // An event that is ready now may be recorded again before the thread looks at it.
  CpuEvent& start = cpu_event(ready);
  operation.ready = &start == &done || start.ready() ? nullptr : &start;
  if (!operation.ready) start.synchronize();  // rethrows a failure
  operation.done = &cpu_event(done);

  std::unique_lock lock(mutex_);
  throw_if_broken();
  operation.done->begin();
  push(lock, operation);
}

void MpiCommunicator::push(std::unique_lock<std::mutex>& lock, const Operation& operation) {
  changed_.wait(lock, [this] { return queued_ < kQueueLength; });
  queue_[(first_ + queued_) % kQueueLength] = operation;
  ++queued_;
  changed_.notify_all();
}

void MpiCommunicator::serve() {
  pthread_setname_np(pthread_self(), ("heddle-" + name_).substr(0, 15).c_str());
  prctl(PR_SET_TIMERSLACK, 1000UL);  // short sleeps end within a microsecond, not 50
  use_process_cores();               // not only the core of the thread that made us
  for (;;) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return stopping_ || (queued_ > 0 && !executing_); });
    if (queued_ == 0) return;
    const Operation operation = queue_[first_];
    first_ = (first_ + 1) % kQueueLength;
    --queued_;
    executing_ = true;
    std::exception_ptr failure = broken_;
    lock.unlock();

    if (!failure) {
      try {
        const Patience patience(operation.done, cancelled_);
        if (operation.ready) {
          for (Backoff backoff(patience); !operation.ready->ready();) backoff.pause();
          operation.ready->synchronize();  // rethrows a failure
        }
        execute(operation, patience);
      } catch (...) {
        failure = std::current_exception();
      }
    }
    lock.lock();
    executing_ = false;
    if (failure) broken_ = failure;
    lock.unlock();
    changed_.notify_all();
    if (failure) {
      operation.done->fail(failure);
    } else {
      operation.done->complete();
    }
  }
}

void MpiCommunicator::execute(const Operation& operation, const Patience& patience) {
  const CollectiveCall& call = operation.call;
  patience.check();
  if (watched_) watched_->begin(call);
  try {
    switch (call.kind) {
      case CollectiveKind::none: break;
      case CollectiveKind::all_reduce: transport_->all_reduce(call, operation.out, patience); break;
      case CollectiveKind::all_gather:
        transport_->all_gather(call, operation.in, operation.out, patience);
        break;
      case CollectiveKind::reduce_scatter:
        transport_->reduce_scatter(call, operation.in, operation.out, patience);
        break;
      case CollectiveKind::broadcast: transport_->broadcast(call, operation.out, patience); break;
      case CollectiveKind::barrier: transport_->barrier(call, patience); break;
    }
  } catch (const Error& e) {
    if (watched_) watched_->end();
    throw error("group {}: {}", name_, e.what());
  }
  if (watched_) watched_->end();
}

void MpiCommunicator::throw_if_broken() const {
  if (broken_) std::rethrow_exception(broken_);
}

// --- the interface ---

void MpiCommunicator::all_reduce(const Tensor& x, Reduction reduction, Stream& stream, const char* label) {
  stream.synchronize();
  run_now({all_reduce_call(x, reduction, label), x.data, x.data});
}

void MpiCommunicator::all_reduce(const Tensor& x, Reduction reduction, Event& ready, Event& done,
                                 const char* label) {
  enqueue({all_reduce_call(x, reduction, label), x.data, x.data}, ready, done);
}

void MpiCommunicator::all_gather(const Tensor& in, const Tensor& out, Stream& stream, const char* label) {
  stream.synchronize();
  run_now({all_gather_call(in, out, size(), label), in.data, out.data});
}

void MpiCommunicator::all_gather(const Tensor& in, const Tensor& out, Event& ready, Event& done,
                                 const char* label) {
  enqueue({all_gather_call(in, out, size(), label), in.data, out.data}, ready, done);
}

void MpiCommunicator::reduce_scatter(const Tensor& in, const Tensor& out, Stream& stream, const char* label) {
  stream.synchronize();
  run_now({reduce_scatter_call(in, out, size(), label), in.data, out.data});
}

void MpiCommunicator::reduce_scatter(const Tensor& in, const Tensor& out, Event& ready, Event& done,
                                     const char* label) {
  enqueue({reduce_scatter_call(in, out, size(), label), in.data, out.data}, ready, done);
}

void MpiCommunicator::broadcast(const Tensor& x, int root, Stream& stream, const char* label) {
  const CollectiveCall call = broadcast_call(x, root, size(), label);
  stream.synchronize();
  run_now({call, x.data, x.data});
}

void MpiCommunicator::all_reduce_host(double* values, int count, Reduction reduction, const char* label) {
  run_now(
      {CollectiveCall(CollectiveKind::all_reduce, Element::f64, count, label, reduction), values, values});
}

void MpiCommunicator::all_reduce_host(std::int64_t* values, int count, Reduction reduction,
                                      const char* label) {
  run_now(
      {CollectiveCall(CollectiveKind::all_reduce, Element::i64, count, label, reduction), values, values});
}

std::vector<std::string> MpiCommunicator::all_gather_host(const std::string& bytes, const char* label) {
  const auto ranks = static_cast<std::size_t>(size());
  const auto mine = static_cast<std::int64_t>(bytes.size());
  std::vector<std::int64_t> lengths(ranks);
  run_now({CollectiveCall(CollectiveKind::all_gather, Element::i64, size(), label), &mine, lengths.data()});
  const std::int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  // All ranks see the same lengths, so all of them throw.
  if (longest > kLongestHostBytes)
    throw error("all_gather_host \"{}\": a rank sends {} bytes, the limit is {}", label, longest,
                kLongestHostBytes);

  std::vector<std::string> all(ranks);
  constexpr std::int64_t kPaddedLimit = std::int64_t{4} << 20;
  if (longest * size() <= kPaddedLimit) {  // one call; every rank sends as much as the longest
    const auto stride = static_cast<std::size_t>(longest);
    std::string padded = bytes, gathered(stride * ranks, '\0');
    padded.resize(stride);
    run_now({CollectiveCall(CollectiveKind::all_gather, Element::u8, longest * size(), label), padded.data(),
             gathered.data()});
    for (std::size_t p = 0; p < ranks; ++p)
      all[p] = gathered.substr(p * stride, static_cast<std::size_t>(lengths[p]));
  } else {
    for (std::size_t p = 0; p < ranks; ++p) {
      if (static_cast<int>(p) == rank()) all[p] = bytes;
      all[p].resize(static_cast<std::size_t>(lengths[p]));
      run_now({CollectiveCall(CollectiveKind::broadcast, Element::u8, lengths[p], label, Reduction::sum,
                              static_cast<int>(p)),
               all[p].data(), all[p].data()});
    }
  }
  return all;
}

void MpiCommunicator::broadcast_host(std::string& bytes, int root, const char* label) {
  if (root < 0 || root >= size())
    throw error("broadcast_host \"{}\": there is no rank {} in group {}", label, root, name_);
  auto length = static_cast<std::int64_t>(bytes.size());
  const CollectiveCall call(CollectiveKind::broadcast, Element::i64, 1, label, Reduction::sum, root);
  run_now({call, &length, &length});
  if (length > kLongestHostBytes)
    throw error("broadcast_host \"{}\": rank {} sends {} bytes, the limit is {}", label, root, length,
                kLongestHostBytes);
  bytes.resize(static_cast<std::size_t>(length));
  run_now({CollectiveCall(CollectiveKind::broadcast, Element::u8, length, label, Reduction::sum, root),
           bytes.data(), bytes.data()});
}

void MpiCommunicator::barrier(const char* label) {
  run_now({CollectiveCall(CollectiveKind::barrier, Element::u8, 0, label)});
}

// --- the choice of the transport ---

std::unique_ptr<Communicator> make_mpi_communicator(UniqueComm comm, std::string name,
                                                    bool allow_shared_memory,
                                                    std::shared_ptr<WatchedGroup> watched) {
  const int rank = comm.rank(), size = comm.size();
  std::unique_ptr<Transport> transport;
  if (allow_shared_memory && UniqueComm::split_by_host(comm.get()).size() == size) {
    Memory region = map_shared_region(comm.get(), SharedMemoryTransport::region_bytes(size));
    if (region.data()) transport = std::make_unique<SharedMemoryTransport>(std::move(region), rank, size);
  }
  if (!transport) transport = std::make_unique<MessageTransport>(std::move(comm));
  return std::make_unique<MpiCommunicator>(std::move(name), std::move(transport), std::move(watched));
}

}  // namespace heddle
