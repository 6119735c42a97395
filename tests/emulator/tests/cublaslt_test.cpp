// The emulated cuBLASLt against double loops, and what it refuses.
#include <cublasLt.h>

#include <chrono>
#include <cmath>
#include <random>

#include "host_test.h"
#include "kernels/tensor.h"
#include "tests/emulator/cublaslt/product.h"
#include "tests/emulator/host/work.h"

namespace heddle::emulator {
namespace {

// A column-major matrix [batch][columns][leading dimension] on the device with its values in double.
struct TestMatrix {
  cudaDataType type;
  std::int64_t rows, columns, leading_dimension, batch_count = 1;
  std::vector<double> values;
  void* data = nullptr;
  cublasLtMatrixLayout_t layout = nullptr;

  double& at(std::int64_t batch, std::int64_t i, std::int64_t j) {
    return values[static_cast<std::size_t>((batch * columns + j) * leading_dimension + i)];
  }
};

struct Case {
  std::int64_t m = 24, n = 40, k = 56;
  cudaDataType in = CUDA_R_16BF, out = CUDA_R_16BF;
  bool transpose_a = false, transpose_b = false;
  std::int64_t batch_count = 1;
  std::int64_t padding = 0;  // of all leading dimensions
  float alpha = 1, beta = 0;
  bool in_place = true;  // C is D
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
};

double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
double gelu_slope(double x) {
  const double h = 1e-5;
  return (gelu(x + h) - gelu(x - h)) / (2 * h);
}

class CublasLt : public HostTest {
 protected:
  CublasLt() {
    EXPECT_EQ(cublasLtCreate(&handle_), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasLtMatmulPreferenceCreate(&preference_), CUBLAS_STATUS_SUCCESS);
    stream_ = make_stream();
  }
  ~CublasLt() override {
    for (const auto layout : layouts_) cublasLtMatrixLayoutDestroy(layout);
    for (const auto desc : descs_) cublasLtMatmulDescDestroy(desc);
    cublasLtMatmulPreferenceDestroy(preference_);
    cublasLtDestroy(handle_);
  }

  TestMatrix make_matrix(cudaDataType type, std::int64_t rows, std::int64_t columns, std::int64_t padding = 0,
                         std::int64_t batch_count = 1) {
    TestMatrix x{type, rows, columns, rows + padding, batch_count, {}, nullptr, nullptr};
    x.values.resize(static_cast<std::size_t>(x.leading_dimension * columns * batch_count));
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (double& value : x.values) {
      const float f = uniform(random_);
      value = type == CUDA_R_16BF ? static_cast<float>(bfloat16(f)) : f;
    }
    upload(x);
    EXPECT_EQ(cublasLtMatrixLayoutCreate(&x.layout, type, static_cast<std::uint64_t>(rows),
                                         static_cast<std::uint64_t>(columns), x.leading_dimension),
              CUBLAS_STATUS_SUCCESS);
    layouts_.push_back(x.layout);
    const auto count = static_cast<std::int32_t>(batch_count);
    const std::int64_t stride = x.leading_dimension * columns;
    cublasLtMatrixLayoutSetAttribute(x.layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count);
    cublasLtMatrixLayoutSetAttribute(x.layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
                                     sizeof stride);
    return x;
  }
  void upload(TestMatrix& x) {
    if (x.type == CUDA_R_16BF) {
      std::vector<bfloat16> narrow;
      for (const double value : x.values) narrow.emplace_back(static_cast<float>(value));
      x.data = to_device(narrow);
    } else {
      x.data = to_device(std::vector<float>(x.values.begin(), x.values.end()));
    }
  }
  std::vector<double> download(const void* data, cudaDataType type, std::size_t count) {
    std::vector<double> values;
    if (type == CUDA_R_16BF)
      for (const bfloat16 value : to_host(static_cast<const bfloat16*>(data), count)) values.push_back(value);
    else
      for (const float value : to_host(static_cast<const float*>(data), count)) values.push_back(value);
    return values;
  }

  cublasLtMatmulDesc_t make_desc(const Case& c) {
    cublasLtMatmulDesc_t desc = nullptr;
    EXPECT_EQ(cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), CUBLAS_STATUS_SUCCESS);
    descs_.push_back(desc);
    set(desc, CUBLASLT_MATMUL_DESC_TRANSA, std::int32_t{c.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N});
    set(desc, CUBLASLT_MATMUL_DESC_TRANSB, std::int32_t{c.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N});
    set(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, std::uint32_t{c.epilogue});
    return desc;
  }
  template <typename T>
  static void set(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute, T value) {
    EXPECT_EQ(cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof value), CUBLAS_STATUS_SUCCESS);
  }

  void check(const Case& c);

  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatmulPreference_t preference_ = nullptr;
  cudaStream_t stream_ = nullptr;
  std::mt19937 random_{1};
  std::vector<cublasLtMatrixLayout_t> layouts_;
  std::vector<cublasLtMatmulDesc_t> descs_;
};

void expect_near(double value, double expected, cudaDataType type, const char* what) {
  const double relative = type == CUDA_R_16BF ? 1.0 / 128 : 1e-5;
  EXPECT_NEAR(value, expected, relative * std::fabs(expected) + 2e-5) << what;
}

void CublasLt::check(const Case& c) {
  TestMatrix a =
      make_matrix(c.in, c.transpose_a ? c.k : c.m, c.transpose_a ? c.m : c.k, c.padding, c.batch_count);
  TestMatrix b =
      make_matrix(c.in, c.transpose_b ? c.n : c.k, c.transpose_b ? c.k : c.n, c.padding, c.batch_count);
  TestMatrix d = make_matrix(c.out, c.m, c.n, c.padding, c.batch_count);
  TestMatrix other = make_matrix(c.out, c.m, c.n, c.padding + 8, c.batch_count);
  TestMatrix& source = c.in_place ? d : other;
  const bool relu = c.epilogue & 2, gelu_forward = c.epilogue & 32, gelu_backward = c.epilogue & 64;
  const bool has_aux = c.epilogue & 128, add_bias = c.epilogue & 4;
  const std::int64_t bias_length = c.epilogue == CUBLASLT_EPILOGUE_BGRADB ? c.n : c.m;
  TestMatrix bias = make_matrix(c.out, bias_length, c.batch_count);
  TestMatrix aux = make_matrix(c.out, c.m, c.n, 16, c.batch_count);
  const std::int64_t mask_ld = (c.m + 127) / 128 * 128;
  auto* mask = device_memory<std::uint8_t>(static_cast<std::size_t>(mask_ld * c.n * c.batch_count / 8));

  const auto desc = make_desc(c);
  if (c.epilogue & (4 | 16 | 256 | 512)) {
    set(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias.data);
    set(desc, CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, bias_length);
    set(desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, std::int32_t{c.out});
  }
  if (has_aux) {
    set(desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, relu ? static_cast<void*>(mask) : aux.data);
    set(desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, relu ? mask_ld : aux.leading_dimension);
    set(desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE,
        relu ? mask_ld * c.n : aux.leading_dimension * c.n);
  }
  ASSERT_EQ(cublasLtMatmul(handle_, desc, &c.alpha, a.data, a.layout, b.data, b.layout, &c.beta, source.data,
                           source.layout, d.data, d.layout, nullptr, nullptr, 0, stream_),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_CUDA(cudaStreamSynchronize(stream_));

  const auto got = download(d.data, c.out, d.values.size());
  const auto got_bias = download(bias.data, c.out, bias.values.size());
  const auto got_aux = download(aux.data, c.out, aux.values.size());
  const auto got_mask = to_host(mask, static_cast<std::size_t>(mask_ld * c.n * c.batch_count / 8));
  std::vector<double> sums(bias.values.size());
  for (std::int64_t batch = 0; batch < c.batch_count; ++batch) {
    const auto op_a = [&](auto i, auto l) { return c.transpose_a ? a.at(batch, l, i) : a.at(batch, i, l); };
    const auto op_b = [&](auto l, auto j) { return c.transpose_b ? b.at(batch, j, l) : b.at(batch, l, j); };
    double* sum = &sums[static_cast<std::size_t>(batch * bias_length)];
    for (std::int64_t i = 0; i < c.m; ++i)
      for (std::int64_t j = 0; j < c.n; ++j) {
        double value = 0;
        for (std::int64_t l = 0; l < c.k; ++l) value += op_a(i, l) * op_b(l, j);
        value = c.alpha * value + c.beta * source.at(batch, i, j);
        if (add_bias) value += bias.values[static_cast<std::size_t>(batch * bias_length + i)];
        const auto aux_at = static_cast<std::size_t>((batch * c.n + j) * aux.leading_dimension + i);
        if (has_aux && gelu_forward) expect_near(got_aux[aux_at], value, c.out, "aux");
        if (has_aux && relu) {
          const std::int64_t bit = (batch * c.n + j) * mask_ld + i;
          EXPECT_EQ(got_mask[static_cast<std::size_t>(bit / 8)] >> bit % 8 & 1, value > 0);
        }
        if (gelu_backward) value *= gelu_slope(aux.values[aux_at]);
        value = relu ? std::fmax(value, 0.0) : gelu_forward ? gelu(value) : value;
        if (c.epilogue & 16) sum[i] += value;
        expect_near(got[static_cast<std::size_t>((batch * c.n + j) * d.leading_dimension + i)], value, c.out,
                    "D");
      }
    for (std::int64_t l = 0; l < c.k; ++l)
      for (std::int64_t line = 0; line < bias_length; ++line) {
        if (c.epilogue == CUBLASLT_EPILOGUE_BGRADA) sum[line] += op_a(line, l);
        if (c.epilogue == CUBLASLT_EPILOGUE_BGRADB) sum[line] += op_b(l, line);
      }
  }
  if (c.epilogue & (16 | 256 | 512))
    for (std::size_t i = 0; i < sums.size(); ++i) expect_near(got_bias[i], sums[i], c.out, "bias gradient");
}

TEST_F(CublasLt, EveryLayoutTypeAndScale) {
  for (const bool transpose_a : {false, true})
    for (const bool transpose_b : {false, true})
      for (const auto& [in, out] : {std::pair{CUDA_R_16BF, CUDA_R_16BF}, std::pair{CUDA_R_16BF, CUDA_R_32F},
                                    std::pair{CUDA_R_32F, CUDA_R_32F}})
        for (const std::int64_t batch_count : {1, 3})
          for (const bool in_place : {false, true}) {
            SCOPED_TRACE(testing::Message()
                         << transpose_a << transpose_b << in << out << batch_count << in_place);
            Case c{.in = in,
                   .out = out,
                   .transpose_a = transpose_a,
                   .transpose_b = transpose_b,
                   .batch_count = batch_count,
                   .padding = 8,
                   .alpha = 0.5f,
                   .beta = 2,
                   .in_place = in_place};
            check(c);
          }
}

TEST_F(CublasLt, EverySize) {
  for (const std::int64_t m : {1, 31, 33, 300})
    for (const std::int64_t n : {1, 7, 9, 70})
      for (const std::int64_t k : {1, 5, 257}) {
        SCOPED_TRACE(testing::Message() << m << " x " << n << " x " << k);
        check({.m = m, .n = n, .k = k, .in = CUDA_R_32F, .out = CUDA_R_32F});
      }
}

TEST_F(CublasLt, EveryEpilogue) {
  for (const auto epilogue :
       {CUBLASLT_EPILOGUE_RELU, CUBLASLT_EPILOGUE_RELU_AUX, CUBLASLT_EPILOGUE_BIAS,
        CUBLASLT_EPILOGUE_RELU_BIAS, CUBLASLT_EPILOGUE_RELU_AUX_BIAS, CUBLASLT_EPILOGUE_GELU,
        CUBLASLT_EPILOGUE_GELU_AUX, CUBLASLT_EPILOGUE_GELU_BIAS, CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
        CUBLASLT_EPILOGUE_DGELU, CUBLASLT_EPILOGUE_DGELU_BGRAD, CUBLASLT_EPILOGUE_BGRADA,
        CUBLASLT_EPILOGUE_BGRADB})
    for (const bool transpose : {false, true})
      for (const auto out : {CUDA_R_16BF, CUDA_R_32F})
        for (const std::int64_t batch_count : {1, 2}) {
          SCOPED_TRACE(testing::Message()
                       << epilogue << " " << transpose << " " << out << " " << batch_count);
          check({.out = out,
                 .transpose_a = transpose,
                 .transpose_b = !transpose,
                 .batch_count = batch_count,
                 .epilogue = epilogue});
        }
}

TEST_F(CublasLt, OperandsAreReadWhenTheStreamRuns) {
  TestMatrix a = make_matrix(CUDA_R_32F, 4, 4), b = make_matrix(CUDA_R_32F, 4, 4),
             d = make_matrix(CUDA_R_32F, 4, 4);
  float one = 1, zero = 0;
  EXPECT_CUDA(cudaMemsetAsync(a.data, 0, 64, stream_));
  EXPECT_EQ(cublasLtMatmul(handle_, make_desc({}), &one, a.data, a.layout, b.data, b.layout, &zero, d.data,
                           d.layout, d.data, d.layout, nullptr, nullptr, 0, stream_),
            CUBLAS_STATUS_SUCCESS);
  one = zero = 5;  // read at the call
  EXPECT_CUDA(cudaStreamSynchronize(stream_));
  EXPECT_EQ(download(d.data, CUDA_R_32F, 16), std::vector<double>(16, 0.0));
}

TEST_F(CublasLt, AlgorithmsDifferInWorkspaceOnly) {
  TestMatrix a = make_matrix(CUDA_R_16BF, 8, 16), b = make_matrix(CUDA_R_16BF, 16, 8),
             d = make_matrix(CUDA_R_16BF, 8, 8);
  const auto desc = make_desc({});
  const auto heuristic = [&](cublasLtMatmulHeuristicResult_t(&results)[8]) {
    int count = 0;
    EXPECT_EQ(cublasLtMatmulAlgoGetHeuristic(handle_, desc, a.layout, b.layout, d.layout, d.layout,
                                             preference_, 8, results, &count),
              CUBLAS_STATUS_SUCCESS);
    return count;
  };
  cublasLtMatmulHeuristicResult_t results[8];
  EXPECT_EQ(heuristic(results), 2);  // no workspace allowed
  const std::uint64_t workspace_limit = 1 << 20;
  cublasLtMatmulPreferenceSetAttribute(preference_, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                       &workspace_limit, sizeof workspace_limit);
  ASSERT_EQ(heuristic(results), 3);
  const std::size_t needed = results[1].workspaceSize;
  EXPECT_GT(needed, 0u);

  void* workspace = device_memory<std::byte>(needed);
  const float one = 1, zero = 0;
  const auto multiply_with = [&](const cublasLtMatmulAlgo_t& algo, std::size_t bytes,
                                 const TestMatrix& left) {
    return cublasLtMatmul(handle_, desc, &one, left.data, left.layout, b.data, b.layout, &zero, d.data,
                          d.layout, d.data, d.layout, &algo, workspace, bytes, stream_);
  };
  std::vector<std::vector<double>> products;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(multiply_with(results[i].algo, needed, a), CUBLAS_STATUS_SUCCESS);
    EXPECT_CUDA(cudaStreamSynchronize(stream_));
    products.push_back(download(d.data, CUDA_R_16BF, 64));
  }
  EXPECT_EQ(products[0], products[1]);
  EXPECT_EQ(products[0], products[2]);
  EXPECT_EQ(multiply_with(results[1].algo, needed - 1, a), CUBLAS_STATUS_INVALID_VALUE);
  // An algorithm for another problem.
  EXPECT_EQ(multiply_with(results[0].algo, needed, make_matrix(CUDA_R_16BF, 8, 16, 8)),
            CUBLAS_STATUS_INVALID_VALUE);

  const std::uint32_t mask = CUBLASLT_REDUCTION_SCHEME_INPLACE;
  cublasLtMatmulPreferenceSetAttribute(preference_, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &mask,
                                       sizeof mask);
  EXPECT_EQ(heuristic(results), 2);
}

TEST_F(CublasLt, WhatIsRefused) {
  const float one = 1, zero = 0;
  TestMatrix b = make_matrix(CUDA_R_16BF, 16, 8), d = make_matrix(CUDA_R_16BF, 8, 8);
  TestMatrix a = make_matrix(CUDA_R_16BF, 8, 16);
  const auto run = [&](const TestMatrix& a, const TestMatrix& b, const TestMatrix& d,
                       cublasLtMatmulDesc_t desc, std::ptrdiff_t shift = 0) {
    return cublasLtMatmul(handle_, desc, &one, static_cast<std::byte*>(a.data) + shift, a.layout, b.data,
                          b.layout, &zero, d.data, d.layout, d.data, d.layout, nullptr, nullptr, 0, stream_);
  };
  EXPECT_EQ(run(a, b, d, make_desc({})), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(run(a, b, d, make_desc({}), 8), CUBLAS_STATUS_NOT_SUPPORTED);  // 8 bytes off
  EXPECT_EQ(run(make_matrix(CUDA_R_16BF, 8, 16, 4), b, d, make_desc({})), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(run(make_matrix(CUDA_R_32F, 8, 16), b, d, make_desc({})), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(run(make_matrix(CUDA_R_16BF, 8, 24), b, d, make_desc({})), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(run(a, b, make_matrix(CUDA_R_16BF, 16, 8), make_desc({})), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(run(a, b, d, make_desc({.transpose_a = true})), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(run(a, b, d, make_desc({.epilogue = CUBLASLT_EPILOGUE_BIAS})), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(run(a, b, d, make_desc({.epilogue = static_cast<cublasLtEpilogue_t>(96)})),
            CUBLAS_STATUS_NOT_SUPPORTED);
  const auto with_aux = make_desc({.epilogue = CUBLASLT_EPILOGUE_GELU_AUX});
  EXPECT_EQ(run(a, b, d, with_aux), CUBLAS_STATUS_INVALID_VALUE);
  set(with_aux, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, make_matrix(CUDA_R_16BF, 12, 8).data);
  set(with_aux, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, std::int64_t{12});
  EXPECT_EQ(run(a, b, d, with_aux), CUBLAS_STATUS_INVALID_VALUE);
  set(with_aux, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, std::int64_t{8});
  EXPECT_EQ(run(a, b, d, with_aux), CUBLAS_STATUS_SUCCESS);
  const auto float_bias = make_desc({.epilogue = CUBLASLT_EPILOGUE_BIAS});
  set(float_bias, CUBLASLT_MATMUL_DESC_BIAS_POINTER, d.data);
  set(float_bias, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, std::int32_t{CUDA_R_32F});
  EXPECT_EQ(run(a, b, d, float_bias), CUBLAS_STATUS_NOT_SUPPORTED);
  const int wrong_size = 0;
  EXPECT_EQ(cublasLtMatmulDescSetAttribute(float_bias, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &wrong_size, 4),
            CUBLAS_STATUS_INVALID_VALUE);
}

TEST_F(CublasLt, MatricesMustFitTheirMemory) {
  const float one = 1, zero = 0;
  TestMatrix a = make_matrix(CUDA_R_32F, 8, 8), large = make_matrix(CUDA_R_32F, 8, 9);
  EXPECT_EQ(cublasLtMatmul(handle_, make_desc({}), &one, a.data, a.layout, a.data, large.layout, &zero,
                           large.data, large.layout, large.data, large.layout, nullptr, nullptr, 0, stream_),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_CUDA_ERROR(cudaErrorLaunchFailure, cudaStreamSynchronize(stream_));
  EXPECT_NE(last_fault().find("B (8 x 9, leading dimension 8)"), std::string::npos) << last_fault();
}

}  // namespace
}  // namespace heddle::emulator
