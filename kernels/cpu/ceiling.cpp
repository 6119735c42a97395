#include "kernels/cpu/ceiling.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <unordered_map>

#include "kernels/cpu/onednn.h"
#include "kernels/error.h"
#include "kernels/philox.h"

namespace heddle {

namespace {

using dnnl::memory;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Uniform in (-0.5, 0.5]: constants would let a processor clock higher than real data does.
template <typename T>
void fill_random(memory& matrix, std::int64_t count) {
  T* values = static_cast<T*>(matrix.get_data_handle());
  for (std::int64_t i = 0; i < count; i += 4) {
    const PhiloxBlock block = philox(0, {static_cast<std::uint32_t>(i / 4), 0, 0, 0});
    for (int j = 0; j < 4; ++j) values[i + j] = static_cast<T>(philox_uniform(block[j]) - 0.5f);
  }
}

// One square product, ready to run.
class SquareProduct {
 public:
  SquareProduct(DType dtype, std::int64_t size) : size_(size) {
    const memory::dims dims = {size, size};
    const auto type = onednn::data_type(dtype);
    const auto rows = memory::format_tag::ab;
    const memory::desc plain(dims, type, rows);
    const auto description =
        onednn::describe_matmul(engine_, plain, {dims, type, memory::format_tag::any}, {},
                                {dims, memory::data_type::f32, rows}, dnnl::primitive_attr());
    memory random(plain, engine_);
    dtype == DType::bf16 ? fill_random<bfloat16>(random, size * size)
                         : fill_random<float>(random, size * size);
    memory packed(description.weights_desc(), engine_);
    dnnl::reorder(random, packed).execute(stream_, random, packed);
    arguments_ = {{DNNL_ARG_SRC, random},
                  {DNNL_ARG_WEIGHTS, packed},
                  {DNNL_ARG_DST, memory(description.dst_desc(), engine_)}};
    product_ = dnnl::matmul(description);
    stream_.wait();
  }

  double measure_flops() {
    const auto start = Clock::now();
    product_.execute(stream_, arguments_);
    stream_.wait();
    return 2.0 * size_ * size_ * size_ / seconds_since(start);
  }

 private:
  std::int64_t size_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  dnnl::matmul product_;
  std::unordered_map<int, memory> arguments_;
};

}  // namespace

double measure_matmul_flops(DType dtype, int threads, double seconds) try {
  const int threads_before = omp_get_max_threads();
  omp_set_num_threads(threads);
  double best = 0;
  const auto start = Clock::now();
  // Small ones first: a short budget still warms up and times something.
  for (std::int64_t size : {512, 2048, 3072, 4096}) {
    if (size > 512 && seconds_since(start) >= seconds) break;
    SquareProduct product(dtype, size);
    product.measure_flops();  // pages and code are touched for the first time
    const double share = seconds / 4;
    const auto begin = Clock::now();
    do best = std::max(best, product.measure_flops());
    while (seconds_since(begin) < share);
  }
  omp_set_num_threads(threads_before);
  return best;
} catch (const dnnl::error& e) {
  throw error("oneDNN has no {} matrix product on this processor: {}", name_of(dtype), e.what());
}

double measure_copy_bandwidth(int threads, double seconds) {
  constexpr std::int64_t kBytes = std::int64_t{256} << 20, kPart = std::int64_t{1} << 20;
  // Not zeroed here: each thread touches its part first, so that it is near it on a host with several memory nodes.
  const auto from = std::make_unique_for_overwrite<char[]>(kBytes), to = std::make_unique_for_overwrite<char[]>(kBytes);
  const auto copy = [&](auto&& one_part) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (std::int64_t begin = 0; begin < kBytes; begin += kPart) one_part(begin);
  };
  copy([&](std::int64_t begin) {
    std::memset(&from[begin], 1, kPart);
    std::memset(&to[begin], 2, kPart);
  });
  double best = 0;
  const auto start = Clock::now();
  do {
    const auto begin = Clock::now();
    copy([&](std::int64_t part) { std::memcpy(&to[part], &from[part], kPart); });
    best = std::max(best, 2.0 * kBytes / seconds_since(begin));
  } while (seconds_since(start) < seconds);
  return best;
}

}  // namespace heddle
