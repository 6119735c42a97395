// Versions of the libraries the kernels call.
#pragma once

#include <string>

namespace heddle {

std::string kernel_library_versions();  // "oneDNN 2.6.3"

}  // namespace heddle
