#include "trainer/data/prepare_line.h"

#include <fmt/format.h>

#include <cstdio>

#include "trainer/metrics/progress.h"

namespace heddle {

PrepareLine::PrepareLine() : draws_(ProgressStyle::detect().redraw) {}

PrepareLine::~PrepareLine() {
  if (draws_) fmt::print("\r\033[K");
  std::fflush(stdout);
}

void PrepareLine::show(const PrepareProgress& p) {
  if (!draws_) return;
  const double percent = p.total > 0 ? 100.0 * static_cast<double>(p.done) / static_cast<double>(p.total) : 0;
  fmt::print("\r\033[K{} {:.0f} %", p.stage, percent);
  std::fflush(stdout);
}

}  // namespace heddle
