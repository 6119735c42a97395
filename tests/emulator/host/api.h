// What the emulated CUDA functions have in common: the lock, the lost context, the last error.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "tests/emulator/host/scheduler.h"

namespace heddle::emulator {

// Runs `function(scheduler, lock)` as the body of a CUDA function. Its status, or the lost context's, becomes
// the thread's last error. Host functions that a stream runs may not call CUDA.
cudaError_t call(const std::function<cudaError_t(Scheduler&, Scheduler::Lock&)>& function);
// The same for a function that works on a lost context, too.
cudaError_t remember(cudaError_t status);

int current_device();  // of this thread

// The stream a handle names: nullptr is the current device's default stream. Null when it does not exist.
CUstream_st* find_stream(Scheduler& scheduler, cudaStream_t stream);

// What a CUDA function that could wait, or whose order the graph would lose, does during a capture: it fails
// and spoils the captures that forbid it in this thread. Success when there are none.
cudaError_t refuse_during_capture(Scheduler& scheduler);

// enqueue() under the lock.
cudaError_t enqueue_on(Scheduler& scheduler, CUstream_st* stream, std::string name, const WorkFactory& make);
cudaError_t enqueue_on(Scheduler& scheduler, CUstream_st* stream, std::string name,
                       std::function<void()> body);

// --- graph.cpp ---
cudaError_t capture_record(CUstream_st* stream, CUevent_st* event);
// A wait that touches a capture: the stream is captured, or the event was. Sets *handled when so.
cudaError_t capture_wait(CUstream_st* stream, CUevent_st* event, bool* handled);

}  // namespace heddle::emulator
