#include "kernels/cpu/device.h"

#include <omp.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "kernels/checks.h"
#include "kernels/cpu/ceiling.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/memory_info.h"
#include "kernels/cpu/pause.h"
#include "kernels/error.h"

namespace heddle {

// --- events and streams ---

void CpuEvent::synchronize() {
  // About 20 microseconds: a wait that is nearly over should not pay for going to sleep and waking up.
  constexpr int kSpins = 500;
  int state = state_.load(std::memory_order_acquire);
  if (state == kPending) {
    waiters_.fetch_add(1, std::memory_order_relaxed);
    for (int i = 0; i < kSpins && state == kPending; ++i) {
      pause_briefly();
      state = state_.load(std::memory_order_acquire);
    }
    while (state == kPending) {
      state_.wait(kPending, std::memory_order_acquire);
      state = state_.load(std::memory_order_acquire);
    }
    waiters_.fetch_sub(1, std::memory_order_relaxed);
  }
  if (state == kFailed) std::rethrow_exception(reason_);
}

void CpuEvent::begin() {
  state_.store(kPending, std::memory_order_relaxed);
}

void CpuEvent::complete() {
  finish(kReady);
}

void CpuEvent::fail(std::exception_ptr reason) {
  reason_ = std::move(reason);
  finish(kFailed);
}

void CpuEvent::finish(int state) {
  state_.store(state, std::memory_order_release);
  state_.notify_all();
}

void CpuStream::record(Event& event) {
  auto* cpu_event = dynamic_cast<CpuEvent*>(&event);
  if (!cpu_event) throw error("a CPU stream can only record an event made by the CPU device");
  cpu_event->complete();
}

// --- memory ---

namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

double gib(std::uint64_t bytes) {
  return static_cast<double>(bytes) / (1u << 30);
}

Error out_of_memory(std::size_t bytes, std::uint64_t available) {
  return error(
      "cannot allocate {:.2f} GiB of host memory: {:.2f} GiB are available; use a smaller micro-batch or "
      "model, "
      "more ranks, or fewer ranks per host",
      gib(bytes), gib(available));
}

void zero_in_parallel(char* data, std::size_t bytes) {
  const auto pages = static_cast<std::int64_t>((bytes + kHugePage - 1) / kHugePage);
#pragma omp parallel for schedule(static)
  for (std::int64_t page = 0; page < pages; ++page) {
    const std::size_t begin = static_cast<std::size_t>(page) * kHugePage;
    std::memset(data + begin, 0, std::min(kHugePage, bytes - begin));
  }
}

}  // namespace

Memory CpuDevice::allocate(std::size_t bytes) {
  const bool large = bytes >= kHugePage;
  // Linux promises more memory than there is and kills the process that touches it: ask first.
  if (large) {
    const std::uint64_t available = available_memory();
    if (bytes > available) throw out_of_memory(bytes, available);
  }
  const std::size_t alignment = large ? kHugePage : kAlignment;
  const std::size_t rounded = (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  void* data = rounded < bytes ? nullptr : std::aligned_alloc(alignment, rounded);
  if (!data) throw out_of_memory(bytes, available_memory());
  Memory memory(data, bytes, [](void* p) { std::free(p); });
  if (large) {
    madvise(data, rounded, MADV_HUGEPAGE);  // a hint: its failure changes nothing but speed
    zero_in_parallel(static_cast<char*>(data), rounded);
  } else {
    std::memset(data, 0, rounded);
  }
  return memory;
}

// --- device ---

int allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return std::max(1, omp_get_num_procs());
  return std::max(1, CPU_COUNT(&set));
}

CpuDevice::CpuDevice(int threads) : threads_(threads > 0 ? threads : allowed_cores()) {
  if (threads < 0)
    throw usage_error("the number of threads is {}, it must be 0 (all allowed cores) or more", threads);
  omp_set_num_threads(threads_);
}

CpuDevice::~CpuDevice() = default;

std::string CpuDevice::description() const {
  std::string model = "CPU";
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) {
      model = line.substr(colon + 2);
      break;
    }
  }
  return fmt::format("{}, {} thread{}", model, threads_, threads_ == 1 ? "" : "s");
}

void CpuDevice::copy_to_device(Stream&, const Tensor& device, const void* host) {
  if (!device.contiguous())
    throw error("copy_to_device: the tensor {} is not contiguous", device.shape.to_string());
  if (device.count() > 0) std::memcpy(device.data, host, device.bytes());
}

void CpuDevice::copy_to_host(Stream&, void* host, const Tensor& device) {
  if (!device.contiguous())
    throw error("copy_to_host: the tensor {} is not contiguous", device.shape.to_string());
  if (device.count() > 0) std::memcpy(host, device.data, device.bytes());
}

void CpuDevice::copy_on_device(Stream&, const Tensor& from, const Tensor& to) {
  checks::copy_on_device(from, to);
  if (from.count() > 0) std::memcpy(to.data, from.data, from.bytes());
}

double CpuDevice::matmul_flops(DType act, double seconds) {
  return measure_matmul_flops(act, threads_, seconds);
}

double CpuDevice::copy_bandwidth(double seconds) {
  return measure_copy_bandwidth(threads_, seconds);
}

Ops& CpuDevice::ops() {
  if (!ops_) ops_ = make_cpu_ops(threads_);
  return *ops_;
}

std::unique_ptr<Device> make_cpu_device(int threads) {
  return std::make_unique<CpuDevice>(threads);
}

}  // namespace heddle
