#include "parallel/message_transport.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "kernels/error.h"
#include "parallel/mpi_error.h"
#include "parallel/reduce.h"

namespace heddle {

namespace {

// Counts are int in MPI 3: longer messages go in pieces.
constexpr std::size_t kLongestMessage = std::size_t{64} << 20;
constexpr std::size_t kScratchBytes = std::size_t{8} << 20;
constexpr std::size_t kLongestShare = std::size_t{1} << 20;
constexpr std::size_t kShortestShare = std::size_t{16} << 10;

Memory allocate_scratch(std::size_t bytes) {
  void* data = std::aligned_alloc(64, bytes);
  if (!data) throw error("cannot allocate {} bytes of scratch for a communicator", bytes);
  std::memset(data, 0, bytes);  // touched now, not in the first step
  return Memory(data, bytes, [](void* p) { std::free(p); });
}

}  // namespace

MessageTransport::MessageTransport(UniqueComm comm)
    : comm_(std::move(comm)), rank_(comm_.rank()), size_(comm_.size()) {
  void* bound = nullptr;
  int found = 0;
  mpi_check(MPI_Comm_get_attr(comm_.get(), MPI_TAG_UB, &bound, &found), "MPI_Comm_get_attr");
  if (found) tag_bound_ = *static_cast<int*>(bound);

  const auto n = static_cast<std::size_t>(size_);
  share_bytes_ = std::clamp(kScratchBytes / 2 / n / 64 * 64, kShortestShare, kLongestShare);
  scratch_ = allocate_scratch(2 * n * share_bytes_);
  for (Batch& batch : exchange_) batch.reserve(2 * n);
  gather_.reserve(2 * n);
  sources_.resize(n);
}

// --- messages ---

void MessageTransport::Batch::send(const void* data, std::size_t bytes, int to, int tag, MPI_Comm comm) {
  MPI_Request request;
  mpi_check(MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, to, tag, comm, &request), "MPI_Isend");
  requests_.push_back(request);
}

void MessageTransport::Batch::receive(void* data, std::size_t bytes, int from, int tag, MPI_Comm comm) {
  MPI_Request request;
  mpi_check(MPI_Irecv(data, static_cast<int>(bytes), MPI_BYTE, from, tag, comm, &request), "MPI_Irecv");
  requests_.push_back(request);
}

void MessageTransport::Batch::wait(const Patience& patience, const CollectiveCall& call) {
  Backoff backoff(patience);
  for (;;) {
    int done = 0;
    const int code =
        MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, MPI_STATUSES_IGNORE);
    if (code != MPI_SUCCESS) mpi_check(code, call.to_string().c_str());
    if (done) break;
    backoff.pause();
  }
  requests_.clear();
}

// The tag is made from the call, so that messages of calls that differ between ranks never meet: the watchdog
// then names both, instead of one tensor's numbers landing in another.
int MessageTransport::tag(const CollectiveCall& call, int phase) const {
  return static_cast<int>(call.hash() % static_cast<std::uint64_t>(tag_bound_ / 2)) * 2 + phase;
}

char* MessageTransport::scratch(int parity, int p) const {
  return static_cast<char*>(scratch_.data()) + static_cast<std::size_t>(parity * size_ + p) * share_bytes_;
}

// --- collectives ---

void MessageTransport::all_reduce(const CollectiveCall& call, void* x, const Patience& patience) {
  // Below this only the number of rounds counts: everybody sends everything to everybody.
  constexpr std::size_t kLatencyBound = 32 << 10;
  const std::size_t width = size_of(call.element);
  const std::size_t bytes = static_cast<std::size_t>(call.count) * width;
  if (bytes <= share_bytes_ && bytes * static_cast<std::size_t>(size_ - 1) <= kLatencyBound)
    return all_reduce_directly(call, static_cast<char*>(x), patience);

  // While chunk k is summed, the shares of chunk k + 1 and the sums of chunk k - 1 are under way.
  char* data = static_cast<char*>(x);
  const std::int64_t chunk = static_cast<std::int64_t>(share_bytes_ / width) * size_;
  const auto length_at = [&](std::int64_t begin) { return std::min(chunk, call.count - begin); };
  post_exchange(call, data, 0, length_at(0), 0);
  int parity = 0;
  for (std::int64_t begin = 0; begin < call.count; begin += chunk, parity ^= 1) {
    const std::int64_t next = begin + chunk;
    if (next < call.count) post_exchange(call, data, next, length_at(next), parity ^ 1);
    exchange_[parity].wait(patience, call);
    const std::int64_t mine = share_begin(begin, length_at(begin), rank_);
    const std::int64_t end = share_begin(begin, length_at(begin), rank_ + 1);
    char* share = data + static_cast<std::size_t>(mine) * width;
    for (int p = 0; p < size_; ++p) sources_[p] = p == rank_ ? share : scratch(parity, p);
    reduce_in_rank_order(sources_.data(), size_, end - mine, call.element, call.reduction, share);
    gather_.wait(patience, call);
    post_gather(call, data, begin, length_at(begin));
  }
  gather_.wait(patience, call);
}

void MessageTransport::all_reduce_directly(const CollectiveCall& call, char* x, const Patience& patience) {
  const std::size_t bytes = static_cast<std::size_t>(call.count) * size_of(call.element);
  Batch& batch = exchange_[0];
  for (int i = 1; i < size_; ++i)
    batch.receive(scratch(0, peer(i)), bytes, peer(i), tag(call, 0), comm_.get());
  for (int i = 1; i < size_; ++i) batch.send(x, bytes, peer(i), tag(call, 0), comm_.get());
  batch.wait(patience, call);
  for (int p = 0; p < size_; ++p) sources_[p] = p == rank_ ? x : scratch(0, p);
  reduce_in_rank_order(sources_.data(), size_, call.count, call.element, call.reduction, x);
}

void MessageTransport::post_exchange(const CollectiveCall& call, const char* x, std::int64_t begin,
                                     std::int64_t length, int parity) {
  const std::size_t width = size_of(call.element);
  const auto offset = [&](int p) { return static_cast<std::size_t>(share_begin(begin, length, p)) * width; };
  const std::size_t my_bytes = offset(rank_ + 1) - offset(rank_);
  for (int i = 1; i < size_; ++i)
    exchange_[parity].receive(scratch(parity, peer(i)), my_bytes, peer(i), tag(call, 0), comm_.get());
  for (int i = 1; i < size_; ++i) {
    const int p = peer(i);
    exchange_[parity].send(x + offset(p), offset(p + 1) - offset(p), p, tag(call, 0), comm_.get());
  }
}

void MessageTransport::post_gather(const CollectiveCall& call, char* x, std::int64_t begin,
                                   std::int64_t length) {
  const std::size_t width = size_of(call.element);
  const auto offset = [&](int p) { return static_cast<std::size_t>(share_begin(begin, length, p)) * width; };
  for (int i = 1; i < size_; ++i) {
    const int p = peer(i);
    gather_.receive(x + offset(p), offset(p + 1) - offset(p), p, tag(call, 1), comm_.get());
  }
  for (int i = 1; i < size_; ++i)
    gather_.send(x + offset(rank_), offset(rank_ + 1) - offset(rank_), peer(i), tag(call, 1), comm_.get());
}

void MessageTransport::all_gather(const CollectiveCall& call, const void* in, void* out,
                                  const Patience& patience) {
  const std::size_t total = static_cast<std::size_t>(call.count) * size_of(call.element);
  const std::size_t mine = total / static_cast<std::size_t>(size_);
  const char* from = static_cast<const char*>(in);
  char* to = static_cast<char*>(out);
  const auto slice = [&](int p) { return to + static_cast<std::size_t>(p) * mine; };
  if (mine > 0 && slice(rank_) != from) std::memcpy(slice(rank_), from, mine);
  std::size_t begin = 0;
  do {
    const std::size_t length = std::min(kLongestMessage, mine - begin);
    for (int i = 1; i < size_; ++i)
      gather_.receive(slice(peer(i)) + begin, length, peer(i), tag(call, 0), comm_.get());
    for (int i = 1; i < size_; ++i)
      gather_.send(slice(rank_) + begin, length, peer(i), tag(call, 0), comm_.get());
    gather_.wait(patience, call);
    begin += length;
  } while (begin < mine);
}

void MessageTransport::reduce_scatter(const CollectiveCall& call, const void* in, void* out,
                                      const Patience& patience) {
  const std::size_t width = size_of(call.element);
  const std::int64_t mine = call.count / size_;
  const auto chunk = static_cast<std::int64_t>(share_bytes_ / width);
  const char* from = static_cast<const char*>(in);
  const auto post = [&](std::int64_t begin, int parity) {
    const auto bytes = static_cast<std::size_t>(std::min(chunk, mine - begin)) * width;
    for (int i = 1; i < size_; ++i)
      exchange_[parity].receive(scratch(parity, peer(i)), bytes, peer(i), tag(call, 0), comm_.get());
    for (int i = 1; i < size_; ++i) {
      const char* part = from + static_cast<std::size_t>(peer(i) * mine + begin) * width;
      exchange_[parity].send(part, bytes, peer(i), tag(call, 0), comm_.get());
    }
  };
  post(0, 0);
  int parity = 0;
  std::int64_t begin = 0;
  do {
    const std::int64_t length = std::min(chunk, mine - begin);
    if (begin + chunk < mine) post(begin + chunk, parity ^ 1);
    exchange_[parity].wait(patience, call);
    for (int p = 0; p < size_; ++p)
      sources_[p] =
          p == rank_ ? from + static_cast<std::size_t>(rank_ * mine + begin) * width : scratch(parity, p);
    reduce_in_rank_order(sources_.data(), size_, length, call.element, call.reduction,
                         static_cast<char*>(out) + static_cast<std::size_t>(begin) * width);
    begin += length;
    parity ^= 1;
  } while (begin < mine);
}

// MPI's own broadcast and barrier go through trees and involve no arithmetic: nothing to improve.
void MessageTransport::broadcast(const CollectiveCall& call, void* x, const Patience& patience) {
  const std::size_t total = static_cast<std::size_t>(call.count) * size_of(call.element);
  char* data = static_cast<char*>(x);
  for (std::size_t begin = 0; begin < total; begin += kLongestMessage) {
    const auto length = static_cast<int>(std::min(kLongestMessage, total - begin));
    MPI_Request request;
    mpi_check(MPI_Ibcast(data + begin, length, MPI_BYTE, call.root, comm_.get(), &request), "MPI_Ibcast");
    gather_.add(request);
    gather_.wait(patience, call);
  }
}

void MessageTransport::barrier(const CollectiveCall& call, const Patience& patience) {
  MPI_Request request;
  mpi_check(MPI_Ibarrier(comm_.get(), &request), "MPI_Ibarrier");
  gather_.add(request);
  gather_.wait(patience, call);
}

}  // namespace heddle
