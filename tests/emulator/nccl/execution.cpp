// How operations are carried out.
//
// A collective begins with headers: every rank tells every other what it is about to do, so ranks that
// disagree find out. Then the parts travel, from staging memory: MPI may make progress in any thread, and
// device memory is only accessible to the scheduler.
//   all_reduce      every rank reduces its piece of the vector and sends the result to all
//   reduce_scatter  the first half of that
//   all_gather, broadcast: everyone sends to everyone, or the root does
// A message between two ranks carries its header in front.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "tests/emulator/host/device_memory.h"
#include "tests/emulator/nccl/mail.h"
#include "tests/emulator/nccl/operation.h"
#include "tests/emulator/nccl/reduce.h"

namespace heddle::emulator {

namespace {

enum Tag { kHeaderTag, kPartTag, kResultTag, kDirectTag };

struct Header {
  OperationKind kind;
  ncclDataType_t type;
  ncclRedOp_t reduction;
  int root;
  int failed;  // the sender's network broke
  std::uint64_t count;

  bool agrees_with(const Header& other) const {
    return kind == other.kind && type == other.type && reduction == other.reduction && root == other.root &&
           count == other.count;
  }
};

Header header_of(const Operation& operation) {
  const bool direct = !operation.is_collective();
  return {direct ? OperationKind::send : operation.kind,
          operation.type,
          operation.reduction,
          direct ? 0 : operation.peer,
          operation.communicator->error != ncclSuccess,
          operation.count};
}

std::string describe(const Header& header, const Operation& mine) {
  Operation theirs = mine;
  theirs.kind = header.kind;
  theirs.type = header.type;
  theirs.reduction = header.reduction;
  theirs.count = header.count;
  if (theirs.is_collective()) theirs.peer = header.root;
  if (header.kind == OperationKind::send) theirs.peer = mine.communicator->rank;
  return theirs.to_string();
}

// Compares with what rank `peer` is about to do. False when it has failed; throws Fault when it is something
// else.
bool examine(const Header& theirs, const Operation& operation, int peer) {
  Communicator& communicator = *operation.communicator;
  if (theirs.failed) {
    communicator.fail(ncclRemoteError, fmt::format("{}: rank {} has failed", operation.to_string(), peer));
    return false;
  }
  if (theirs.agrees_with(header_of(operation))) return true;
  const auto text = fmt::format("NCCL, rank {}: {} meets rank {}'s {}", communicator.rank,
                                operation.to_string(), peer, describe(theirs, operation));
  communicator.fail(ncclInvalidUsage, text);
  throw Fault(text);
}

class Collective : public Execution {
 public:
  explicit Collective(const Operation& operation)
      : operation_(operation),
        rank_(operation.communicator->rank),
        size_(operation.communicator->size),
        mail_(std::make_unique<Mail>(operation.communicator->mpi)),
        in_(mail_->buffer(operation.in_bytes())),
        result_(mail_->buffer(operation.out_bytes())),
        headers_(mail_->buffer(sizeof(Header) * static_cast<std::size_t>(size_))) {
    stage();
    const Header mine = header_of(operation);
    std::memcpy(header(rank_), &mine, sizeof mine);
    for_peers([&](int peer) {
      mail_->receive(peer, kHeaderTag, header(peer), sizeof(Header));
      mail_->send(peer, kHeaderTag, header(rank_), sizeof(Header));
    });
  }
  ~Collective() override { Mail::abandon(std::move(mail_)); }

  Progress advance() override {
    bool truncated = false;
    if (!mail_->complete(&truncated)) return Progress::idle;
    switch (stage_) {
      case Stage::headers:
        if (!all_agree()) return Progress::some;
        exchange_parts();
        stage_ = Stage::parts;
        return Progress::some;
      case Stage::parts:
        if (reduces()) reduce_parts();
        if (operation_.kind != OperationKind::all_reduce) break;
        exchange_results();
        stage_ = Stage::results;
        return Progress::some;
      case Stage::results: break;
    }
    std::copy(result_.begin(), result_.end(), operation_.out);
    return Progress::done;
  }

 private:
  enum class Stage { headers, parts, results };

  // Takes the input; who reads the output before the operation is done finds NaN.
  void stage() {
    const std::size_t in_bytes = in_.size(), out_bytes = result_.size();
    std::copy(operation_.in, operation_.in + in_bytes, in_.begin());
    std::fill(operation_.out, operation_.out + out_bytes, std::byte{0xff});
    const bool keeps_input =
        operation_.kind == OperationKind::all_gather || operation_.kind == OperationKind::broadcast;
    if (keeps_input && operation_.in >= operation_.out && operation_.in < operation_.out + out_bytes)
      std::copy(in_.begin(), in_.end(), const_cast<std::byte*>(operation_.in));
  }

  std::byte* header(int rank) { return headers_.data() + sizeof(Header) * static_cast<std::size_t>(rank); }

  template <typename Action>
  void for_peers(Action action) const {
    for (int peer = 0; peer < size_; ++peer)
      if (peer != rank_) action(peer);
  }

  bool all_agree() {
    for (int peer = 0; peer < size_; ++peer) {
      Header theirs;
      std::memcpy(&theirs, header(peer), sizeof theirs);
      if (!examine(theirs, operation_, peer)) return false;
    }
    return true;
  }

  bool reduces() const {
    return operation_.kind == OperationKind::all_reduce || operation_.kind == OperationKind::reduce_scatter;
  }

  // The elements of a reduction that rank `rank` sums, counted in the input.
  struct Piece {
    std::size_t begin, bytes;
  };
  Piece piece(int rank) const {
    const std::size_t element = size_of(operation_.type), r = static_cast<std::size_t>(rank);
    const std::size_t count = operation_.count, ranks = static_cast<std::size_t>(size_);
    if (operation_.kind == OperationKind::reduce_scatter) return {r * count * element, count * element};
    const std::size_t begin = count * r / ranks, end = count * (r + 1) / ranks;
    return {begin * element, (end - begin) * element};
  }

  void exchange_parts() {
    switch (operation_.kind) {
      case OperationKind::all_reduce:
      case OperationKind::reduce_scatter:
        parts_.resize(static_cast<std::size_t>(size_));
        for_peers([&](int peer) {
          auto& part = mail_->buffer(piece(rank_).bytes);
          parts_[static_cast<std::size_t>(peer)] = part.data();
          mail_->receive(peer, kPartTag, part.data(), part.size());
          mail_->send(peer, kPartTag, in_.data() + piece(peer).begin, piece(peer).bytes);
        });
        parts_[static_cast<std::size_t>(rank_)] = in_.data() + piece(rank_).begin;
        break;
      case OperationKind::all_gather:
        for_peers([&](int peer) {
          mail_->receive(peer, kPartTag, result_.data() + in_.size() * static_cast<std::size_t>(peer),
                         in_.size());
          mail_->send(peer, kPartTag, in_.data(), in_.size());
        });
        std::copy(
            in_.begin(), in_.end(),
            result_.begin() + static_cast<std::ptrdiff_t>(in_.size() * static_cast<std::size_t>(rank_)));
        break;
      case OperationKind::broadcast:
        if (rank_ == operation_.peer) {
          for_peers([&](int peer) { mail_->send(peer, kPartTag, in_.data(), in_.size()); });
          result_ = in_;
        } else {
          mail_->receive(operation_.peer, kPartTag, result_.data(), result_.size());
        }
        break;
      default: break;
    }
  }

  void reduce_parts() {
    const Piece mine = piece(rank_);
    const std::size_t begin = operation_.kind == OperationKind::all_reduce ? mine.begin : 0;
    reduce(operation_.type, operation_.reduction, parts_, mine.bytes / size_of(operation_.type),
           result_.data() + begin);
  }

  void exchange_results() {
    for_peers([&](int peer) {
      mail_->receive(peer, kResultTag, result_.data() + piece(peer).begin, piece(peer).bytes);
      mail_->send(peer, kResultTag, result_.data() + piece(rank_).begin, piece(rank_).bytes);
    });
  }

  Operation operation_;
  int rank_, size_;
  std::unique_ptr<Mail> mail_;
  std::vector<std::byte>&in_, &result_, &headers_;  // in mail_
  std::vector<const std::byte*> parts_;             // of my piece, by rank
  Stage stage_ = Stage::headers;
};

// ncclSend or ncclRecv.
class Direct : public Execution {
 public:
  explicit Direct(const Operation& operation)
      : operation_(operation),
        sends_(operation.kind == OperationKind::send),
        mail_(std::make_unique<Mail>(operation.communicator->mpi)),
        message_(mail_->buffer(sizeof(Header) + operation.count * size_of(operation.type))) {
    if (sends_) {
      const Header header = header_of(operation);
      std::memcpy(message_.data(), &header, sizeof header);
      std::copy(operation.in, operation.in + operation.in_bytes(), message_.begin() + sizeof(Header));
      mail_->send(operation.peer, kDirectTag, message_.data(), message_.size());
    } else {
      std::fill(operation.out, operation.out + operation.out_bytes(), std::byte{0xff});
      mail_->receive(operation.peer, kDirectTag, message_.data(), message_.size());
    }
  }
  ~Direct() override { Mail::abandon(std::move(mail_)); }

  Progress advance() override {
    bool truncated = false;
    if (!mail_->complete(&truncated)) return Progress::idle;
    if (sends_) return Progress::done;
    Header theirs;
    std::memcpy(&theirs, message_.data(), sizeof theirs);  // arrives even if the rest does not fit
    if (!examine(theirs, operation_, operation_.peer)) return Progress::some;
    std::copy(message_.begin() + sizeof(Header), message_.end(), operation_.out);
    return Progress::done;
  }

 private:
  Operation operation_;
  bool sends_;
  std::unique_ptr<Mail> mail_;
  std::vector<std::byte>& message_;  // in mail_
};

}  // namespace

std::unique_ptr<Execution> execute(const Operation& operation) {
  if (operation.is_collective()) return std::make_unique<Collective>(operation);
  return std::make_unique<Direct>(operation);
}

}  // namespace heddle::emulator
