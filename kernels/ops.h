// The one list of operations on one device. A backend implements all of them (kernels/cpu, kernels/cuda), one file
// per family under the same name; kernels/reference defines each in plain fp64 loops for the tests; kernels/plan
// counts instead of computing.
//
// Rules that hold for every operation:
//   - Calls are queued on the device's compute stream and return at once.
//   - Outputs are written completely unless "+=" says that they are added to. Inputs and outputs do not overlap
//     unless "in place" is stated.
//   - "act" is the activation type of the run, f32 or bf16; all activations of one call have the same type.
//     Arithmetic, statistics, reductions and gradients of parameters are f32 whatever act is.
//   - Tensors are contiguous unless a stride is named. N is the number of rows (tokens), C a width.
//   - Results do not depend on the number of threads from run to run: same inputs, same threads, same bits.
//   - Shapes are checked; a shape that an implementation does not take throws Error naming operation and shape.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/tensor.h"

namespace heddle {

enum class Activation {
  none,
  relu,       // max(x, 0)
  gelu_tanh,  // GPT-2's "gelu_new": 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
  gelu_erf,   // BERT's "gelu": 0.5 x (1 + erf(x / sqrt 2))
  silu,       // x / (1 + exp(-x))
};

const char* name_of(Activation activation);

// Whether what a backward adds to a product (Matmul::activation_backward, a_sums, b_sums) is computed in the product's
// own pass over memory. In one pass, the derivative meets sums that are not yet rounded to c's type.
enum class Passes : std::uint8_t {
  automatic,  // apart; where the backend times its products (CudaOps::set_autotune), whichever is faster
  apart,
  one,        // where the backend has such a product: for tests and benchmarks
};

// c[M, N] = activation(op(a)[M, K] op(b)[K, N] + bias[N]), or c += op(a) op(b).
// a, b: act, rows may be strided (stride(0) >= width). c: act or f32. op transposes the last two dimensions.
struct Matmul {
  Tensor a;                      // [M, K], or [K, M] if transpose_a
  Tensor b;                      // [K, N], or [N, K] if transpose_b
  Tensor c;                      // [M, N]
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;       // c += ...; without bias or activation; c is f32
  Tensor bias;                   // optional [N], act
  Activation activation = Activation::none;
  Tensor pre_activation;         // optional [M, N], act: op(a) op(b) + bias is kept here for the backward
  // Backward of the activation: c = op(a) op(b) * derivative of activation at pre_activation, which is read. c is act;
  // without bias.
  bool activation_backward = false;
  // Backward of a bias, from the operand that is the gradient of a layer's output: optional f32, += its sums over K.
  // One of the two, the operand contiguous.
  Tensor a_sums;                 // [M], of a, which is transposed
  Tensor b_sums;                 // [N], of b, which is not
  Passes passes = Passes::automatic;
  bool b_is_parameter = false;   // b changes only with Ops::parameters_changed(): a backend may keep it packed
  bool row_invariant = false;    // every row of c has the same bits whatever M is (generation with a cache)
};

// Dropout without a stored mask: element e of sample s is kept or not by a pure function of (key, step, s, e), so
// the backward, a recomputation, another layout or another device sees the same mask.
//   counter = (low 32 bits of e / 4, high 32 bits of e / 4, sample, *step); the e % 4-th word w of
//   philox(key, counter) keeps the element if w >= floor(probability * 2^32); kept values are divided by
//   (1 - probability).
struct Dropout {
  float probability = 0;              // 0: no dropout, the other fields are not read
  std::uint64_t key = 0;              // philox_key(seed, "dropout/<layer name>")
  const std::uint32_t* step = nullptr;  // device memory
  std::uint32_t first_sample = 0;     // number within the global batch of the first sample of this tensor
  // Ops::dropout alone: the tensor [..., C] holds columns [first_column, first_column + C) of rows that have `columns`
  // (tensor parallelism splits a width), and e counts in whole rows. 0: it holds all of them.
  std::int64_t columns = 0, first_column = 0;
};

// bias_dropout_residual and the norm behind it in one pass over memory, with the same bits as the two.
struct ResidualNorm {
  Tensor x, bias, residual;       // act [B, T, C], [C] or none, [B, T, C]
  Dropout dropout;
  Tensor out;                     // act [B, T, C] = residual + dropout(x + bias); may be residual or x
  bool rms = false;               // RMS norm instead of layer norm: there is no norm_bias and no mean
  Tensor norm_weight, norm_bias;  // act [C]; norm_bias may be none
  float epsilon = 1e-5f;
  Tensor y;                       // act [B, T, C] = norm(out)
  Tensor mean, rstd;              // f32 [B T], none to skip
};

// Rotary position embedding, in place. Su et al. 2021, eq. 34, with the pairs of Hugging Face's "rotate_half": element
// i of a head turns with element i + rotary_size / 2 (the paper's turns with its neighbour), for i < rotary_size / 2,
// by the angle position * base^(-2 i / rotary_size). The backward is the same with `inverse`.
struct Rope {
  Tensor x;                      // act [B, T, H, D]; dimensions 0, 1 and 2 may have any stride
  Tensor positions;              // i32 [B T], below 2^24 in size
  std::int64_t rotary_size = 0;  // even, 2 to 256, at most D; the rest of a head stays
  float base = 10000;
  bool inverse = false;          // turn back, by the negative angles
};

// Softmax attention, fused: memory grows with T, never T x T. Vaswani et al. 2017, eq. 1; Dao et al. 2022.
//   o = dropout(softmax(scale q k^T + mask)) v per batch entry b and head h; head h reads key/value head
//   h / (num_heads / num_kv_heads).
// q, o, dq, do: act [B, Tq, H, D]; k, v, dk, dv: act [B, Tk, Hkv, D]. Dimensions 0, 1 and 2 may have any stride
// (a packed [B, T, 3, H, D] projection is read in place); the last is contiguous. D: 1 to 256.
struct Attention {
  Tensor q, k, v;
  Tensor o;
  Tensor log_sum_exp;                     // f32 [B, H, Tq]: ln sum exp of the scaled, masked scores
  float scale = 1;                        // usually 1 / sqrt(D)
  bool causal = false;                    // query i sees keys j <= i + Tk - Tq (the last query sees all keys)
  const std::int32_t* key_lengths = nullptr;  // device, [B]: keys at and past it are masked; null: Tk
  // Dropout of the probabilities: sample = first_sample + b, element = ((first_head + h) Tq + i) Tk + j.
  Dropout dropout;
  std::int32_t first_head = 0;            // global number of head 0 (tensor parallelism splits heads)
  // A row that sees no key gives o = 0, log_sum_exp = -inf and no gradient.
};

struct AttentionGradients {
  Tensor d_o;
  Tensor dq, dk, dv;                      // written, not added to
  Tensor scratch;                         // f32 [attention_backward_scratch()]
};

// Per row of logits: what the loss needs, mergeable across slices of the vocabulary.
//   [N, 4] f32: max, sum exp(logit - max), logit of the target (0 if it lies outside the slice), sum of logits
constexpr int kCrossEntropyStatistics = 4;

struct CrossEntropy {
  Tensor logits;                    // act or f32 [N, Vlocal], rows may be strided; columns [0, valid) count
  Tensor targets;                   // i32 [N]; ids in [0, vocabulary); negative: the row is ignored
  std::int64_t first_column = 0;    // global id of column 0
  std::int64_t valid_columns = 0;   // columns from here to Vlocal are padding: never counted, gradient 0
  std::int64_t vocabulary = 0;      // global, for label smoothing
  float label_smoothing = 0;        // loss = (1-s) nll + s mean over the vocabulary of -log p
};

// Hyper-parameters that change each step live in device memory, so that a captured step is not frozen.
struct AdamWStep {
  float learning_rate;
  float bias_correction1;  // 1 - beta1^t
  float bias_correction2;  // 1 - beta2^t
  float gradient_scale;    // clipping: written by clip_scale
  std::uint32_t skip;      // not 0: the update changes nothing; written by clip_scale
  std::uint32_t update = 0;  // its number, from 1: what stochastic rounding draws from
};

// Ranges [begin, end) of elements of a flat buffer, ascending and apart. Null: one range, everything.
struct Spans {
  const std::int64_t* bounds = nullptr;  // device memory, [count, 2], multiples of kSpanAlignment
  std::int32_t count = 0;
};
constexpr std::int64_t kSpanAlignment = 64;

// Loshchilov & Hutter 2019, decoupled decay; g = gradient * step->gradient_scale:
//   m = beta1 m + (1-beta1) g;  v = beta2 v + (1-beta2) g^2
//   p = p - lr (m / bias_correction1 / (sqrt(v / bias_correction2) + epsilon) + weight_decay p)
// One call updates all parameters of a flat buffer; the padding between them has gradient 0 and stays 0.
struct AdamW {
  Tensor parameter;   // f32 master [n], in place
  Tensor gradient;    // f32 [n]
  Tensor moment1, moment2;  // f32 [n], in place
  Tensor compute_copy;      // optional bf16 [n]: receives the rounded parameter
  const AdamWStep* step = nullptr;  // device memory
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f, weight_decay = 0;
  Spans decayed{};                  // where weight_decay applies; elsewhere it is 0
};

// A parameter in a flat buffer, which may be a shard of a global one: its element e is number
// first + e / run * stride + e % run there.
struct GlobalPlace {
  std::int64_t begin;   // of the parameter in the flat buffer; it ends at the next one's
  std::int64_t run;     // elements that are neighbours in both, at least 1
  std::int64_t stride;  // from run to run in the global parameter
  std::int64_t first;   // number of element 0
  std::uint64_t key;    // philox_key(seed, "rounding/<parameter name>")
};

// Each element becomes one of the two bf16 beside it, with probabilities that make the mean of many roundings the
// element itself. Which one is a pure function of (key, step->update, number e in the global parameter), so another
// layout, another device or a resumed run finds the same:
//   r = half word e % 8 (the lower half of a word first) of
//       philox(key, (low 32 bits of e / 8, high 32 bits of e / 8, 0, step->update));
//   the result is the upper half of (the bits of the f32) + r.
// What bf16 holds exactly stays, 0 (padding) and infinity among it; what is finite stays finite; NaN stays NaN.
struct StochasticRounding {
  Tensor from;                          // f32 [n]
  Tensor to;                            // bf16 [n]
  const GlobalPlace* places = nullptr;  // device memory, [place_count], ascending from begin = 0
  std::int32_t place_count = 0;
  const AdamWStep* step = nullptr;      // device memory; reads update and skip
};

class Ops {
 public:
  virtual ~Ops() = default;

  // --- matmul ---
  virtual void matmul(const Matmul& m) = 0;
  // Bytes of working memory that such a product takes beside its operands; the data pointers do not matter. Products
  // share one piece of it, so the largest counts.
  virtual std::size_t matmul_workspace(const Matmul& m) = 0;
  // The parameters' memory has new contents: packed copies are stale.
  virtual void parameters_changed() = 0;
  // dbias[C] f32 += sum over rows of dy[N, C].
  virtual void bias_gradient(const Tensor& dy, const Tensor& dbias) = 0;

  // --- activation: elementwise over act [N, C]; y may be x, dx may be dy ---
  virtual void activation_forward(Activation kind, const Tensor& x, const Tensor& y) = 0;
  virtual void activation_backward(Activation kind, const Tensor& x, const Tensor& dy, const Tensor& dx) = 0;
  // Gated (SwiGLU for silu): x [N, 2C] = gate | up; y [N, C] = activation(gate) * up.
  virtual void gated_forward(Activation kind, const Tensor& x, const Tensor& y) = 0;
  virtual void gated_backward(Activation kind, const Tensor& x, const Tensor& dy, const Tensor& dx) = 0;

  // --- elementwise ---
  virtual void fill(const Tensor& x, float value) = 0;                         // f32 or bf16, contiguous
  virtual void copy(const Tensor& from, const Tensor& to) = 0;                 // same shape, casts; any strides
  virtual void add(const Tensor& a, const Tensor& b, const Tensor& out) = 0;   // out may be a or b
  // out = x * factor; out may be x.
  virtual void scale(const Tensor& x, float factor, const Tensor& out) = 0;

  // --- dropout: x, y act [B, ...], sample b is dimension 0, element counts within a sample; y may be x ---
  virtual void dropout(const Tensor& x, const Dropout& dropout, const Tensor& y) = 0;  // also its own backward
  // out = residual + dropout(x + bias); x, residual, out act [B, T, C], bias act [C] or none; out may be residual
  // or x.
  virtual void bias_dropout_residual(const Tensor& x, const Tensor& bias, const Tensor& residual,
                                     const Dropout& dropout, const Tensor& out) = 0;
  // dx = dropout mask applied to dout; dbias f32 [C] += sum over rows of dx (if given). dx may be dout. The
  // residual's gradient is dout itself.
  virtual void bias_dropout_residual_backward(const Tensor& dout, const Dropout& dropout, const Tensor& dx,
                                              const Tensor& dbias) = 0;

  // --- norm: x, y act [N, C]; weight, bias act [C]; mean, rstd f32 [N] (null to skip); variance in two passes ---
  virtual void layer_norm_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon,
                                  const Tensor& y, const Tensor& mean, const Tensor& rstd) = 0;
  // dx = gradient of x, added to dx if `accumulate` (the residual path); dweight, dbias f32 [C] +=. A null bias
  // (or dbias) means the layer has none. dx may be dy if not accumulating.
  virtual void layer_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                                   const Tensor& rstd, bool accumulate, const Tensor& dx, const Tensor& dweight,
                                   const Tensor& dbias) = 0;
  // y = x rstd weight, rstd = 1 / sqrt(mean(x^2) + epsilon). Zhang & Sennrich 2019.
  virtual void rms_norm_forward(const Tensor& x, const Tensor& weight, float epsilon, const Tensor& y,
                                const Tensor& rstd) = 0;
  virtual void rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& rstd,
                                 bool accumulate, const Tensor& dx, const Tensor& dweight) = 0;

  virtual void residual_norm_forward(const ResidualNorm& r) = 0;

  // --- rope ---
  virtual void rope(const Rope& r) = 0;

  // --- embedding: ids i32 [N]; table act [R, C] holds the global rows [first_row, first_row + R) ---
  // out [N, C] = row of the table, 0 for ids outside of it; added to out if `accumulate`.
  virtual void embedding_forward(const Tensor& ids, const Tensor& table, std::int64_t first_row, bool accumulate,
                                 const Tensor& out) = 0;
  // dtable f32 [R, C] += rows of dout, duplicates added in the order of N.
  virtual void embedding_backward(const Tensor& ids, const Tensor& dout, std::int64_t first_row,
                                  const Tensor& dtable) = 0;

  // --- attention ---
  virtual void attention_forward(const Attention& a) = 0;
  virtual void attention_backward(const Attention& a, const AttentionGradients& g) = 0;
  // Elements of AttentionGradients::scratch for these shapes.
  virtual std::int64_t attention_backward_scratch(std::int64_t batch, std::int64_t query_length,
                                                  std::int64_t key_length, std::int64_t num_heads,
                                                  std::int64_t head_size) = 0;

  // --- cross entropy: statistics of each slice, merged across slices, then loss and gradient ---
  // statistics [N, 4] of this slice: all 0 for an ignored row; -inf, 0, 0, 0 for a slice without valid columns.
  virtual void cross_entropy_statistics(const CrossEntropy& c, const Tensor& statistics) = 0;
  // all [S, N, 4] from S slices in order -> loss and log_sum_exp f32 [N], both 0 for ignored
  // rows. Reads targets, vocabulary and label_smoothing of c.
  virtual void cross_entropy_merge(const CrossEntropy& c, const Tensor& all, const Tensor& loss,
                                   const Tensor& log_sum_exp) = 0;
  // In place: logits become (softmax - target distribution) * *scale, 0 for ignored rows and padding columns.
  // scale: device f32, usually 1 / (valid tokens of the global batch).
  virtual void cross_entropy_backward(const CrossEntropy& c, const Tensor& log_sum_exp, const float* scale) = 0;

  // --- optimizer, over flat buffers ---
  virtual void adamw(const AdamW& a) = 0;
  virtual void round_stochastically(const StochasticRounding& r) = 0;
  // *sum (device f64) += sum of squares of x (f32 [n]) within the spans, in a fixed order.
  virtual void squared_norm(const Tensor& x, const Spans& spans, double* sum) = 0;
  // step->gradient_scale = min(1, max_norm / norm), norm = sqrt(*sum); 1 if max_norm <= 0 or norm is not finite.
  // *stopped (device) becomes 1 where *sum or *loss is not finite, and stays 1; step->skip = *stopped: a run that has
  // gone wrong changes no parameter any more, and the host may learn of it steps later.
  virtual void clip_scale(const double* sum, const double* loss, float max_norm, AdamWStep* step,
                          std::uint32_t* stopped) = 0;
  // *total (device f64) += sum of x (f32 [n]): losses of a micro-batch.
  virtual void sum(const Tensor& x, double* total) = 0;
};

}  // namespace heddle
