// One operation of NCCL, and how it is carried out with MPI messages.
#pragma once

#include <nccl.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/emulator/host/work.h"
#include "tests/emulator/nccl/communicator.h"

namespace heddle::emulator {

enum class OperationKind : int { all_reduce, all_gather, reduce_scatter, broadcast, send, receive };

// What a program has asked for.
struct Operation {
  OperationKind kind;
  const std::byte* in = nullptr;
  std::byte* out = nullptr;
  std::size_t count = 0;  // as given to NCCL: of one rank's part for all_gather and reduce_scatter
  ncclDataType_t type = ncclFloat32;
  ncclRedOp_t reduction = ncclSum;
  int peer = 0;  // or root
  std::shared_ptr<Communicator> communicator;

  bool is_collective() const { return kind != OperationKind::send && kind != OperationKind::receive; }
  std::size_t in_bytes() const;
  std::size_t out_bytes() const;
  std::string to_string() const;  // "ncclAllReduce (sum) of 1024 f32"
};

// One execution of an operation: every advance() posts or completes messages that do not block.
class Execution {
 public:
  virtual ~Execution() = default;
  // Throws Fault when the ranks do not agree.
  virtual Progress advance() = 0;
};

std::unique_ptr<Execution> execute(const Operation& operation);

// What one stream runs for the operations of one group, or for a single one.
WorkFactory communication(std::vector<Operation> operations);

}  // namespace heddle::emulator
