// Allocation and copies.
//
// Copies from and to pinned memory read and write it when their turn comes. A copy from pageable memory takes
// the bytes at the call; a copy to pageable memory waits until it is done, as CUDA's do. cudaMemset() does
// not wait, and only blocking streams are ordered with it.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "tests/emulator/host/api.h"
#include "tests/emulator/host/device_memory.h"
#include "tests/emulator/host/pinned_memory.h"

namespace {

using namespace heddle::emulator;

// `height` rows of `width` bytes each, `pitch` bytes from one to the next.
struct Rows {
  std::size_t width, height;
  std::size_t extent(std::size_t pitch) const { return height == 0 ? 0 : (height - 1) * pitch + width; }
};

struct Copy {
  std::byte* to;
  std::size_t to_pitch;
  const std::byte* from;
  std::size_t from_pitch;
  Rows rows;

  void operator()() const {
    for (std::size_t row = 0; row < rows.height; ++row)
      std::memmove(to + row * to_pitch, from + row * from_pitch, rows.width);
  }
};

enum class Place { device, pinned, pageable, invalid };

// Where a range of memory lies; invalid when it leaves the allocation it starts in.
Place place_of(const void* pointer, std::size_t bytes) {
  const DeviceMemory& device = DeviceMemory::instance();
  if (device.owns(pointer)) {
    const auto block = device.find(pointer);
    const auto* p = static_cast<const std::byte*>(pointer);
    return block && p + bytes <= block->data + block->bytes ? Place::device : Place::invalid;
  }
  if (PinnedMemory::instance().find(pointer)) {
    return PinnedMemory::instance().find(pointer, bytes) ? Place::pinned : Place::invalid;
  }
  return pointer ? Place::pageable : Place::invalid;
}

bool agrees(cudaMemcpyKind kind, Place to, Place from) {
  const bool to_device = to == Place::device, from_device = from == Place::device;
  switch (kind) {
    case cudaMemcpyHostToHost: return !to_device && !from_device;
    case cudaMemcpyHostToDevice: return to_device && !from_device;
    case cudaMemcpyDeviceToHost: return !to_device && from_device;
    case cudaMemcpyDeviceToDevice: return to_device && from_device;
    case cudaMemcpyDefault: return true;
  }
  return false;
}

const char* copy_name(Place to, Place from) {
  if (to == Place::device) return from == Place::device ? "copy on the device" : "copy to the device";
  return from == Place::device ? "copy to the host" : "copy on the host";
}

// The rows' bytes, kept until the copy runs.
Copy staged(const Copy& copy, std::shared_ptr<std::vector<std::byte>>* kept) {
  *kept = std::make_shared<std::vector<std::byte>>(copy.rows.width * copy.rows.height);
  Copy in = copy;
  in.to = (*kept)->data();
  in.to_pitch = copy.rows.width;
  in();
  Copy out = copy;
  out.from = (*kept)->data();
  out.from_pitch = copy.rows.width;
  return out;
}

void wait_for_stream(Scheduler& scheduler, Scheduler::Lock& lock, CUstream_st* stream) {
  const auto record = scheduler.record(stream);
  scheduler.run_until(lock, [&] { return record->done; });
}

cudaError_t copy_on(Scheduler& scheduler, Scheduler::Lock& lock, CUstream_st* stream, const Copy& copy,
                    cudaMemcpyKind kind, bool wait) {
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (copy.rows.width == 0 || copy.rows.height == 0) return cudaSuccess;
  const Place to = place_of(copy.to, copy.rows.extent(copy.to_pitch));
  const Place from = place_of(copy.from, copy.rows.extent(copy.from_pitch));
  if (to == Place::invalid || from == Place::invalid) return cudaErrorInvalidValue;
  if (!agrees(kind, to, from)) return cudaErrorInvalidMemcpyDirection;
  if ((to == Place::pageable || from == Place::pageable) && stream->capture) {
    stream->capture->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  Copy body = copy;
  std::shared_ptr<std::vector<std::byte>> kept;
  if (from == Place::pageable) body = staged(copy, &kept);
  const cudaError_t status = enqueue_on(scheduler, stream, copy_name(to, from), [body, kept] { body(); });
  if (status == cudaSuccess && (wait || to == Place::pageable)) wait_for_stream(scheduler, lock, stream);
  return status;
}

cudaError_t set_on(Scheduler& scheduler, CUstream_st* stream, void* pointer, int value, std::size_t bytes) {
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (bytes == 0) return cudaSuccess;
  if (place_of(pointer, bytes) != Place::device) return cudaErrorInvalidValue;
  return enqueue_on(scheduler, stream, "memset", [=] { std::memset(pointer, value, bytes); });
}

// Frees wait for all work on the device, which may still use the memory.
cudaError_t drain(Scheduler& scheduler, Scheduler::Lock& lock) {
  if (const cudaError_t status = refuse_during_capture(scheduler); status != cudaSuccess) return status;
  scheduler.run_until(lock, [&] {
    return std::all_of(scheduler.streams().begin(), scheduler.streams().end(),
                       [](const CUstream_st* s) { return s->queue.empty(); });
  });
  return cudaSuccess;
}

}  // namespace

extern "C" {

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  return call([&](Scheduler& scheduler, auto&) {
    if (const cudaError_t status = refuse_during_capture(scheduler); status != cudaSuccess) return status;
    *pointer = nullptr;
    if (bytes == 0) return cudaSuccess;
    *pointer = DeviceMemory::instance().allocate(current_device(), bytes);
    return *pointer ? cudaSuccess : cudaErrorMemoryAllocation;
  });
}

cudaError_t cudaFree(void* pointer) {
  return call([&](Scheduler& scheduler, auto& lock) {
    if (!pointer) return cudaSuccess;
    if (const cudaError_t status = drain(scheduler, lock); status != cudaSuccess) return status;
    return DeviceMemory::instance().release(pointer) ? cudaSuccess : cudaErrorInvalidValue;
  });
}

cudaError_t cudaMallocHost(void** pointer, std::size_t bytes) {
  return call([&](Scheduler& scheduler, auto&) {
    if (const cudaError_t status = refuse_during_capture(scheduler); status != cudaSuccess) return status;
    *pointer = bytes == 0 ? nullptr : PinnedMemory::instance().allocate(bytes);
    return *pointer || bytes == 0 ? cudaSuccess : cudaErrorMemoryAllocation;
  });
}

cudaError_t cudaFreeHost(void* pointer) {
  return call([&](Scheduler& scheduler, auto& lock) {
    if (!pointer) return cudaSuccess;
    if (const cudaError_t status = drain(scheduler, lock); status != cudaSuccess) return status;
    return PinnedMemory::instance().release(pointer) ? cudaSuccess : cudaErrorInvalidValue;
  });
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  return call([&](auto&, auto&) {
    *total = DeviceMemory::instance().total();
    *free = *total - DeviceMemory::instance().used(current_device());
    return cudaSuccess;
  });
}

cudaError_t cudaMemset(void* pointer, int value, std::size_t bytes) {
  return call([&](Scheduler& scheduler, auto&) {
    if (const cudaError_t status = refuse_during_capture(scheduler); status != cudaSuccess) return status;
    return set_on(scheduler, find_stream(scheduler, nullptr), pointer, value, bytes);
  });
}
cudaError_t cudaMemsetAsync(void* pointer, int value, std::size_t bytes, cudaStream_t stream) {
  return call([&](Scheduler& scheduler, auto&) {
    return set_on(scheduler, find_stream(scheduler, stream), pointer, value, bytes);
  });
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return call([&](Scheduler& scheduler, auto& lock) {
    if (const cudaError_t status = refuse_during_capture(scheduler); status != cudaSuccess) return status;
    const Copy copy{
        static_cast<std::byte*>(to), bytes, static_cast<const std::byte*>(from), bytes, {bytes, 1}};
    return copy_on(scheduler, lock, find_stream(scheduler, nullptr), copy, kind, /*wait=*/true);
  });
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return call([&](Scheduler& scheduler, auto& lock) {
    const Copy copy{
        static_cast<std::byte*>(to), bytes, static_cast<const std::byte*>(from), bytes, {bytes, 1}};
    return copy_on(scheduler, lock, find_stream(scheduler, stream), copy, kind, /*wait=*/false);
  });
}
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  return call([&](Scheduler& scheduler, auto& lock) {
    if (width > to_pitch || width > from_pitch) return cudaErrorInvalidValue;
    const Copy copy{static_cast<std::byte*>(to),
                    to_pitch,
                    static_cast<const std::byte*>(from),
                    from_pitch,
                    {width, height}};
    return copy_on(scheduler, lock, find_stream(scheduler, stream), copy, kind, /*wait=*/false);
  });
}

}  // extern "C"
