#include "tests/emulator/nccl/operation.h"

#include <fmt/format.h>

#include "tests/emulator/host/device_memory.h"
#include "tests/emulator/nccl/failure.h"
#include "tests/emulator/nccl/reduce.h"
#include "tests/emulator/nccl/rendezvous.h"

namespace heddle::emulator {

std::size_t Operation::in_bytes() const {
  const auto ranks = static_cast<std::size_t>(communicator->size);
  switch (kind) {
    case OperationKind::reduce_scatter: return count * size_of(type) * ranks;
    case OperationKind::broadcast: return communicator->rank == peer ? count * size_of(type) : 0;
    case OperationKind::receive: return 0;
    default: return count * size_of(type);
  }
}

std::size_t Operation::out_bytes() const {
  const auto ranks = static_cast<std::size_t>(communicator->size);
  switch (kind) {
    case OperationKind::all_gather: return count * size_of(type) * ranks;
    case OperationKind::send: return 0;
    default: return count * size_of(type);
  }
}

std::string Operation::to_string() const {
  const auto elements = fmt::format("of {} {}", count, name_of(type));
  switch (kind) {
    case OperationKind::all_reduce: return fmt::format("ncclAllReduce ({}) {}", name_of(reduction), elements);
    case OperationKind::all_gather: return fmt::format("ncclAllGather {}", elements);
    case OperationKind::reduce_scatter:
      return fmt::format("ncclReduceScatter ({}) {}", name_of(reduction), elements);
    case OperationKind::broadcast: return fmt::format("ncclBroadcast {} from rank {}", elements, peer);
    case OperationKind::send: return fmt::format("ncclSend {} to rank {}", elements, peer);
    case OperationKind::receive: return fmt::format("ncclRecv {} from rank {}", elements, peer);
  }
  return "?";
}

namespace {

void check_memory(const Operation& operation, const char* which, const void* data, std::size_t bytes) {
  if (bytes == 0) return;
  const auto block = DeviceMemory::instance().find(data);
  if (block && static_cast<const std::byte*>(data) + bytes <= block->data + block->bytes) return;
  throw Fault(fmt::format("{}: the {} buffer at {} {}", operation.to_string(), which, data,
                          block ? "leaves its allocation" : "is not in device memory"));
}

// The operations of a group: messages between two ranks all at once, collectives of one communicator one by
// one.
class Communication : public Work {
 public:
  Communication(std::string name, std::vector<Operation> operations)
      : Work(std::move(name)), operations_(std::move(operations)), states_(operations_.size()) {
    for (const Operation& operation : operations_) ++operation.communicator->pending;
    count_pending(static_cast<int>(operations_.size()));
  }
  ~Communication() override {
    for (std::size_t i = 0; i < operations_.size(); ++i)
      if (!states_[i].done) leave(operations_[i]);
  }

  Progress advance() override {
    bool moved = false, all_done = true;
    for (std::size_t i = 0; i < operations_.size(); ++i) {
      State& state = states_[i];
      if (state.done) continue;
      moved |= advance(operations_[i], state, i);
      all_done &= state.done;
    }
    return all_done ? Progress::done : moved ? Progress::some : Progress::idle;
  }

 private:
  struct State {
    std::unique_ptr<Execution> execution;
    Injected injected = Injected::nothing;
    bool started = false, done = false;
  };

  bool advance(const Operation& operation, State& state, std::size_t number) {
    Communicator& communicator = *operation.communicator;
    if (communicator.aborted) {
      finish(operation, state);
      return true;
    }
    if (!state.started) {
      if (operation.is_collective() && waits_for_earlier(number)) return false;
      start(operation, state);
      return true;
    }
    if (state.injected != Injected::nothing || communicator.error != ncclSuccess)
      return false;  // until the abort
    const Progress progress = state.execution->advance();
    if (progress == Progress::done) finish(operation, state);
    return progress != Progress::idle;
  }

  bool waits_for_earlier(std::size_t number) const {
    for (std::size_t i = 0; i < number; ++i)
      if (!states_[i].done && operations_[i].is_collective() &&
          operations_[i].communicator == operations_[number].communicator)
        return true;
    return false;
  }

  void start(const Operation& operation, State& state) {
    Communicator& communicator = *operation.communicator;
    if (communicator.destroyed) throw Fault(operation.to_string() + ": the communicator has been destroyed");
    if (communicator.active && communicator.active != this) {
      const auto text = fmt::format(
          "{}: another operation of this communicator is under way in another stream; nothing orders the two",
          operation.to_string());
      communicator.fail(ncclInvalidUsage, text);
      throw Fault(text);
    }
    check_memory(operation, "send", operation.in, operation.in_bytes());
    check_memory(operation, "receive", operation.out, operation.out_bytes());
    communicator.active = this;
    state.started = true;
    state.injected = next_injected();
    if (state.injected == Injected::hang) return;
    if (state.injected == Injected::failure)
      communicator.fail(ncclSystemError,
                        operation.to_string() + ": made to fail by HEDDLE_EMULATOR_NCCL_FAIL");
    state.execution = execute(operation);
  }

  void finish(const Operation& operation, State& state) {
    state.done = true;
    state.execution.reset();
    leave(operation);
  }
  void leave(const Operation& operation) {
    Communicator& communicator = *operation.communicator;
    --communicator.pending;
    count_pending(-1);
    if (communicator.active != this) return;
    for (std::size_t i = 0; i < operations_.size(); ++i)
      if (!states_[i].done && states_[i].started && operations_[i].communicator == operation.communicator)
        return;
    communicator.active = nullptr;
  }

  std::vector<Operation> operations_;
  std::vector<State> states_;
};

}  // namespace

WorkFactory communication(std::vector<Operation> operations) {
  std::string name = operations.front().to_string();
  if (operations.size() > 1) name += fmt::format(" and {} more", operations.size() - 1);
  return [name, operations = std::move(operations)] {
    return std::make_unique<Communication>(name, operations);
  };
}

}  // namespace heddle::emulator
