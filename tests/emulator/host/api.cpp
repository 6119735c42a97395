#include "tests/emulator/host/api.h"

#include <cstdio>
#include <string>

namespace heddle::emulator {

namespace {

thread_local cudaError_t t_last_error = cudaSuccess;
thread_local int t_device = 0;
thread_local bool t_in_host_function = false;

struct HostCall {
  cudaHostFn_t function;
  void* argument;
  void operator()() const {
    t_in_host_function = true;
    function(argument);
    t_in_host_function = false;
  }
};

}  // namespace

cudaError_t remember(cudaError_t status) {
  if (status != cudaSuccess) t_last_error = status;
  return status;
}

cudaError_t call(const std::function<cudaError_t(Scheduler&, Scheduler::Lock&)>& function) {
  if (t_in_host_function) {
    std::fprintf(stderr, "emulator: a host function in a stream called CUDA\n");
    return remember(cudaErrorNotPermitted);
  }
  Scheduler& scheduler = Scheduler::instance();
  auto lock = scheduler.lock();
  if (scheduler.lost()) return remember(cudaErrorLaunchFailure);
  const cudaError_t status = function(scheduler, lock);
  return remember(scheduler.lost() ? cudaErrorLaunchFailure : status);
}

int current_device() {
  return t_device;
}

CUstream_st* find_stream(Scheduler& scheduler, cudaStream_t stream) {
  if (!stream) return scheduler.default_stream(t_device);
  return scheduler.known(stream) ? stream : nullptr;
}

cudaError_t refuse_during_capture(Scheduler& scheduler) {
  cudaError_t status = cudaSuccess;
  for (const auto& capture : scheduler.captures()) {
    const bool here = capture->thread == std::this_thread::get_id();
    if (capture->mode == cudaStreamCaptureModeGlobal ||
        (capture->mode == cudaStreamCaptureModeThreadLocal && here)) {
      capture->invalid = true;
      status = cudaErrorStreamCaptureUnsupported;
    }
  }
  return status;
}

cudaError_t enqueue_on(Scheduler& scheduler, CUstream_st* stream, std::string name, const WorkFactory& make) {
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (!stream->capture) {
    scheduler.push(stream, make());
    scheduler.queued();
    return cudaSuccess;
  }
  Capture& capture = *stream->capture;
  if (capture.invalid) return cudaErrorStreamCaptureInvalidated;
  capture.nodes.push_back({std::move(name), make, stream->tail});
  stream->tail = {capture.nodes.size() - 1};
  return cudaSuccess;
}

cudaError_t enqueue_on(Scheduler& scheduler, CUstream_st* stream, std::string name,
                       std::function<void()> body) {
  const WorkFactory make = [name, body = std::move(body)] { return immediate(name, body); };
  return enqueue_on(scheduler, stream, name, make);
}

cudaError_t enqueue(cudaStream_t stream, std::string name, WorkFactory make) {
  return call([&](Scheduler& scheduler, auto&) {
    return enqueue_on(scheduler, find_stream(scheduler, stream), std::move(name), make);
  });
}
cudaError_t enqueue(cudaStream_t stream, std::string name, std::function<void()> body) {
  return call([&](Scheduler& scheduler, auto&) {
    return enqueue_on(scheduler, find_stream(scheduler, stream), std::move(name), std::move(body));
  });
}

}  // namespace heddle::emulator

using namespace heddle::emulator;

namespace {

struct ErrorName {
  cudaError_t error;
  const char* name;
  const char* text;
};
constexpr ErrorName kErrors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection", "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction", "invalid device function"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorNoKernelImageForDevice, "cudaErrorNoKernelImageForDevice",
     "no kernel image is available for execution on the device"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorNotPermitted, "cudaErrorNotPermitted", "operation not permitted"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureMerge, "cudaErrorStreamCaptureMerge",
     "operation would result in a merge of separate capture sequences"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched",
     "capture was not ended in the same stream as it began"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined", "capturing stream has unjoined work"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "dependency created on uncaptured work in another stream"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
     "operation not permitted on an event last recorded in a capturing stream"},
    {cudaErrorStreamCaptureWrongThread, "cudaErrorStreamCaptureWrongThread",
     "attempt to terminate a thread-local capture sequence from another thread"},
};

const ErrorName* find_error(cudaError_t error) {
  for (const ErrorName& known : kErrors)
    if (known.error == error) return &known;
  return nullptr;
}

}  // namespace

extern "C" {

const char* cudaGetErrorName(cudaError_t error) {
  const ErrorName* known = find_error(error);
  return known ? known->name : "cudaErrorUnknown";
}
const char* cudaGetErrorString(cudaError_t error) {
  const ErrorName* known = find_error(error);
  return known ? known->text : "unknown error";
}

cudaError_t cudaGetLastError() {
  const cudaError_t status = cudaPeekAtLastError();
  t_last_error = cudaSuccess;
  return status;
}
cudaError_t cudaPeekAtLastError() {
  const auto lock = Scheduler::instance().lock();
  return Scheduler::instance().lost() ? cudaErrorLaunchFailure : t_last_error;
}

cudaError_t cudaSetDevice(int device) {
  int count = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess) return status;
  if (device < 0 || device >= count) return remember(cudaErrorInvalidDevice);
  t_device = device;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = t_device;
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* argument) {
  if (!function) return remember(cudaErrorInvalidValue);
  return enqueue(stream, "host function", std::function<void()>(HostCall{function, argument}));
}

}  // extern "C"
