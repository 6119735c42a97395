#include "kernels/version.h"

#include <fmt/format.h>

#include "parallel/environment.h"
#include "trainer/commands/command.h"

namespace heddle {

// HEDDLE_VERSION and HEDDLE_REVISION are set by CMake for this file.
std::string version_text() {
#ifdef __clang__
  const std::string compiler = "clang " __clang_version__;
#else
  const std::string compiler = "g++ " __VERSION__;
#endif
  return fmt::format("heddle {} ({})\ncompiler: {}\nMPI: {}\nlibraries: {}\n", HEDDLE_VERSION,
                     HEDDLE_REVISION, compiler, mpi_library_version(), kernel_library_versions());
}

}  // namespace heddle
