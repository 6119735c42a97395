#include "kernels/version.h"

#include <dnnl.h>
#include <fmt/format.h>

namespace heddle {

std::string kernel_library_versions() {
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("oneDNN {}.{}.{}", version->major, version->minor, version->patch);
}

}  // namespace heddle
