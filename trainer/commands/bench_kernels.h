// heddle bench kernels: every operation on one device against the copy and matmul rates of the same run.
#pragma once

#include <cstdint>
#include <string>

#include "trainer/commands/command.h"

namespace heddle {

struct KernelBenchOptions {
  std::int64_t rows = 0;   // tokens; 0: 16384 on a GPU, 2048 on a CPU
  std::int64_t width = 0;  // channels; 0: 768, 1600 and 4096 on a GPU, 768 on a CPU
  std::string family;      // one family of operations; empty: all
  double seconds = 0.2;    // for each case
  double ceiling_seconds = 3;
};

int bench_kernels(const CommandLine& line, const KernelBenchOptions& bench);

}  // namespace heddle
