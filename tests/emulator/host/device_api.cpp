// The emulated GPUs as a program asks about them, and what a launch may ask of them.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "tests/emulator/host/api.h"
#include "tests/emulator/host/device_memory.h"
#include "tests/emulator/host/environment.h"
#include "tests/emulator/host/pinned_memory.h"

namespace {

using namespace heddle::emulator;

constexpr int kMultiprocessors = 4, kThreadsPerMultiprocessor = 2048, kBlocksPerMultiprocessor = 32;
constexpr int kComputeCapability[2] = {8, 0};
constexpr int kL2Bytes = 40 << 20;
constexpr std::size_t kSharedBytes = 48 << 10;  // per block, without asking
constexpr std::size_t kSharedPerMultiprocessor = 228 << 10, kSharedReserved = 1 << 10;

int pci_bus(int device) {
  return 0x10 + device;
}
bool exists(int device) {
  return device >= 0 && device < emulated_gpus();
}

// Kernels that may use more than 48 KiB of shared memory. Under the scheduler's lock.
std::map<const void*, std::size_t>& allowed_shared_bytes() {
  static auto* const bytes = new std::map<const void*, std::size_t>;
  return *bytes;
}
std::size_t allowed_shared_bytes(const void* kernel) {
  const auto found = allowed_shared_bytes().find(kernel);
  return found == allowed_shared_bytes().end() ? kSharedBytes : found->second;
}

cudaError_t check_launch(const KernelLaunch& launch) {
  const cudaLaunchConfig_t& c = launch.config;
  const dim3 grid = c.gridDim, block = c.blockDim;
  if (!launch.kernel) return cudaErrorInvalidDeviceFunction;
  if (c.numAttrs > 0) return cudaErrorNotSupported;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || block.x == 0 || block.y == 0 || block.z == 0)
    return cudaErrorInvalidConfiguration;
  if (grid.x > 0x7fffffffu || grid.y > kMaxGridYZ || grid.z > kMaxGridYZ)
    return cudaErrorInvalidConfiguration;
  if (block.x > kMaxThreadsPerBlock || block.y > kMaxThreadsPerBlock || block.z > 64 ||
      std::uint64_t{block.x} * block.y * block.z > kMaxThreadsPerBlock)
    return cudaErrorInvalidConfiguration;
  if (c.dynamicSmemBytes > allowed_shared_bytes(launch.kernel)) return cudaErrorInvalidValue;
  return cudaSuccess;
}

// A GPU would fault when it follows such a pointer.
void check_pointers(const char* kernel, const KernelLaunch& launch) {
  for (const auto& [position, pointer] : launch.pointers) {
    if (!pointer || PinnedMemory::instance().find(pointer)) continue;
    const bool device = DeviceMemory::instance().owns(pointer);
    if (device && DeviceMemory::instance().find(pointer)) continue;
    throw Fault(fmt::format("kernel {}: argument {} = {} points to {}", kernel, position, pointer,
                            device ? "device memory that is not allocated" : "memory of the host"));
  }
}

}  // namespace

namespace heddle::emulator {

cudaError_t launch_kernel(KernelLaunch launch, std::function<void(const char*)> start) {
  return call([&](Scheduler& scheduler, auto&) {
    if (const cudaError_t status = check_launch(launch); status != cudaSuccess) return status;
    CUstream_st* stream = find_stream(scheduler, launch.config.stream);
    if (!stream || stream->device != current_device()) return cudaErrorInvalidResourceHandle;
    const char* name = kernel_name(launch.kernel);
    return enqueue_on(scheduler, stream, fmt::format("kernel {}", name), [=] {
      check_pointers(name, launch);
      start(name);
    });
  });
}

cudaError_t set_kernel_attribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  return call([&](auto&, auto&) {
    if (!kernel) return cudaErrorInvalidDeviceFunction;
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
        static_cast<std::size_t>(value) > kMaxSharedBytes)
      return cudaErrorInvalidValue;
    allowed_shared_bytes()[kernel] = static_cast<std::size_t>(value);
    return cudaSuccess;
  });
}

cudaError_t kernel_attributes(cudaFuncAttributes* attributes, const void* kernel) {
  return call([&](auto&, auto&) {
    if (!kernel) return cudaErrorInvalidDeviceFunction;
    *attributes = {};
    attributes->maxThreadsPerBlock = kMaxThreadsPerBlock;
    attributes->numRegs = 64;  // nobody counts them here
    attributes->ptxVersion = attributes->binaryVersion = 10 * kComputeCapability[0] + kComputeCapability[1];
    attributes->maxDynamicSharedSizeBytes = static_cast<int>(allowed_shared_bytes(kernel));
    return cudaSuccess;
  });
}

cudaError_t blocks_per_multiprocessor(int* blocks, int block_size, std::size_t shared_bytes) {
  if (block_size <= 0 || block_size > static_cast<int>(kMaxThreadsPerBlock) || shared_bytes > kMaxSharedBytes)
    return remember(cudaErrorInvalidValue);
  const auto by_shared = static_cast<int>(kSharedPerMultiprocessor / (shared_bytes + kSharedReserved));
  *blocks = std::min({kBlocksPerMultiprocessor, kThreadsPerMultiprocessor / block_size, by_shared});
  return cudaSuccess;
}

}  // namespace heddle::emulator

extern "C" {

cudaError_t cudaDriverGetVersion(int* version) {
  *version = emulated_gpus() > 0 ? CUDART_VERSION : 0;  // 0: no driver
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = emulated_gpus();
  return remember(*count > 0 ? cudaSuccess : cudaErrorNoDevice);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  if (!exists(device)) return remember(cudaErrorInvalidDevice);
  *p = {};
  std::strcpy(p->name, "Emulated GPU");
  p->uuid.bytes[0] = 'h';
  p->uuid.bytes[15] = static_cast<char>(device);
  p->totalGlobalMem = DeviceMemory::instance().total();
  p->sharedMemPerBlock = kSharedBytes;
  p->sharedMemPerBlockOptin = kMaxSharedBytes;
  p->sharedMemPerMultiprocessor = kSharedPerMultiprocessor;
  p->warpSize = 32;
  p->maxThreadsPerBlock = kMaxThreadsPerBlock;
  p->maxThreadsPerMultiProcessor = kThreadsPerMultiprocessor;
  p->major = kComputeCapability[0];
  p->minor = kComputeCapability[1];
  p->multiProcessorCount = kMultiprocessors;
  p->pciBusID = pci_bus(device);
  p->l2CacheSize = kL2Bytes;
  p->streamPrioritiesSupported = 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (!exists(device)) return remember(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = kMaxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = kSharedBytes; break;
    case cudaDevAttrWarpSize: *value = 32; break;
    case cudaDevAttrMultiProcessorCount: *value = kMultiprocessors; break;
    case cudaDevAttrPciBusId: *value = pci_bus(device); break;
    case cudaDevAttrPciDeviceId: *value = 0; break;
    case cudaDevAttrPciDomainId: *value = 0; break;
    case cudaDevAttrL2CacheSize: *value = kL2Bytes; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = kThreadsPerMultiprocessor; break;
    case cudaDevAttrComputeCapabilityMajor: *value = kComputeCapability[0]; break;
    case cudaDevAttrComputeCapabilityMinor: *value = kComputeCapability[1]; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = kSharedPerMultiprocessor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = kMaxSharedBytes; break;
    default: return remember(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char* id, int length, int device) {
  if (!exists(device)) return remember(cudaErrorInvalidDevice);
  const std::string text = fmt::format("0000:{:02X}:00.0", pci_bus(device));
  if (length <= static_cast<int>(text.size())) return remember(cudaErrorInvalidValue);
  std::strcpy(id, text.c_str());
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  return call([](Scheduler& scheduler, auto& lock) {
    if (const cudaError_t status = refuse_during_capture(scheduler); status != cudaSuccess) return status;
    const auto idle = [&, device = current_device()] {
      return std::all_of(scheduler.streams().begin(), scheduler.streams().end(),
                         [&](const CUstream_st* s) { return s->device != device || s->queue.empty(); });
    };
    scheduler.run_until(lock, idle);
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceReset() {
  const auto lock = Scheduler::instance().lock();
  Scheduler::instance().reset();
  DeviceMemory::instance().release_all();
  PinnedMemory::instance().release_all();
  return cudaSuccess;
}

}  // extern "C"
