#include "kernels/cuda/cuda_ops.h"
#include "kernels/error.h"

namespace heddle {

void CudaOps::dropout(const Tensor& , const Dropout& , const Tensor& ) { throw error("dropout is not written for CUDA yet"); }
void CudaOps::bias_dropout_residual(const Tensor& , const Tensor& , const Tensor& , const Dropout& , const Tensor& ) { throw error("bias_dropout_residual is not written for CUDA yet"); }
void CudaOps::bias_dropout_residual_backward(const Tensor& , const Dropout& , const Tensor& , const Tensor& ) { throw error("bias_dropout_residual_backward is not written for CUDA yet"); }

}  // namespace heddle
