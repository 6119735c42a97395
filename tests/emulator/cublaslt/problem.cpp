// The rules of the emulated cuBLASLt:
//   - f32 accumulation, f32 alpha and beta in host memory; column-major order
//   - A and B of one type, C and D of one type: f32 x f32 -> f32, bf16 x bf16 -> bf16 or f32
//   - bf16 matrices start at multiples of 16 bytes, and so do their columns and batch entries
//   - bias, bias gradients and GELU's aux matrix have D's type
//   - aux leading dimensions are multiples of 8 elements (GELU) or 128 bits (RELU)
#include "tests/emulator/cublaslt/problem.h"

#include "tests/emulator/cublaslt/descriptors.h"

namespace heddle::emulator {

namespace {

constexpr std::int64_t kVectorBytes = 16;

bool known_epilogue(unsigned epilogue) {
  switch (epilogue) {
    case CUBLASLT_EPILOGUE_DEFAULT:
    case CUBLASLT_EPILOGUE_RELU:
    case CUBLASLT_EPILOGUE_RELU_AUX:
    case CUBLASLT_EPILOGUE_BIAS:
    case CUBLASLT_EPILOGUE_RELU_BIAS:
    case CUBLASLT_EPILOGUE_RELU_AUX_BIAS:
    case CUBLASLT_EPILOGUE_GELU:
    case CUBLASLT_EPILOGUE_GELU_AUX:
    case CUBLASLT_EPILOGUE_GELU_BIAS:
    case CUBLASLT_EPILOGUE_GELU_AUX_BIAS:
    case CUBLASLT_EPILOGUE_DGELU:
    case CUBLASLT_EPILOGUE_DGELU_BGRAD:
    case CUBLASLT_EPILOGUE_BGRADA:
    case CUBLASLT_EPILOGUE_BGRADB: return true;
    default: return false;
  }
}

bool supported_types(const Problem& p) {
  const auto known = [](cudaDataType type) { return type == CUDA_R_32F || type == CUDA_R_16BF; };
  if (p.a.type != p.b.type || p.c.type != p.d.type || !known(p.a.type) || !known(p.d.type)) return false;
  return p.a.type == CUDA_R_16BF || p.d.type == CUDA_R_32F;
}

Matrix matrix_of(const cublasLtMatrixLayoutOpaque_t& layout) {
  return {nullptr,
          static_cast<cudaDataType>(layout.type),
          static_cast<std::int64_t>(layout.rows),
          static_cast<std::int64_t>(layout.columns),
          layout.leading_dimension,
          layout.batch_stride};
}

bool aligned_columns(const Matrix& x) {
  return x.type != CUDA_R_16BF || (x.leading_dimension * x.element_bytes() % kVectorBytes == 0 &&
                                   x.batch_stride * x.element_bytes() % kVectorBytes == 0);
}
bool aligned_start(const Matrix& x) {
  const auto alignment =
      static_cast<std::uintptr_t>(x.type == CUDA_R_16BF ? kVectorBytes : x.element_bytes());
  return reinterpret_cast<std::uintptr_t>(x.data) % alignment == 0;
}

// The vector and the matrix that the epilogue uses beside C and D.
cublasStatus_t add_epilogue(const cublasLtMatmulDescOpaque_t& desc, Problem* p) {
  p->epilogue = desc.epilogue;
  if (!known_epilogue(p->epilogue)) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (p->has(kBias | kBiasGradient | kBiasGradientOfA | kBiasGradientOfB)) {
    const std::int64_t length = p->has(kBiasGradientOfB) ? p->n : p->m;
    const auto type = desc.bias_type < 0 ? p->d.type : static_cast<cudaDataType>(desc.bias_type);
    if (type != p->d.type) return CUBLAS_STATUS_NOT_SUPPORTED;
    p->bias = {static_cast<std::byte*>(desc.bias), type, length, 1, length, desc.bias_batch_stride};
  }
  if (p->has(kAux)) {
    const std::int64_t multiple = p->has(kRelu) ? 128 : 8;
    const auto type =
        desc.aux_type < 0 || p->has(kRelu) ? p->d.type : static_cast<cudaDataType>(desc.aux_type);
    if (type != p->d.type) return CUBLAS_STATUS_NOT_SUPPORTED;
    p->aux = {static_cast<std::byte*>(desc.aux),
              type,
              p->m,
              p->n,
              desc.aux_leading_dimension,
              desc.aux_batch_stride};
    if (p->aux.leading_dimension < p->m || p->aux.leading_dimension % multiple != 0 ||
        p->aux.batch_stride % multiple != 0)
      return CUBLAS_STATUS_INVALID_VALUE;
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t check_shapes(const Problem& p) {
  const std::int64_t k_of_b = p.transpose_b ? p.b.columns : p.b.rows;
  if (p.m <= 0 || p.n <= 0 || p.k <= 0 || p.k != k_of_b || p.d.rows != p.m || p.d.columns != p.n ||
      p.c.rows != p.m || p.c.columns != p.n)
    return CUBLAS_STATUS_INVALID_VALUE;
  for (const Matrix* x : {&p.a, &p.b, &p.c, &p.d}) {
    if (x->leading_dimension < x->rows) return CUBLAS_STATUS_INVALID_VALUE;
    if (!aligned_columns(*x)) return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace

cublasStatus_t make_problem(const cublasLtMatmulDesc_t desc, const cublasLtMatrixLayout_t a,
                            const cublasLtMatrixLayout_t b, const cublasLtMatrixLayout_t c,
                            const cublasLtMatrixLayout_t d, Problem* problem) {
  if (!desc || !a || !b || !c || !d) return CUBLAS_STATUS_INVALID_VALUE;
  Problem& p = *problem;
  if ((desc->compute_type != CUBLAS_COMPUTE_32F && desc->compute_type != CUBLAS_COMPUTE_32F_PEDANTIC) ||
      desc->scale_type != CUDA_R_32F || desc->pointer_mode != CUBLASLT_POINTER_MODE_HOST)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  for (const auto layout : {a, b, c, d}) {
    if (layout->order != CUBLASLT_ORDER_COL) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (layout->batch_count < 1 || layout->batch_count != d->batch_count) return CUBLAS_STATUS_INVALID_VALUE;
  }
  p.a = matrix_of(*a);
  p.b = matrix_of(*b);
  p.c = matrix_of(*c);
  p.d = matrix_of(*d);
  if (!supported_types(p)) return CUBLAS_STATUS_NOT_SUPPORTED;
  p.batch_count = d->batch_count;
  p.transpose_a = desc->transpose_a != CUBLAS_OP_N;
  p.transpose_b = desc->transpose_b != CUBLAS_OP_N;
  p.m = p.transpose_a ? p.a.columns : p.a.rows;
  p.k = p.transpose_a ? p.a.rows : p.a.columns;
  p.n = p.transpose_b ? p.b.rows : p.b.columns;
  const cublasStatus_t status = check_shapes(p);
  return status == CUBLAS_STATUS_SUCCESS ? add_epilogue(*desc, problem) : status;
}

cublasStatus_t check_pointers(const Problem& p) {
  if (!p.a.data || !p.b.data || !p.d.data || (p.beta != 0 && !p.c.data)) return CUBLAS_STATUS_INVALID_VALUE;
  for (const Matrix* x : {&p.a, &p.b, &p.c, &p.d})
    if (!aligned_start(*x)) return CUBLAS_STATUS_NOT_SUPPORTED;
  // In place means C and D are laid out alike.
  if (p.beta != 0 && p.c.data == p.d.data && p.c.leading_dimension != p.d.leading_dimension)
    return CUBLAS_STATUS_INVALID_VALUE;
  if (p.bias.rows > 0 && !p.bias.data) return CUBLAS_STATUS_INVALID_VALUE;
  if (p.aux.rows > 0 && (!p.aux.data || reinterpret_cast<std::uintptr_t>(p.aux.data) % kVectorBytes != 0))
    return CUBLAS_STATUS_INVALID_VALUE;
  return CUBLAS_STATUS_SUCCESS;
}

std::uint64_t fingerprint(const Problem& p) {
  std::uint64_t hash = 0xcbf29ce484222325ull;  // FNV-1a over 64-bit words
  const auto add = [&](std::int64_t value) {
    hash = (hash ^ static_cast<std::uint64_t>(value)) * 0x100000001b3ull;
  };
  for (const std::int64_t value : {p.m, p.n, p.k, p.batch_count, std::int64_t{p.transpose_a},
                                   std::int64_t{p.transpose_b}, std::int64_t{p.epilogue}})
    add(value);
  for (const Matrix* x : {&p.a, &p.b, &p.c, &p.d}) {
    add(x->type);
    add(x->leading_dimension);
  }
  return hash;
}

}  // namespace heddle::emulator
