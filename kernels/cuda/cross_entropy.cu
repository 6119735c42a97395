#include "kernels/cuda/cuda_ops.h"
#include "kernels/error.h"

namespace heddle {

void CudaOps::cross_entropy_statistics(const CrossEntropy& , const Tensor& ) { throw error("cross_entropy_statistics is not written for CUDA yet"); }
void CudaOps::cross_entropy_merge(const CrossEntropy& , const Tensor& , const Tensor& , const Tensor& ) { throw error("cross_entropy_merge is not written for CUDA yet"); }
void CudaOps::cross_entropy_backward(const CrossEntropy& , const Tensor& , const float* ) { throw error("cross_entropy_backward is not written for CUDA yet"); }

}  // namespace heddle
