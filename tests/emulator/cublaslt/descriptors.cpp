#include "tests/emulator/cublaslt/descriptors.h"

#include <cstring>

namespace {

// The bytes an attribute is kept in.
struct Slot {
  void* data = nullptr;
  std::size_t bytes = 0;

  Slot() = default;
  template <typename T>
  explicit Slot(T& field) : data(&field), bytes(sizeof field) {}
};

Slot slot(cublasLtMatrixLayoutOpaque_t& layout, cublasLtMatrixLayoutAttribute_t attribute) {
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE: return Slot(layout.type);
    case CUBLASLT_MATRIX_LAYOUT_ORDER: return Slot(layout.order);
    case CUBLASLT_MATRIX_LAYOUT_ROWS: return Slot(layout.rows);
    case CUBLASLT_MATRIX_LAYOUT_COLS: return Slot(layout.columns);
    case CUBLASLT_MATRIX_LAYOUT_LD: return Slot(layout.leading_dimension);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return Slot(layout.batch_count);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return Slot(layout.batch_stride);
  }
  return {};
}

Slot slot(cublasLtMatmulDescOpaque_t& desc, cublasLtMatmulDescAttributes_t attribute) {
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE: return Slot(desc.compute_type);
    case CUBLASLT_MATMUL_DESC_SCALE_TYPE: return Slot(desc.scale_type);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE: return Slot(desc.pointer_mode);
    case CUBLASLT_MATMUL_DESC_TRANSA: return Slot(desc.transpose_a);
    case CUBLASLT_MATMUL_DESC_TRANSB: return Slot(desc.transpose_b);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return Slot(desc.epilogue);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return Slot(desc.bias);
    case CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE: return Slot(desc.bias_batch_stride);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER: return Slot(desc.aux);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD: return Slot(desc.aux_leading_dimension);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE: return Slot(desc.aux_batch_stride);
    case CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET: return Slot(desc.sm_count_target);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE: return Slot(desc.aux_type);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: return Slot(desc.bias_type);
  }
  return {};
}

Slot slot(cublasLtMatmulPreferenceOpaque_t& preference, cublasLtMatmulPreferenceAttributes_t attribute) {
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_SEARCH_MODE: return Slot(preference.search_mode);
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return Slot(preference.max_workspace_bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return Slot(preference.reduction_scheme_mask);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: return Slot(preference.min_alignment[0]);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: return Slot(preference.min_alignment[1]);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: return Slot(preference.min_alignment[2]);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: return Slot(preference.min_alignment[3]);
  }
  return {};
}

template <typename Descriptor, typename Attribute>
cublasStatus_t set(Descriptor* descriptor, Attribute attribute, const void* value, std::size_t bytes) {
  if (!descriptor || !value) return CUBLAS_STATUS_INVALID_VALUE;
  const Slot field = slot(*descriptor, attribute);
  if (!field.data || field.bytes != bytes) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(field.data, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

template <typename Descriptor, typename Attribute>
cublasStatus_t get(Descriptor* descriptor, Attribute attribute, void* value, std::size_t bytes,
                   std::size_t* written) {
  if (!descriptor || (bytes == 0 && !written) || (bytes != 0 && !value)) return CUBLAS_STATUS_INVALID_VALUE;
  const Slot field = slot(*descriptor, attribute);
  if (!field.data || (bytes != 0 && field.bytes != bytes)) return CUBLAS_STATUS_INVALID_VALUE;
  if (bytes != 0) std::memcpy(value, field.data, bytes);
  if (written) *written = field.bytes;
  return CUBLAS_STATUS_SUCCESS;
}

template <typename Descriptor>
cublasStatus_t destroy(Descriptor* descriptor) {
  delete descriptor;
  return descriptor ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

}  // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  int device = 0;
  if (!handle || cudaGetDevice(&device) != cudaSuccess) return CUBLAS_STATUS_NOT_INITIALIZED;
  *handle = new cublasLtContext{device};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  return destroy(handle);
}
std::size_t cublasLtGetVersion() {
  return 130100;
}

const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH: return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR: return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
  return "CUBLAS_STATUS_UNKNOWN";
}
const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "the library was not initialized";
    case CUBLAS_STATUS_ALLOC_FAILED: return "the resource allocation failed";
    case CUBLAS_STATUS_INVALID_VALUE: return "an unsupported value or parameter was passed to the function";
    case CUBLAS_STATUS_ARCH_MISMATCH: return "the function needs a feature absent from the device";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "the GPU program failed to execute";
    case CUBLAS_STATUS_INTERNAL_ERROR: return "an internal operation failed";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "the functionality requested is not supported";
  }
  return "unknown status";
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type,
                                          std::uint64_t rows, std::uint64_t columns,
                                          std::int64_t leading_dimension) {
  if (!layout) return CUBLAS_STATUS_INVALID_VALUE;
  *layout = new cublasLtMatrixLayoutOpaque_t;
  (*layout)->type = type;
  (*layout)->rows = rows;
  (*layout)->columns = columns;
  (*layout)->leading_dimension = leading_dimension;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  return destroy(layout);
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                std::size_t bytes) {
  return set(layout, attribute, value, bytes);
}
cublasStatus_t cublasLtMatrixLayoutGetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, void* value,
                                                std::size_t bytes, std::size_t* written) {
  return get(layout, attribute, value, bytes, written);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  if (!desc) return CUBLAS_STATUS_INVALID_VALUE;
  *desc = new cublasLtMatmulDescOpaque_t;
  (*desc)->compute_type = compute;
  (*desc)->scale_type = scale;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  return destroy(desc);
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              std::size_t bytes) {
  return set(desc, attribute, value, bytes);
}
cublasStatus_t cublasLtMatmulDescGetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute, void* value,
                                              std::size_t bytes, std::size_t* written) {
  return get(desc, attribute, value, bytes, written);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  if (!preference) return CUBLAS_STATUS_INVALID_VALUE;
  *preference = new cublasLtMatmulPreferenceOpaque_t;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return destroy(preference);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, std::size_t bytes) {
  return set(preference, attribute, value, bytes);
}
cublasStatus_t cublasLtMatmulPreferenceGetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    void* value, std::size_t bytes, std::size_t* written) {
  return get(preference, attribute, value, bytes, written);
}

}  // extern "C"
