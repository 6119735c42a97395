// Names of ranges for a profiler: the emulator only checks that pushes and pops match.
#pragma once

namespace heddle::emulator {
inline thread_local int nvtx_depth = 0;
}

// The level of the range that begins, from 0.
inline int nvtxRangePushA(const char*) {
  return heddle::emulator::nvtx_depth++;
}
// The level of the range that ends; negative when none is open.
inline int nvtxRangePop() {
  return heddle::emulator::nvtx_depth > 0 ? --heddle::emulator::nvtx_depth : -1;
}
