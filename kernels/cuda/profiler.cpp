#include "kernels/cuda/profiler.h"

#include "kernels/profiler.h"

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>

namespace heddle::cuda {

void connect_profiler() {
  profiler_hooks = {[](const char* name) { nvtxRangePushA(name); }, [] { nvtxRangePop(); }};
}

}  // namespace heddle::cuda

#else

namespace heddle::cuda {

void connect_profiler() {}

}  // namespace heddle::cuda

#endif
