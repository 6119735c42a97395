// How the CPU operations share work among threads.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace heddle::cpu {

// Below this many elements an operation stays on the calling thread: waking a team costs as much.
constexpr std::int64_t kElementsPerThread = 16384;

// Where a flat array may be cut: whole vectors, and cache lines of every element type.
constexpr std::int64_t kFlatGrain = 64;

// body(begin, end) for one contiguous part of [0, count) per thread, boundaries at multiples of `grain`. A
// part costs `elements_each` per item. The body must give the same bits however [0, count) is cut.
template <typename Body>
void parallel_parts(int threads, std::int64_t count, std::int64_t elements_each, std::int64_t grain,
                    Body body) {
  const std::int64_t grains = (count + grain - 1) / grain;
  const std::int64_t worthwhile = count * std::max<std::int64_t>(elements_each, 1) / kElementsPerThread;
  const int team =
      static_cast<int>(std::min<std::int64_t>({threads, grains, std::max<std::int64_t>(worthwhile, 1)}));
  if (team <= 1) {
    if (count > 0) body(std::int64_t{0}, count);
    return;
  }
#pragma omp parallel num_threads(team)
  {
    const std::int64_t members = omp_get_num_threads(), member = omp_get_thread_num();
    const std::int64_t begin = grains * member / members * grain;
    const std::int64_t end = std::min(grains * (member + 1) / members * grain, count);
    if (begin < end) body(begin, end);
  }
}

// body(row) for each row.
template <typename Body>
void parallel_rows(int threads, std::int64_t rows, std::int64_t width, Body body) {
  parallel_parts(threads, rows, width, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) body(row);
  });
}

// Rows cut into blocks for sums over rows: each block has its own partial sums, added in the order of the
// blocks. Their number depends on the rows alone, so the sum has the same bits with any number of threads.
struct RowBlocks {
  static constexpr std::int64_t kMaxBlocks = 64, kMinRows = 16;

  explicit RowBlocks(std::int64_t rows)
      : rows(rows),
        rows_each(std::max((rows + kMaxBlocks - 1) / kMaxBlocks, kMinRows)),
        count((rows + rows_each - 1) / rows_each) {}

  std::int64_t begin(std::int64_t block) const { return block * rows_each; }
  std::int64_t end(std::int64_t block) const { return std::min((block + 1) * rows_each, rows); }

  const std::int64_t rows, rows_each, count;
};

}  // namespace heddle::cpu
