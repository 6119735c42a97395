#include "trainer/commands/kernel_cases.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace heddle {

// --- operands ---

Tensor Operands::add(DType dtype, Shape shape) {
  const auto bytes = static_cast<std::size_t>(shape.count()) * size_of(dtype);
  memory_.push_back(device_.allocate(bytes));
  bytes_ += bytes;
  return Tensor(memory_.back().data(), dtype, shape);
}

void Operands::upload(const Tensor& tensor, const void* values) {
  device_.copy_to_device(device_.compute_stream(), tensor, values);
  device_.compute_stream().synchronize();
}

namespace {

template <typename T>
std::vector<T> repeated(const std::vector<T>& block, std::size_t count) {
  std::vector<T> values;
  values.reserve(count);
  while (values.size() < count) {
    const auto part = static_cast<std::ptrdiff_t>(std::min(block.size(), count - values.size()));
    values.insert(values.end(), block.begin(), block.begin() + part);
  }
  return values;
}

}  // namespace

Tensor Operands::random(DType dtype, Shape shape) {
  const Tensor tensor = add(dtype, shape);
  if (device_.kind() == DeviceKind::plan) return tensor;
  // A block of values whose length divides no dimension, over and over.
  constexpr std::size_t kBlock = 999983;
  const auto count = static_cast<std::size_t>(tensor.count());
  std::vector<float> block(std::min(kBlock, count));
  std::minstd_rand engine(++draws_);
  for (float& value : block) value = static_cast<float>(engine()) * (2.0f / 2147483647.0f) - 1.0f;
  if (dtype == DType::f32) {
    upload(tensor, repeated(block, count).data());
  } else {
    std::vector<bfloat16> rounded(block.size());
    std::transform(block.begin(), block.end(), rounded.begin(), [](float v) { return bfloat16(v); });
    upload(tensor, repeated(rounded, count).data());
  }
  return tensor;
}

Tensor Operands::zeros(DType dtype, Shape shape) { return add(dtype, shape); }

Tensor Operands::ids(std::int64_t count, std::int64_t limit) {
  const Tensor tensor = add(DType::i32, {count});
  std::vector<std::int32_t> values(static_cast<std::size_t>(count));
  std::minstd_rand engine(++draws_);
  for (std::int32_t& value : values)
    value = static_cast<std::int32_t>(static_cast<std::int64_t>(engine()) % limit);
  upload(tensor, values.data());
  return tensor;
}

namespace {

using Call = std::function<void(Ops&)>;

constexpr std::int64_t kVocabulary = 50304;  // GPT-2's, rounded up
constexpr std::int64_t kSequence = 1024;
constexpr float kEpsilon = 1e-5f;

class CaseList {
 public:
  CaseList(std::int64_t rows, std::int64_t width, DType act, DeviceKind kind)
      : rows_(rows), width_(width), act_(act), kind_(kind) {}

  std::vector<KernelCase> take() {
    matmul();
    attention();
    norm();
    rope();
    activation();
    dropout();
    elementwise();
    embedding();
    cross_entropy();
    optimizer();
    return std::move(cases_);
  }

 private:
  void add(const char* family, std::string name, std::string shape, std::function<Call(Operands&)> prepare) {
    cases_.push_back({family, std::move(name), std::move(shape), std::move(prepare)});
  }
  std::string rows_by(std::int64_t width) const { return fmt::format("{} x {}", rows_, width); }

  // The three products of a linear layer [C, F]: forward, gradient of the input, gradient of the weight.
  void linear(const char* name, std::int64_t in, std::int64_t out) {
    const std::int64_t N = rows_;
    const DType act = act_;
    const std::string shape = fmt::format("{} x {} x {}", N, in, out);
    add("matmul", fmt::format("{} forward", name), shape, [=](Operands& o) -> Call {
      Matmul m;
      m.a = o.random(act, {N, in}), m.b = o.random(act, {in, out}), m.c = o.zeros(act, {N, out});
      m.bias = o.random(act, {out});
      m.b_is_parameter = true;
      return [m](Ops& ops) { ops.matmul(m); };
    });
    add("matmul", fmt::format("{} d input", name), shape, [=](Operands& o) -> Call {
      Matmul m;
      m.a = o.random(act, {N, out}), m.b = o.random(act, {in, out}), m.c = o.zeros(act, {N, in});
      m.transpose_b = m.b_is_parameter = true;
      return [m](Ops& ops) { ops.matmul(m); };
    });
    add("matmul", fmt::format("{} d weight", name), shape, [=](Operands& o) -> Call {
      Matmul m;
      m.a = o.random(act, {N, in}), m.b = o.random(act, {N, out}), m.c = o.zeros(DType::f32, {in, out});
      m.transpose_a = m.accumulate = true;
      return [m](Ops& ops) { ops.matmul(m); };
    });
  }

  void matmul() {
    linear("qkv", width_, 3 * width_);
    linear("ffn", width_, 4 * width_);
    const std::int64_t N = rows_, C = width_;
    const DType act = act_;
    if (kind_ == DeviceKind::cuda && act_ == DType::bf16) backward_passes();
    add("matmul", "bias_gradient", rows_by(4 * C), [=](Operands& o) -> Call {
      const Tensor dy = o.random(act, {N, 4 * C}), dbias = o.zeros(DType::f32, {4 * C});
      return [=](Ops& ops) { ops.bias_gradient(dy, dbias); };
    });
  }

  // What a backward adds to a product, in the product's pass (which cuBLASLt has in bf16) and apart.
  void backward_passes() {
    const std::int64_t N = rows_, C = width_;
    const DType act = act_;
    for (const Passes passes : {Passes::one, Passes::apart}) {
      const char* const how = passes == Passes::one ? "one pass" : "apart";
      add("matmul", fmt::format("ffn d input, d gelu, {}", how), fmt::format("{} x {} x {}", N, 4 * C, C),
          [=](Operands& o) -> Call {
            Matmul m;
            m.a = o.random(act, {N, C}), m.b = o.random(act, {4 * C, C}), m.c = o.zeros(act, {N, 4 * C});
            m.transpose_b = m.b_is_parameter = m.activation_backward = true;
            m.activation = Activation::gelu_tanh;
            m.pre_activation = o.random(act, {N, 4 * C});
            m.passes = passes;
            return [m](Ops& ops) { ops.matmul(m); };
          });
      add("matmul", fmt::format("ffn d weight, d bias, {}", how), fmt::format("{} x {} x {}", N, C, 4 * C),
          [=](Operands& o) -> Call {
            Matmul m;
            m.a = o.random(act, {N, C}), m.b = o.random(act, {N, 4 * C}), m.c = o.zeros(DType::f32, {C, 4 * C});
            m.transpose_a = m.accumulate = true;
            m.b_sums = o.zeros(DType::f32, {4 * C});
            m.passes = passes;
            return [m](Ops& ops) { ops.matmul(m); };
          });
    }
  }

  void attention() {
    for (const std::int64_t head_size : {64, 128}) {
      const std::int64_t T = std::min(kSequence, rows_), B = std::max<std::int64_t>(1, rows_ / T),
                         H = std::max<std::int64_t>(1, width_ / head_size);
      const DType act = act_;
      const std::string shape = fmt::format("{} x {} x {} x {}", B, T, H, head_size);
      const auto operands = [=](Operands& o) {
        const Tensor qkv = o.random(act, {B, T, 3, H, head_size});
        const auto part = [&](std::int64_t i) {
          Tensor t(static_cast<char*>(qkv.data) + i * H * head_size * static_cast<std::int64_t>(size_of(act)), act,
                   {B, T, H, head_size});
          t.stride[1] = 3 * H * head_size;
          t.stride[0] = T * t.stride[1];
          return t;
        };
        Attention a;
        a.q = part(0), a.k = part(1), a.v = part(2);
        a.o = o.zeros(act, {B, T, H, head_size});
        a.log_sum_exp = o.zeros(DType::f32, {B, H, T});
        a.scale = 1.0f / std::sqrt(static_cast<float>(head_size));
        a.causal = true;
        return a;
      };
      add("attention", "attention_forward causal", shape, [=](Operands& o) -> Call {
        const Attention a = operands(o);
        return [a](Ops& ops) { ops.attention_forward(a); };
      });
      add("attention", "attention_backward causal", shape, [=](Operands& o) -> Call {
        const Attention a = operands(o);
        AttentionGradients g;
        g.d_o = o.random(act, a.o.shape);
        g.dq = o.zeros(act, a.o.shape), g.dk = o.zeros(act, a.o.shape), g.dv = o.zeros(act, a.o.shape);
        g.scratch = o.zeros(DType::f32, {o.device().ops().attention_backward_scratch(B, T, T, H, head_size)});
        o.device().ops().attention_forward(a);
        return [=](Ops& ops) { ops.attention_backward(a, g); };
      });
    }
  }

  void norm() {
    const std::int64_t N = rows_, C = width_;
    const DType act = act_;
    add("norm", "layer_norm_forward", rows_by(C), [=](Operands& o) -> Call {
      const Tensor x = o.random(act, {N, C}), weight = o.random(act, {C}), bias = o.random(act, {C});
      const Tensor y = o.zeros(act, {N, C}), mean = o.zeros(DType::f32, {N}), rstd = o.zeros(DType::f32, {N});
      return [=](Ops& ops) { ops.layer_norm_forward(x, weight, bias, kEpsilon, y, mean, rstd); };
    });
    add("norm", "layer_norm_backward", rows_by(C), [=](Operands& o) -> Call {
      const Tensor dy = o.random(act, {N, C}), x = o.random(act, {N, C}), weight = o.random(act, {C});
      const Tensor mean = o.zeros(DType::f32, {N}), rstd = o.random(DType::f32, {N}), dx = o.zeros(act, {N, C});
      const Tensor dweight = o.zeros(DType::f32, {C}), dbias = o.zeros(DType::f32, {C});
      return [=](Ops& ops) {
        ops.layer_norm_backward(dy, x, weight, mean, rstd, /*accumulate=*/true, dx, dweight, dbias);
      };
    });
    add("norm", "rms_norm_forward", rows_by(C), [=](Operands& o) -> Call {
      const Tensor x = o.random(act, {N, C}), weight = o.random(act, {C});
      const Tensor y = o.zeros(act, {N, C}), rstd = o.zeros(DType::f32, {N});
      return [=](Ops& ops) { ops.rms_norm_forward(x, weight, kEpsilon, y, rstd); };
    });
    add("norm", "rms_norm_backward", rows_by(C), [=](Operands& o) -> Call {
      const Tensor dy = o.random(act, {N, C}), x = o.random(act, {N, C}), weight = o.random(act, {C});
      const Tensor rstd = o.random(DType::f32, {N}), dx = o.zeros(act, {N, C}), dweight = o.zeros(DType::f32, {C});
      return [=](Ops& ops) { ops.rms_norm_backward(dy, x, weight, rstd, /*accumulate=*/true, dx, dweight); };
    });
    add("norm", "residual_norm_forward", rows_by(C), [=](Operands& o) -> Call {
      ResidualNorm r;
      r.x = o.random(act, {1, N, C}), r.bias = o.random(act, {C}), r.residual = o.random(act, {1, N, C});
      r.out = o.zeros(act, {1, N, C}), r.y = o.zeros(act, {1, N, C});
      r.norm_weight = o.random(act, {C}), r.norm_bias = o.random(act, {C});
      r.mean = o.zeros(DType::f32, {N}), r.rstd = o.zeros(DType::f32, {N});
      return [=](Ops& ops) { ops.residual_norm_forward(r); };
    });
  }

  // All heads of a packed projection but those of the values.
  void rope() {
    const std::int64_t N = rows_, D = 64, H = width_ / D;
    if (H == 0) return;
    const DType act = act_;
    add("rope", "queries and keys", fmt::format("{} x 2 x {} x {}", N, H, D), [=](Operands& o) -> Call {
      const Tensor packed = o.random(act, {1, N, 3 * H, D});
      const Rope r{packed.slice(2, 0, 2 * H), o.ids(N, kSequence), D};
      return [=](Ops& ops) { ops.rope(r); };
    });
  }

  void activation() {
    const std::int64_t N = rows_, F = 4 * width_;
    const DType act = act_;
    for (const Activation kind : {Activation::gelu_tanh, Activation::gelu_erf, Activation::relu}) {
      add("activation", fmt::format("{} forward", name_of(kind)), rows_by(F), [=](Operands& o) -> Call {
        const Tensor x = o.random(act, {N, F}), y = o.zeros(act, {N, F});
        return [=](Ops& ops) { ops.activation_forward(kind, x, y); };
      });
      add("activation", fmt::format("{} backward", name_of(kind)), rows_by(F), [=](Operands& o) -> Call {
        const Tensor x = o.random(act, {N, F}), dy = o.random(act, {N, F}), dx = o.zeros(act, {N, F});
        return [=](Ops& ops) { ops.activation_backward(kind, x, dy, dx); };
      });
    }
    add("activation", "swiglu forward", rows_by(F), [=](Operands& o) -> Call {
      const Tensor x = o.random(act, {N, 2 * F}), y = o.zeros(act, {N, F});
      return [=](Ops& ops) { ops.gated_forward(Activation::silu, x, y); };
    });
    add("activation", "swiglu backward", rows_by(F), [=](Operands& o) -> Call {
      const Tensor x = o.random(act, {N, 2 * F}), dy = o.random(act, {N, F}), dx = o.zeros(act, {N, 2 * F});
      return [=](Ops& ops) { ops.gated_backward(Activation::silu, x, dy, dx); };
    });
  }

  void dropout() {
    const std::int64_t N = rows_, C = width_;
    const DType act = act_;
    for (const float probability : {0.0f, 0.1f}) {
      const std::string with = fmt::format("p = {}", probability);
      add("dropout", "bias_dropout_residual " + with, rows_by(C), [=](Operands& o) -> Call {
        const Tensor x = o.random(act, {1, N, C}), bias = o.random(act, {C}), residual = o.random(act, {1, N, C}),
                     out = o.zeros(act, {1, N, C});
        const Dropout d{probability, 1, o.scalar(std::uint32_t{3}), 0};
        return [=](Ops& ops) { ops.bias_dropout_residual(x, bias, residual, d, out); };
      });
      add("dropout", "... backward " + with, rows_by(C), [=](Operands& o) -> Call {
        const Tensor dout = o.random(act, {1, N, C}), dx = o.zeros(act, {1, N, C}), dbias = o.zeros(DType::f32, {C});
        const Dropout d{probability, 1, o.scalar(std::uint32_t{3}), 0};
        return [=](Ops& ops) { ops.bias_dropout_residual_backward(dout, d, dx, dbias); };
      });
    }
  }

  void elementwise() {
    const std::int64_t N = rows_, C = width_;
    const DType act = act_;
    add("elementwise", "add", rows_by(C), [=](Operands& o) -> Call {
      const Tensor a = o.random(act, {N, C}), b = o.random(act, {N, C}), out = o.zeros(act, {N, C});
      return [=](Ops& ops) { ops.add(a, b, out); };
    });
    add("elementwise", "copy f32 to bf16", rows_by(C), [=](Operands& o) -> Call {
      const Tensor from = o.random(DType::f32, {N, C}), to = o.zeros(DType::bf16, {N, C});
      return [=](Ops& ops) { ops.copy(from, to); };
    });
    add("elementwise", "fill f32", rows_by(C), [=](Operands& o) -> Call {
      const Tensor x = o.zeros(DType::f32, {N, C});
      return [=](Ops& ops) { ops.fill(x, 0.0f); };
    });
  }

  void embedding() {
    const std::int64_t N = rows_, C = width_;
    const DType act = act_;
    const std::string shape = fmt::format("{} of {} x {}", N, kVocabulary, C);
    add("embedding", "embedding_forward", shape, [=](Operands& o) -> Call {
      const Tensor ids = o.ids(N, kVocabulary), table = o.random(act, {kVocabulary, C}), out = o.zeros(act, {N, C});
      return [=](Ops& ops) { ops.embedding_forward(ids, table, 0, false, out); };
    });
    add("embedding", "embedding_backward", shape, [=](Operands& o) -> Call {
      const Tensor ids = o.ids(N, kVocabulary), dout = o.random(act, {N, C}),
                   dtable = o.zeros(DType::f32, {kVocabulary, C});
      return [=](Ops& ops) { ops.embedding_backward(ids, dout, 0, dtable); };
    });
  }

  void cross_entropy() {
    const std::int64_t N = std::max<std::int64_t>(rows_ / 4, 1);  // a chunk of the rows, as the head takes them
    const DType act = act_;
    const std::string shape = fmt::format("{} x {}", N, kVocabulary);
    const auto operands = [=](Operands& o) {
      CrossEntropy c;
      c.logits = o.random(act, {N, kVocabulary});
      c.targets = o.ids(N, kVocabulary);
      c.valid_columns = c.vocabulary = kVocabulary;
      return c;
    };
    add("cross_entropy", "cross_entropy_statistics", shape, [=](Operands& o) -> Call {
      const CrossEntropy c = operands(o);
      const Tensor statistics = o.zeros(DType::f32, {N, kCrossEntropyStatistics});
      return [=](Ops& ops) { ops.cross_entropy_statistics(c, statistics); };
    });
    add("cross_entropy", "cross_entropy_backward", shape, [=](Operands& o) -> Call {
      const CrossEntropy c = operands(o);
      const Tensor log_sum_exp = o.zeros(DType::f32, {N});
      o.device().ops().fill(log_sum_exp, 10.8f);
      const float* scale = o.scalar(1.0f / static_cast<float>(N));
      return [=](Ops& ops) { ops.cross_entropy_backward(c, log_sum_exp, scale); };
    });
  }

  void optimizer() {
    const std::int64_t n = 12 * width_ * width_;  // a block of the model
    const std::string shape = fmt::format("{}", n);
    const DType act = act_;
    add("optimizer", "adamw", shape, [=](Operands& o) -> Call {
      AdamW a;
      a.parameter = o.random(DType::f32, {n}), a.gradient = o.random(DType::f32, {n});
      a.moment1 = o.zeros(DType::f32, {n}), a.moment2 = o.zeros(DType::f32, {n});
      if (act == DType::bf16) a.compute_copy = o.zeros(DType::bf16, {n});
      a.weight_decay = 0.1f;
      a.step = o.scalar(AdamWStep{1e-4f, 0.1f, 0.01f, 1.0f, 0});
      return [a](Ops& ops) { ops.adamw(a); };
    });
    if (act == DType::bf16)
      add("optimizer", "round_stochastically", shape, [=](Operands& o) -> Call {
        StochasticRounding r;
        r.from = o.random(DType::f32, {n}), r.to = o.zeros(DType::bf16, {n});
        r.places = o.scalar(GlobalPlace{0, n, 0, 0, 1});
        r.place_count = 1;
        r.step = o.scalar(AdamWStep{});
        return [r](Ops& ops) { ops.round_stochastically(r); };
      });
    add("optimizer", "squared_norm", shape, [=](Operands& o) -> Call {
      const Tensor x = o.random(DType::f32, {n});
      double* const sum = o.scalar(0.0);
      return [=](Ops& ops) { ops.squared_norm(x, {}, sum); };
    });
  }

  std::int64_t rows_, width_;
  DType act_;
  DeviceKind kind_;
  std::vector<KernelCase> cases_;
};

}  // namespace

std::vector<KernelCase> kernel_cases(std::int64_t rows, std::int64_t width, DType act, DeviceKind kind) {
  return CaseList(rows, width, act, kind).take();
}

}  // namespace heddle
