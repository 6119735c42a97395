#include "kernels/cuda/cuda_ops.h"

#include "kernels/cuda/cuda_error.h"

namespace heddle {

void* CudaOps::scratch(std::size_t bytes, const char* operation) {
  if (bytes > kScratchBytes)
    throw error("{}: needs {} bytes of work space, {} are set aside: use a smaller micro-batch", operation, bytes,
                kScratchBytes);
  return scratch_.data();
}

}  // namespace heddle
