#include <fmt/format.h>

#include "kernels/device.h"
#include "kernels/version.h"
#include "parallel/environment.h"
#include "parallel/gpu_communicator.h"
#include "trainer/commands/command.h"

namespace heddle {

std::string gpu_libraries() {
  const std::string cuda = cuda_versions(), nccl = nccl_version();
  return cuda.empty() ? "" : cuda + ", " + (nccl.empty() ? "no NCCL" : nccl);
}

// HEDDLE_VERSION and HEDDLE_REVISION are set by CMake for this file.
std::string version_text() {
#ifdef __clang__
  const std::string compiler = "clang " __clang_version__;
#else
  const std::string compiler = "g++ " __VERSION__;
#endif
  const std::string gpu = gpu_libraries().empty() ? "built without CUDA" : gpu_libraries();
  return fmt::format("heddle {} ({})\ncompiler: {}\nMPI: {}\nlibraries: {}\nGPU: {}\n", HEDDLE_VERSION,
                     HEDDLE_REVISION, compiler, mpi_library_version(), kernel_library_versions(), gpu);
}

}  // namespace heddle
