#include "kernels/cuda/cuda_ops.h"
#include "kernels/error.h"

namespace heddle {

void CudaOps::activation_forward(Activation , const Tensor& , const Tensor& ) { throw error("activation_forward is not written for CUDA yet"); }
void CudaOps::activation_backward(Activation , const Tensor& , const Tensor& , const Tensor& ) { throw error("activation_backward is not written for CUDA yet"); }
void CudaOps::gated_forward(Activation , const Tensor& , const Tensor& ) { throw error("gated_forward is not written for CUDA yet"); }
void CudaOps::gated_backward(Activation , const Tensor& , const Tensor& , const Tensor& ) { throw error("gated_backward is not written for CUDA yet"); }

}  // namespace heddle
