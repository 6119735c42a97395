#include "kernels/cuda/device.h"

#include <type_traits>
#include <utility>

#include "kernels/checks.h"
#include "kernels/cuda/cuda_error.h"
#include "kernels/cuda/profiler.h"
#include "kernels/error.h"

namespace heddle {

using cuda::check;

namespace {

double gib(std::size_t bytes) {
  return static_cast<double>(bytes) / (1u << 30);
}

CudaEvent& cuda_event(Event& event) {
  auto* found = dynamic_cast<CudaEvent*>(&event);
  if (!found) throw error("a CUDA stream takes events made by the CUDA device");
  return *found;
}

cudaStream_t handle_of(Stream& stream) {
  auto* found = dynamic_cast<CudaStream*>(&stream);
  if (!found) throw error("the CUDA device works on streams it has made");
  return found->handle();
}

void require_contiguous(const char* operation, const Tensor& x) {
  if (!x.contiguous()) throw error("{}: the tensor {} is not contiguous", operation, x.shape.to_string());
}

}  // namespace

// --- events and streams ---

CudaEvent::CudaEvent() {
  check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreate");
}

CudaEvent::~CudaEvent() {
  cudaEventDestroy(event_);
}

bool CudaEvent::ready() const {
  const cudaError_t status = cudaEventQuery(event_);
  if (status == cudaErrorNotReady) return false;
  check(status, "cudaEventQuery");
  return true;
}

void CudaEvent::synchronize() {
  check(cudaEventSynchronize(event_), "cudaEventSynchronize");
}

CudaStream::CudaStream(Priority priority) {
  int least = 0, greatest = 0;
  check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "cudaDeviceGetStreamPriorityRange");
  check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking,
                                     priority == Priority::high ? greatest : least),
        "cudaStreamCreate");
}

CudaStream::~CudaStream() {
  cudaStreamDestroy(stream_);
}

void CudaStream::record(Event& event) {
  check(cudaEventRecord(cuda_event(event).handle(), stream_), "cudaEventRecord");
}

void CudaStream::wait(Event& event) {
  check(cudaStreamWaitEvent(stream_, cuda_event(event).handle(), 0), "cudaStreamWaitEvent");
}

void CudaStream::synchronize() {
  check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
}

// --- graphs ---

CudaGraph::CudaGraph(cudaGraph_t captured, std::vector<std::unique_ptr<GraphGuest>> guests)
    : guests_(std::move(guests)) {
  const std::unique_ptr<std::remove_pointer_t<cudaGraph_t>, decltype(&cudaGraphDestroy)> graph(captured,
                                                                                              &cudaGraphDestroy);
  check(cudaGraphGetNodes(captured, nullptr, &node_count_), "cudaGraphGetNodes");
  check(cudaGraphInstantiate(&executable_, captured, 0), "cudaGraphInstantiate");
}

CudaGraph::~CudaGraph() {
  cudaGraphExecDestroy(executable_);
}

void CudaGraph::launch(Stream& stream) {
  for (const auto& guest : guests_) guest->before_launch(stream);
  check(cudaGraphLaunch(executable_, handle_of(stream)), "cudaGraphLaunch");
  for (const auto& guest : guests_) guest->after_launch(stream);
}

std::unique_ptr<Graph> CudaDevice::capture(const std::function<void()>& body) {
  if (capturing_) throw error("internal: a graph is captured inside the capture of another");
  // Other threads of this process may go on with calls that a capture forbids.
  check(cudaStreamBeginCapture(compute_.handle(), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  capturing_ = true;
  ++captures_;
  cudaGraph_t graph = nullptr;
  try {
    body();
    for (const auto& guest : guests_) guest->join(compute_);
  } catch (...) {
    cudaStreamEndCapture(compute_.handle(), &graph);
    if (graph) cudaGraphDestroy(graph);
    cudaGetLastError();  // that the capture was cut short is no news
    end_capture();
    throw;
  }
  const cudaError_t status = cudaStreamEndCapture(compute_.handle(), &graph);
  auto guests = end_capture();
  check(status, "cudaStreamEndCapture");
  return std::make_unique<CudaGraph>(graph, std::move(guests));
}

void CudaDevice::join_capture(std::unique_ptr<GraphGuest> guest) {
  guests_.push_back(std::move(guest));
}

std::vector<std::unique_ptr<GraphGuest>> CudaDevice::end_capture() {
  capturing_ = false;
  return std::exchange(guests_, {});
}

namespace {

class CudaTimeMark final : public TimeMark {
 public:
  CudaTimeMark() { check(cudaEventCreateWithFlags(&event_, cudaEventDefault), "cudaEventCreate"); }
  ~CudaTimeMark() override { cudaEventDestroy(event_); }
  void record(Stream& stream) override { check(cudaEventRecord(event_, handle_of(stream)), "cudaEventRecord"); }
  double seconds_since(const TimeMark& earlier) const override {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, static_cast<const CudaTimeMark&>(earlier).event_, event_),
          "cudaEventElapsedTime");
    return 1e-3 * static_cast<double>(milliseconds);
  }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace

// --- device ---

CudaDevice::Selected::Selected(int index) {
  check(cudaSetDevice(index), "cudaSetDevice");
}

CudaDevice::CudaDevice(int index) : index_(index), selected_(index), compute_(CudaStream::Priority::normal) {
  check(cudaGetDeviceProperties(&properties_, index), "cudaGetDeviceProperties");
  const int capability = properties_.major * 10 + properties_.minor;
  if (capability < 80)
    throw error("GPU {} ({}) has compute capability {}.{}; heddle needs 8.0 (A100) or newer", index,
                properties_.name, properties_.major, properties_.minor);
  const cuda::GpuFacts facts{properties_.multiProcessorCount, capability, properties_.sharedMemPerBlockOptin};
  cuda::connect_profiler();
  ops_ = std::make_unique<CudaOps>(compute_.handle(), facts, allocate(CudaOps::kScratchBytes));
}

CudaDevice::~CudaDevice() = default;

std::string CudaDevice::description() const {
  return fmt::format("{}, {:.0f} GiB", properties_.name, gib(properties_.totalGlobalMem));
}

Memory CudaDevice::allocate(std::size_t bytes) {
  void* data = nullptr;
  const std::size_t size = bytes > 0 ? bytes : 1;
  const cudaError_t status = cudaMalloc(&data, size);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // the error is reported here, not by the next call
    std::size_t available = 0, total = 0;
    check(cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
    throw error(
        "cannot allocate {:.2f} GiB on GPU {} ({}): {:.2f} of {:.2f} GiB are free; use a smaller micro-batch "
        "or model, or more ranks",
        gib(bytes), index_, properties_.name, gib(available), gib(total));
  }
  check(status, "cudaMalloc");
  *allocated_ += size;
  Memory memory(data, bytes, [allocated = allocated_, size](void* p) {
    cudaFree(p);
    *allocated -= size;
  });
  check(cudaMemsetAsync(data, 0, size, compute_.handle()), "cudaMemset");
  check(cudaStreamSynchronize(compute_.handle()), "cudaMemset");  // whichever stream uses it first
  return memory;
}

Device::MemoryUse CudaDevice::memory_use() const {
  std::size_t available = 0, total = 0;
  check(cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
  return {*allocated_, total - available};
}

Memory CudaDevice::allocate_host(std::size_t bytes) {
  void* data = nullptr;
  check(cudaMallocHost(&data, bytes > 0 ? bytes : 1), "cudaMallocHost");
  return Memory(data, bytes, [](void* p) { cudaFreeHost(p); });
}

std::unique_ptr<Stream> CudaDevice::make_stream() {
  return std::make_unique<CudaStream>(CudaStream::Priority::high);
}

std::unique_ptr<TimeMark> CudaDevice::make_time_mark() { return std::make_unique<CudaTimeMark>(); }

std::unique_ptr<Event> CudaDevice::make_event() {
  return std::make_unique<CudaEvent>();
}

void CudaDevice::copy_to_device(Stream& stream, const Tensor& device, const void* host) {
  require_contiguous("copy_to_device", device);
  if (device.count() > 0)
    check(cudaMemcpyAsync(device.data, host, device.bytes(), cudaMemcpyHostToDevice, handle_of(stream)),
          "copy_to_device");
}

void CudaDevice::copy_to_host(Stream& stream, void* host, const Tensor& device) {
  require_contiguous("copy_to_host", device);
  if (device.count() > 0)
    check(cudaMemcpyAsync(host, device.data, device.bytes(), cudaMemcpyDeviceToHost, handle_of(stream)),
          "copy_to_host");
}

void CudaDevice::copy_on_device(Stream& stream, const Tensor& from, const Tensor& to) {
  checks::copy_on_device(from, to);
  if (from.count() > 0)
    check(cudaMemcpyAsync(to.data, from.data, from.bytes(), cudaMemcpyDeviceToDevice, handle_of(stream)),
          "copy_on_device");
}

}  // namespace heddle
