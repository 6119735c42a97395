// NCCL's functions.
#include <fmt/format.h>

#include <vector>

#include "tests/emulator/host/work.h"
#include "tests/emulator/nccl/operation.h"
#include "tests/emulator/nccl/reduce.h"
#include "tests/emulator/nccl/rendezvous.h"

namespace {

using namespace heddle::emulator;

// Calls between ncclGroupStart() and ncclGroupEnd().
struct Grouped {
  cudaStream_t stream;
  std::vector<Operation> operations;
};
thread_local int t_group_depth = 0;
thread_local std::vector<Grouped> t_group;
thread_local std::string t_last_error;  // of calls without a communicator

ncclResult_t refuse(ncclResult_t result, const std::string& text) {
  t_last_error = text;
  return result;
}

void set_error(Communicator& communicator, ncclResult_t result, const std::string& text) {
  with_scheduler([&] { communicator.fail(result, text); });
}

ncclResult_t error_of(Communicator& communicator) {
  ncclResult_t error = ncclSuccess;
  with_scheduler([&] { error = communicator.error; });
  return error != ncclSuccess || communicator.connected ? error : ncclInProgress;
}

ncclResult_t queue(cudaStream_t stream, std::vector<Operation> operations) {
  const std::string name = operations.front().to_string();
  const cudaError_t status = enqueue(stream, name, communication(std::move(operations)));
  return status == cudaSuccess ? ncclSuccess : refuse(ncclUnhandledCudaError, cudaGetErrorString(status));
}

ncclResult_t add(Operation operation, ncclComm_t comm, cudaStream_t stream) {
  if (!comm) return refuse(ncclInvalidArgument, "the communicator is null");
  operation.communicator = comm->state;
  Communicator& communicator = *comm->state;
  if (const ncclResult_t error = error_of(communicator); error != ncclSuccess)
    return error == ncclInProgress ? ncclInvalidArgument : error;
  if (size_of(operation.type) == 0 || !is_emulated(operation.reduction))
    return refuse(ncclInvalidArgument, "the emulated NCCL has no such type or reduction");
  if (operation.peer < 0 || operation.peer >= communicator.size)
    return refuse(ncclInvalidArgument, fmt::format("there is no rank {}", operation.peer));
  if (!operation.is_collective() && communicator.mpi == MPI_COMM_NULL)
    return refuse(ncclInvalidUsage, "the emulated NCCL sends between different ranks only");
  if (t_group_depth == 0) return queue(stream, {operation});
  for (Grouped& grouped : t_group)
    if (grouped.stream == stream) {
      grouped.operations.push_back(operation);
      return ncclSuccess;
    }
  t_group.push_back({stream, {operation}});
  return ncclSuccess;
}

Operation make(OperationKind kind, const void* in, void* out, std::size_t count, ncclDataType_t type) {
  Operation operation;
  operation.kind = kind;
  operation.in = static_cast<const std::byte*>(in);
  operation.out = static_cast<std::byte*>(out);
  operation.count = count;
  operation.type = type;
  return operation;
}

void finish_connecting(Communicator& communicator, const ncclUniqueId& id) {
  std::string text;
  const ncclResult_t result = connect(communicator, id, &text);
  if (result != ncclSuccess) set_error(communicator, result, text);
  communicator.connected = result == ncclSuccess;
}

// Until nothing of it is left in a stream, or it never will be.
ncclResult_t drain(Communicator& communicator) {
  wait_for([&] { return communicator.pending == 0 || communicator.error != ncclSuccess; });
  return error_of(communicator);
}

}  // namespace

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess: return "no error";
    case ncclUnhandledCudaError: return "unhandled cuda error";
    case ncclSystemError: return "unhandled system error";
    case ncclInternalError: return "internal error";
    case ncclInvalidArgument: return "invalid argument";
    case ncclInvalidUsage: return "invalid usage";
    case ncclRemoteError: return "remote process exited or there was a network error";
    case ncclInProgress: return "NCCL operation in progress";
    case ncclNumResults: break;
  }
  return "unknown result code";
}

const char* ncclGetLastError(ncclComm_t comm) {
  if (!comm) return t_last_error.c_str();
  with_scheduler([&] { comm->text = comm->state->last_error; });
  return comm->text.c_str();
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  if (!id) return refuse(ncclInvalidArgument, "the id is null");
  *id = make_unique_id();
  return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t* comm, int size, ncclUniqueId id, int rank) {
  return ncclCommInitRankConfig(comm, size, id, rank, nullptr);
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int size, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  if (!comm || size < 1 || rank < 0 || rank >= size)
    return refuse(ncclInvalidArgument, fmt::format("rank {} of {}", rank, size));
  *comm = nullptr;
  auto state = std::make_shared<Communicator>();
  state->rank = rank;
  state->size = size;
  if (cudaGetDevice(&state->device) != cudaSuccess) return refuse(ncclUnhandledCudaError, "there is no GPU");
  if (config && config->blocking == 0) {
    *comm = new ncclComm{state, {}, {}};
    (*comm)->connecting = std::thread([state, id] { finish_connecting(*state, id); });
    return ncclInProgress;
  }
  finish_connecting(*state, id);
  if (state->error != ncclSuccess) return refuse(state->error, state->last_error);
  *comm = new ncclComm{state, {}, {}};
  return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  if (!comm) return refuse(ncclInvalidArgument, "the communicator is null");
  return drain(*comm->state);
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  if (!comm) return ncclSuccess;
  if (comm->connecting.joinable()) comm->connecting.join();
  Communicator& communicator = *comm->state;
  const ncclResult_t result = drain(communicator);
  int finalized = 0;
  MPI_Finalized(&finalized);
  with_scheduler([&] { communicator.destroyed = true; });
  if (result == ncclSuccess && communicator.mpi != MPI_COMM_NULL && !finalized)
    MPI_Comm_free(&communicator.mpi);
  delete comm;
  return result;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  if (!comm) return ncclSuccess;
  comm->state->aborted = true;
  if (comm->connecting.joinable()) comm->connecting.join();
  with_scheduler([&] {
    comm->state->destroyed = true;
    if (comm->state->error == ncclSuccess)
      comm->state->fail(ncclInternalError, "the communicator was aborted");
  });
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  if (!comm || !error) return refuse(ncclInvalidArgument, "the communicator is null");
  *error = error_of(*comm->state);
  return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int* size) {
  if (!comm) return refuse(ncclInvalidArgument, "the communicator is null");
  *size = comm->state->size;
  return ncclSuccess;
}
ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int* device) {
  if (!comm) return refuse(ncclInvalidArgument, "the communicator is null");
  *device = comm->state->device;
  return ncclSuccess;
}
ncclResult_t ncclCommUserRank(const ncclComm_t comm, int* rank) {
  if (!comm) return refuse(ncclInvalidArgument, "the communicator is null");
  *rank = comm->state->rank;
  return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
  ++t_group_depth;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  if (t_group_depth == 0) return refuse(ncclInvalidUsage, "ncclGroupEnd: no group was started");
  if (--t_group_depth > 0) return ncclSuccess;
  ncclResult_t result = ncclSuccess;
  for (Grouped& grouped : std::exchange(t_group, {}))
    if (result == ncclSuccess) result = queue(grouped.stream, std::move(grouped.operations));
  return result;
}

ncclResult_t ncclAllReduce(const void* send, void* receive, std::size_t count, ncclDataType_t type,
                           ncclRedOp_t operation, ncclComm_t comm, cudaStream_t stream) {
  Operation o = make(OperationKind::all_reduce, send, receive, count, type);
  o.reduction = operation;
  return add(o, comm, stream);
}
ncclResult_t ncclBroadcast(const void* send, void* receive, std::size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  Operation o = make(OperationKind::broadcast, send, receive, count, type);
  o.peer = root;
  return add(o, comm, stream);
}
ncclResult_t ncclReduceScatter(const void* send, void* receive, std::size_t receive_count,
                               ncclDataType_t type, ncclRedOp_t operation, ncclComm_t comm,
                               cudaStream_t stream) {
  Operation o = make(OperationKind::reduce_scatter, send, receive, receive_count, type);
  o.reduction = operation;
  return add(o, comm, stream);
}
ncclResult_t ncclAllGather(const void* send, void* receive, std::size_t send_count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  return add(make(OperationKind::all_gather, send, receive, send_count, type), comm, stream);
}
ncclResult_t ncclSend(const void* send, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  Operation o = make(OperationKind::send, send, nullptr, count, type);
  o.peer = peer;
  return add(o, comm, stream);
}
ncclResult_t ncclRecv(void* receive, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  Operation o = make(OperationKind::receive, nullptr, receive, count, type);
  o.peer = peer;
  return add(o, comm, stream);
}

}  // extern "C"
