#include "kernels/cuda/cuda_ops.h"
#include "kernels/error.h"

namespace heddle {

void CudaOps::attention_forward(const Attention& ) { throw error("attention_forward is not written for CUDA yet"); }
void CudaOps::attention_backward(const Attention& , const AttentionGradients& ) { throw error("attention_backward is not written for CUDA yet"); }
std::int64_t CudaOps::attention_backward_scratch(std::int64_t , std::int64_t , std::int64_t , std::int64_t , std::int64_t ) { throw error("attention_backward_scratch is not written for CUDA yet"); }

}  // namespace heddle
