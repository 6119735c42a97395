// Streams and events.
#include <chrono>

#include "tests/emulator/host/api.h"

namespace {

using namespace heddle::emulator;

constexpr int kLeastPriority = 0, kGreatestPriority = -5;

// Synchronisation and queries: not while the stream is captured.
cudaError_t refuse_captured(Scheduler& scheduler, CUstream_st* stream) {
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (stream->capture) {
    stream->capture->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  return refuse_during_capture(scheduler);
}

// The same for an event.
cudaError_t refuse_captured(Scheduler& scheduler, CUevent_st* event) {
  if (!scheduler.known(event)) return cudaErrorInvalidResourceHandle;
  if (event->latest && event->latest->capture) {
    event->latest->capture->invalid = true;
    return cudaErrorCapturedEvent;
  }
  return refuse_during_capture(scheduler);
}

}  // namespace

extern "C" {

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  if (least) *least = kLeastPriority;
  if (greatest) *greatest = kGreatestPriority;
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithPriority(stream, cudaStreamDefault, 0);
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return cudaStreamCreateWithPriority(stream, flags, 0);
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int priority) {
  return call([&](Scheduler& scheduler, auto&) {
    if (!stream || flags > cudaStreamNonBlocking) return cudaErrorInvalidValue;
    *stream = scheduler.make_stream(current_device(), flags, priority);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return call([&](Scheduler& scheduler, auto&) {
    if (!stream || !scheduler.known(stream)) return cudaErrorInvalidResourceHandle;
    if (stream->capture) stream->capture->invalid = true;
    stream->capture.reset();
    scheduler.destroy_stream(stream);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  return call([&](Scheduler& scheduler, auto& lock) {
    CUstream_st* stream = find_stream(scheduler, handle);
    if (const cudaError_t status = refuse_captured(scheduler, stream); status != cudaSuccess) return status;
    const auto record = scheduler.record(stream);
    scheduler.run_until(lock, [&] { return record->done; });
    return cudaSuccess;
  });
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  return call([&](Scheduler& scheduler, auto&) {
    CUstream_st* stream = find_stream(scheduler, handle);
    if (const cudaError_t status = refuse_captured(scheduler, stream); status != cudaSuccess) return status;
    if (!stream->queue.empty()) scheduler.run_a_little();
    return stream->queue.empty() ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned flags) {
  return call([&](Scheduler& scheduler, auto&) {
    CUstream_st* stream = find_stream(scheduler, handle);
    if (!stream || !scheduler.known(event)) return cudaErrorInvalidResourceHandle;
    if (flags != cudaEventWaitDefault) return cudaErrorInvalidValue;
    bool handled = false;
    const cudaError_t status = capture_wait(stream, event, &handled);
    if (!handled && event->latest) scheduler.wait(stream, event->latest);
    return status;
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return call([&](Scheduler& scheduler, auto&) {
    if (!event || (flags & ~(cudaEventBlockingSync | cudaEventDisableTiming))) return cudaErrorInvalidValue;
    *event = scheduler.make_event(flags);
    return cudaSuccess;
  });
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return call([&](Scheduler& scheduler, auto&) {
    if (!scheduler.known(event)) return cudaErrorInvalidResourceHandle;
    scheduler.destroy_event(event);
    return cudaSuccess;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  return call([&](Scheduler& scheduler, auto&) {
    CUstream_st* stream = find_stream(scheduler, handle);
    if (!stream || !scheduler.known(event)) return cudaErrorInvalidResourceHandle;
    if (stream->capture) return capture_record(stream, event);
    event->latest = scheduler.record(stream);
    scheduler.queued();
    return cudaSuccess;
  });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return call([&](Scheduler& scheduler, auto&) {
    if (const cudaError_t status = refuse_captured(scheduler, event); status != cudaSuccess) return status;
    const auto record = event->latest;
    if (record && !record->done) scheduler.run_a_little();
    return !record || record->done ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return call([&](Scheduler& scheduler, auto& lock) {
    if (const cudaError_t status = refuse_captured(scheduler, event); status != cudaSuccess) return status;
    const auto record = event->latest;
    scheduler.run_until(lock, [&] { return !record || record->done; });
    return cudaSuccess;
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return call([&](Scheduler& scheduler, auto&) {
    for (const cudaEvent_t event : {start, end})
      if (!scheduler.known(event) || !event->latest || (event->flags & cudaEventDisableTiming) ||
          event->latest->capture)
        return cudaErrorInvalidResourceHandle;
    if (!start->latest->done || !end->latest->done) return cudaErrorNotReady;
    *milliseconds = std::chrono::duration<float, std::milli>(end->latest->when - start->latest->when).count();
    return cudaSuccess;
  });
}

}  // extern "C"
