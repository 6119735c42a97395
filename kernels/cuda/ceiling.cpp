// What this GPU reaches when it does nothing else: the denominators of "model FLOPs utilisation" and of a kernel's share
// of the memory bandwidth.
#include <algorithm>
#include <chrono>
#include <vector>

#include "kernels/cuda/cuda_error.h"
#include "kernels/cuda/device.h"
#include "kernels/philox.h"

namespace heddle {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

template <typename T>
std::vector<T> random_values(std::int64_t count) {
  std::vector<T> values(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i)
    values[static_cast<std::size_t>(i)] =
        static_cast<T>(philox_uniform(philox(0, {static_cast<std::uint32_t>(i), 0, 0, 0})[0]) - 0.5f);
  return values;
}

// Uniform in (-0.5, 0.5]: constants would let a GPU clock higher than real data does (13 % on an H200). The values
// repeat with a period that no row length divides.
void fill_random(CudaDevice& device, const Tensor& matrix) {
  const std::int64_t count = matrix.count(), period = std::min<std::int64_t>(count, 1'000'003);
  const Tensor flat = matrix.view({count});
  Stream& stream = device.compute_stream();
  const auto upload = [&](const auto& values) {
    device.copy_to_device(stream, flat.slice(0, 0, period), values.data());
    stream.synchronize();
  };
  matrix.dtype == DType::bf16 ? upload(random_values<bfloat16>(period)) : upload(random_values<float>(period));
  for (std::int64_t filled = period; filled < count;) {
    const std::int64_t more = std::min(filled, count - filled);
    device.copy_on_device(stream, flat.slice(0, 0, more), flat.slice(0, filled, filled + more));
    filled += more;
  }
}

// Seconds of one of several calls in a row, so that the time to start the first does not count.
template <typename Work>
double seconds_per_call(Stream& stream, int calls, const Work& work) {
  stream.synchronize();
  const auto start = Clock::now();
  for (int i = 0; i < calls; ++i) work();
  stream.synchronize();
  return seconds_since(start) / calls;
}

// The best of repeated measurements during `seconds`, at least one.
template <typename Work>
double best_seconds(Stream& stream, double seconds, const Work& work) {
  constexpr int kCalls = 4;
  const auto start = Clock::now();
  double best = seconds_per_call(stream, 1, work);
  while (seconds_since(start) + kCalls * best < seconds) best = std::min(best, seconds_per_call(stream, kCalls, work));
  return best;
}

// Whether `bytes` can be taken without leaving the training too little.
bool fits(std::size_t bytes) {
  std::size_t available = 0, total = 0;
  cuda::check(cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
  return bytes <= available / 2;
}

}  // namespace

double CudaDevice::matmul_flops(DType act, double seconds) {
  double best = 0, last_seconds = 0;
  const auto start = Clock::now();
  // Small ones first: a short budget, or a slow device, still gives a rate.
  for (const std::int64_t size : {128, 512, 2048, 8192}) {
    const std::size_t bytes = static_cast<std::size_t>(size * size) * size_of(act);
    const double left = seconds - seconds_since(start);
    if (best > 0 && (64 * last_seconds > left || !fits(3 * bytes))) break;
    const Memory memory[] = {allocate(bytes), allocate(bytes), allocate(bytes)};
    Matmul product;
    product.a = Tensor(memory[0].data(), act, {size, size});
    product.b = Tensor(memory[1].data(), act, {size, size});
    product.c = Tensor(memory[2].data(), act, {size, size});
    fill_random(*this, product.a);
    fill_random(*this, product.b);
    seconds_per_call(compute_, 1, [&] { ops_->matmul(product); });  // chooses the algorithm, loads the kernel
    const double share = size == 8192 ? left : left / 8;
    last_seconds = best_seconds(compute_, share, [&] { ops_->matmul(product); });
    best = std::max(best, 2.0 * static_cast<double>(size * size * size) / last_seconds);
  }
  return best;
}

double CudaDevice::copy_bandwidth(double seconds) {
  double best = 0, last_seconds = 0;
  const auto start = Clock::now();
  for (const std::size_t bytes : {std::size_t{1} << 20, std::size_t{32} << 20, std::size_t{1} << 30}) {
    const double left = seconds - seconds_since(start);
    if (best > 0 && (32 * last_seconds > left || !fits(2 * bytes))) break;
    const Memory from = allocate(bytes), to = allocate(bytes);
    const auto count = static_cast<std::int64_t>(bytes);
    const Tensor source(from.data(), DType::u8, {count}), target(to.data(), DType::u8, {count});
    const auto copy = [&] { copy_on_device(compute_, source, target); };
    last_seconds = best_seconds(compute_, left / 3, copy);
    // A copy that fits the cache is faster than the memory: only the largest counts.
    best = 2.0 * static_cast<double>(bytes) / last_seconds;
  }
  return best;
}

}  // namespace heddle
