#include "parallel/nccl/nccl_communicator.h"

#include <pthread.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "kernels/cuda/cuda_error.h"
#include "parallel/nccl/nccl_error.h"

namespace heddle {

namespace {

ncclDataType_t nccl_type(Element element) {
  switch (element) {
    case Element::f32: return ncclFloat32;
    case Element::bf16: return ncclBfloat16;
    case Element::i32: return ncclInt32;
    case Element::u8: return ncclUint8;
    case Element::f64: return ncclFloat64;
    case Element::i64: return ncclInt64;
  }
  throw error("internal: no NCCL type for {}", name_of(element));
}

CudaDevice& cuda_device(Device& device) {
  auto* found = dynamic_cast<CudaDevice*>(&device);
  if (!found) throw error("internal: NCCL works on CUDA devices, not on {}", name_of(device.kind()));
  return *found;
}

}  // namespace

// --- its life ---

NcclCommunicator::NcclCommunicator(GpuGroup group)
    : GpuCommunicator(std::move(group.host)),
      device_(cuda_device(group.device)),
      watched_(std::move(group.watched)),
      fail_(std::move(group.fail)),
      stream_(CudaStream::Priority::high),
      calls_(group.device) {
  const CollectiveCall connecting(CollectiveKind::barrier, Element::u8, 0, "connecting through NCCL");
  watched_->observe(-1, &connecting);  // call 0
  connect();
  watched_->observe(0, nullptr);
  thread_ = std::thread([this] { watch(); });
}

void NcclCommunicator::connect() {
  // Collectives of several groups run at the same time on one GPU: without this, two GPUs could start them in
  // different order and wait for each other for ever. The order of the host's calls is the same on all ranks.
  setenv("NCCL_LAUNCH_ORDER_IMPLICIT", "1", /*overwrite=*/0);
  ncclUniqueId id{};
  if (rank() == 0) nccl_check(ncclGetUniqueId(&id), nullptr, "making an id");
  std::string bytes(reinterpret_cast<const char*>(&id), sizeof id);
  host().broadcast_host(bytes, 0, "NCCL id");
  std::memcpy(&id, bytes.data(), sizeof id);
  nccl_check(ncclCommInitRank(&comm_, size(), id, rank()), nullptr, "connecting group " + name());
}

NcclCommunicator::~NcclCommunicator() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
  if (std::uncaught_exceptions() > 0) {
    ncclCommAbort(comm_);  // other ranks may never come to what is queued
  } else {
    cudaStreamSynchronize(stream_.handle());
    ncclCommDestroy(comm_);
  }
}

// --- the thread that looks at it ---

void NcclCommunicator::watch() {
  using namespace std::chrono_literals;
  pthread_setname_np(pthread_self(), ("nccl-" + name()).substr(0, 15).c_str());
  for (std::unique_lock lock(mutex_); !stopping_; wake_.wait_for(lock, 50ms)) {
    const bool waiting = calls_.report(*watched_);
    ncclResult_t state = ncclSuccess;
    ncclCommGetAsyncError(comm_, &state);
    // Without a call under way it is the end of the job, of which the others are ahead.
    if (waiting && state != ncclSuccess && state != ncclInProgress)
      fail_("NCCL: " + nccl_reason(state, comm_));
  }
}

// --- the sequence of calls ---

// What this communicator adds to a graph.
class NcclCommunicator::CapturedCalls final : public GraphGuest {
 public:
  explicit CapturedCalls(NcclCommunicator& communicator) : communicator_(communicator) {}
  std::vector<CollectiveCall>& calls() { return calls_; }

  void join(Stream& compute) override {
    communicator_.stream_.record(communicator_.leave_);
    compute.wait(communicator_.leave_);
    communicator_.calls_.reserve(calls_.size());
  }
  void before_launch(Stream& launched_on) override {
    communicator_.make_room(calls_.size());
    communicator_.calls_.add(calls_.data(), calls_.size());
    communicator_.stream_.record(communicator_.leave_);
    launched_on.wait(communicator_.leave_);
  }
  void after_launch(Stream& launched_on) override {
    launched_on.record(communicator_.enter_);
    communicator_.stream_.wait(communicator_.enter_);
  }

 private:
  NcclCommunicator& communicator_;
  std::vector<CollectiveCall> calls_;
};

bool NcclCommunicator::stream_is_capturing() {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  cuda::check(cudaStreamIsCapturing(stream_.handle(), &status), "cudaStreamIsCapturing");
  return status == cudaStreamCaptureStatusActive;
}

void NcclCommunicator::make_room(std::size_t calls) {
  if (!calls_.has_room(calls)) stream_.synchronize();
}

// Called when stream_ has been made to wait for the caller, which draws it into the capture if there is one.
void NcclCommunicator::note(const CollectiveCall& call) {
  const int capture = device_.capture_number();
  if (stream_is_capturing() != (capture > 0))
    throw error("internal: {} of group {} in a graph, but its event is not of this graph", call.to_string(),
                name());
  if (capture == 0) {
    make_room(1);
    calls_.add(&call, 1);
    return;
  }
  if (capture != capture_number_) {
    auto guest = std::make_unique<CapturedCalls>(*this);
    captured_ = &guest->calls();
    capture_number_ = capture;
    device_.join_capture(std::move(guest));
  }
  captured_->push_back(call);
}

ncclResult_t NcclCommunicator::enqueue(const CollectiveCall& call, const Tensor& in, const Tensor& out) {
  const ncclDataType_t type = nccl_type(call.element);
  const ncclRedOp_t operation = call.reduction == Reduction::sum ? ncclSum : ncclMax;
  const auto in_count = static_cast<std::size_t>(in.count()),
             out_count = static_cast<std::size_t>(out.count());
  const cudaStream_t stream = stream_.handle();
  switch (call.kind) {
    case CollectiveKind::all_reduce:
      return ncclAllReduce(in.data, out.data, in_count, type, operation, comm_, stream);
    case CollectiveKind::all_gather: return ncclAllGather(in.data, out.data, in_count, type, comm_, stream);
    case CollectiveKind::reduce_scatter:
      return ncclReduceScatter(in.data, out.data, out_count, type, operation, comm_, stream);
    case CollectiveKind::broadcast:
      return ncclBroadcast(in.data, out.data, in_count, type, call.root, comm_, stream);
    case CollectiveKind::none:
    case CollectiveKind::barrier: break;
  }
  throw error("internal: {} is not queued on a GPU", call.to_string());
}

void NcclCommunicator::run(const CollectiveCall& call, const Tensor& in, const Tensor& out, Event& ready,
                           Event& done) {
  stream_.wait(ready);
  if (call.count > 0) {
    note(call);
    nccl_check(enqueue(call, in, out), comm_, fmt::format("{} in group {}", call.to_string(), name()));
  }
  stream_.record(done);
  // Nobody waits for this.
  if (call.count > 0) calls_.count_finished_on(stream_);
}

void NcclCommunicator::run(const CollectiveCall& call, const Tensor& in, const Tensor& out, Stream& stream) {
  stream.record(enter_);
  run(call, in, out, enter_, leave_);
  stream.wait(leave_);
}

// --- the interface ---

void NcclCommunicator::all_reduce(const Tensor& x, Reduction reduction, Stream& stream, const char* label) {
  run(all_reduce_call(x, reduction, label), x, x, stream);
}

void NcclCommunicator::all_reduce(const Tensor& x, Reduction reduction, Event& ready, Event& done,
                                  const char* label) {
  run(all_reduce_call(x, reduction, label), x, x, ready, done);
}

void NcclCommunicator::all_gather(const Tensor& in, const Tensor& out, Stream& stream, const char* label) {
  run(all_gather_call(in, out, size(), label), in, out, stream);
}

void NcclCommunicator::all_gather(const Tensor& in, const Tensor& out, Event& ready, Event& done,
                                  const char* label) {
  run(all_gather_call(in, out, size(), label), in, out, ready, done);
}

void NcclCommunicator::reduce_scatter(const Tensor& in, const Tensor& out, Stream& stream,
                                      const char* label) {
  run(reduce_scatter_call(in, out, size(), label), in, out, stream);
}

void NcclCommunicator::reduce_scatter(const Tensor& in, const Tensor& out, Event& ready, Event& done,
                                      const char* label) {
  run(reduce_scatter_call(in, out, size(), label), in, out, ready, done);
}

void NcclCommunicator::broadcast(const Tensor& x, int root, Stream& stream, const char* label) {
  run(broadcast_call(x, root, size(), label), x, x, stream);
}

// --- what the session asks for ---

std::unique_ptr<Communicator> make_nccl_communicator(GpuGroup group) {
  return std::make_unique<NcclCommunicator>(std::move(group));
}

std::string nccl_version() {
  int version = 0;  // 22809: 2.28.9
  if (ncclGetVersion(&version) != ncclSuccess) return "NCCL of unknown version";
  return fmt::format("NCCL {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

}  // namespace heddle
