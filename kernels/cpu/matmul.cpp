// The family "matmul": oneDNN's products, each in the formulation that is fastest for its shape, and for rows
// that must not depend on each other a kernel of our own (row_invariant_matmul.h).
#include <omp.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <unordered_map>
#include <vector>

#include "kernels/checks.h"
#include "kernels/cpu/column_sums.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/row_invariant_matmul.h"
#include "kernels/error.h"
#include "kernels/matmul_passes.h"

namespace heddle {

namespace {

using dnnl::memory;

// What oneDNN's primitive is made for: M, N, K, the row strides of a and b, and a word of flags.
using PlanKey = std::array<std::int64_t, 6>;

struct PlanKeyHash {
  std::size_t operator()(const PlanKey& key) const {
    std::uint64_t h = 0xcbf29ce484222325ull;  // FNV-1a over the words
    for (std::int64_t word : key) h = (h ^ static_cast<std::uint64_t>(word)) * 0x100000001b3ull;
    return h ^ (h >> 32);
  }
};

// oneDNN copies every operand block by block into the order its micro-kernel reads, again for each block of
// the other dimension. Copying a whole operand once beforehand is cheaper when it is used often enough: b is
// read for M rows, a for N columns. The copies live in scratch memory for one call: against keeping the
// weights packed this costs 1 % at 4096 rows and saves a second and a third copy (W and W^T) of all the
// weights.
struct Formulation {
  bool pack_b;        // into the layout that oneDNN asks for
  bool straighten_a;  // a transposed a into plain rows

  explicit Formulation(const Matmul& m) {
    const std::int64_t M = m.c.size(0), N = m.c.size(1), K = m.b.size(m.transpose_b ? 1 : 0);
    pack_b = M >= 768 && N >= 64 && K >= 64;
    straighten_a = m.transpose_a && N >= 1024 && M >= 64 && K >= 64;
  }
};

constexpr std::size_t kScratchAlignment = 64;

std::size_t align_up(std::size_t bytes) {
  return (bytes + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
}

// An operand that is first rewritten into scratch memory.
struct Copy {
  memory from, to;
  dnnl::reorder reorder;
  std::size_t bytes = 0;

  Copy() = default;
  Copy(const dnnl::engine& engine, const memory::desc& given, const memory::desc& wanted)
      : from(given, engine, DNNL_MEMORY_NONE),
        to(wanted, engine, DNNL_MEMORY_NONE),
        reorder(from, to),
        bytes(align_up(wanted.get_size())) {}
  explicit operator bool() const { return bytes > 0; }
};

// oneDNN compiles code for each plan, about 75 KB in half a millisecond. Batches of ever new shapes (pairs of texts)
// would ask for thousands: of so many, the half that was used longest ago is given up.
constexpr std::size_t kMostPlans = 2048;

struct Plan {
  std::uint64_t last_use = 0;
  bool supported = true;  // false: oneDNN has no such product on this processor
  dnnl::matmul product;
  memory a, b, c, bias, workspace;
  Copy copy_a, copy_b;
  std::size_t workspace_bytes = 0;
  std::unordered_map<int, memory> arguments;

  std::size_t scratch_bytes() const { return copy_a.bytes + copy_b.bytes + workspace_bytes; }
};

}  // namespace

struct CpuOps::MatmulState {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::unordered_map<PlanKey, Plan, PlanKeyHash> plans;
  std::uint64_t uses = 0;

  Plan& find_plan(const Matmul& m);
  void forget_old_plans();
  Plan make_plan(const Matmul& m);
  void execute(Plan& plan, const Matmul& m, std::byte* scratch);
};

namespace {

// The row stride that oneDNN accepts: a matrix of one row may carry any.
std::int64_t row_stride(const Tensor& t) {
  return t.size(0) > 1 ? t.stride[0] : std::max<std::int64_t>(t.size(1), 1);
}

// op(t), rows x columns, where it lies and in a layout of its own.
memory::dims dims_of(const Tensor& t, bool transpose) {
  return transpose ? memory::dims{t.size(1), t.size(0)} : memory::dims{t.size(0), t.size(1)};
}
memory::desc describe(const Tensor& t, bool transpose) {
  const std::int64_t stride = row_stride(t);
  return {dims_of(t, transpose), onednn::data_type(t.dtype),
          transpose ? memory::dims{1, stride} : memory::dims{stride, 1}};
}
memory::desc describe(const Tensor& t, bool transpose, memory::format_tag layout) {
  return {dims_of(t, transpose), onednn::data_type(t.dtype), layout};
}

}  // namespace

Plan& CpuOps::MatmulState::find_plan(const Matmul& m) {
  const std::int64_t flags = m.transpose_a | m.transpose_b << 1 | m.accumulate << 2 | (m.bias ? 1 : 0) << 3 |
                             static_cast<int>(m.a.dtype) << 4 | static_cast<int>(m.c.dtype) << 8 |
                             static_cast<int>(m.activation) << 12;
  const PlanKey key = {m.c.size(0),     m.c.size(1),     m.b.size(m.transpose_b ? 1 : 0),
                       row_stride(m.a), row_stride(m.b), flags};
  auto found = plans.find(key);
  if (found == plans.end()) {
    if (plans.size() == kMostPlans) forget_old_plans();
    found = plans.emplace(key, make_plan(m)).first;
  }
  found->second.last_use = ++uses;
  return found->second;
}

void CpuOps::MatmulState::forget_old_plans() {
  std::vector<std::uint64_t> last_uses;
  for (const auto& [key, plan] : plans) last_uses.push_back(plan.last_use);
  const auto middle = last_uses.begin() + static_cast<std::ptrdiff_t>(last_uses.size() / 2);
  std::nth_element(last_uses.begin(), middle, last_uses.end());
  std::erase_if(plans, [&](const auto& entry) { return entry.second.last_use < *middle; });
}

Plan CpuOps::MatmulState::make_plan(const Matmul& m) try {
  Plan plan;
  const Formulation formulation(m);
  const auto a_given = describe(m.a, m.transpose_a), b_given = describe(m.b, m.transpose_b);
  const auto a = formulation.straighten_a ? describe(m.a, m.transpose_a, memory::format_tag::ab) : a_given;
  const auto b = formulation.pack_b ? describe(m.b, m.transpose_b, memory::format_tag::any) : b_given;
  const auto c = describe(m.c, false);
  memory::desc bias;
  if (m.bias) bias = {{1, m.bias.size(0)}, onednn::data_type(m.bias.dtype), memory::format_tag::ab};

  dnnl::post_ops operations;
  if (m.accumulate) operations.append_sum(1.0f);
  onednn::append_activation(operations, m.activation);
  dnnl::primitive_attr attributes;
  attributes.set_post_ops(operations);
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const auto description = onednn::describe_matmul(engine, a, b, bias, c, attributes);

  plan.product = dnnl::matmul(description);
  if (formulation.straighten_a) plan.copy_a = Copy(engine, a_given, a);
  if (description.weights_desc() != b_given) plan.copy_b = Copy(engine, b_given, description.weights_desc());
  plan.workspace_bytes = align_up(description.scratchpad_desc().get_size());
  plan.a = memory(a, engine, DNNL_MEMORY_NONE);
  plan.b = memory(description.weights_desc(), engine, DNNL_MEMORY_NONE);
  plan.c = memory(c, engine, DNNL_MEMORY_NONE);
  plan.workspace = memory(description.scratchpad_desc(), engine, DNNL_MEMORY_NONE);
  plan.arguments = {{DNNL_ARG_SRC, plan.a},
                    {DNNL_ARG_WEIGHTS, plan.b},
                    {DNNL_ARG_DST, plan.c},
                    {DNNL_ARG_SCRATCHPAD, plan.workspace}};
  if (m.bias) {
    plan.bias = memory(bias, engine, DNNL_MEMORY_NONE);
    plan.arguments.emplace(DNNL_ARG_BIAS, plan.bias);
  }
  return plan;
} catch (const dnnl::error& e) {
  if (e.status != dnnl_unimplemented) throw error("matmul: oneDNN cannot prepare the product: {}", e.what());
  Plan unsupported;
  unsupported.supported = false;
  return unsupported;
}

void CpuOps::MatmulState::execute(Plan& plan, const Matmul& m, std::byte* scratch) try {
  const auto prepare = [&](Copy& copy, memory& operand, const Tensor& given) {
    if (!copy) return operand.set_data_handle(given.data);
    copy.from.set_data_handle(given.data);
    copy.to.set_data_handle(scratch);
    operand.set_data_handle(scratch);
    copy.reorder.execute(stream, copy.from, copy.to);
    scratch += copy.bytes;
  };
  prepare(plan.copy_a, plan.a, m.a);
  prepare(plan.copy_b, plan.b, m.b);
  plan.c.set_data_handle(m.c.data);
  if (m.bias) plan.bias.set_data_handle(m.bias.data);
  plan.workspace.set_data_handle(scratch);
  plan.product.execute(stream, plan.arguments);
  stream.wait();
} catch (const dnnl::error& e) {
  throw error("matmul: oneDNN failed: {}", e.what());
}

CpuOps::CpuOps(int threads) : threads_(threads), matmul_(std::make_unique<MatmulState>()) {}

CpuOps::~CpuOps() = default;

void CpuOps::matmul(const Matmul& m) {
  checks::matmul(m);
  if (has_second_pass(m)) {
    matmul(product_alone(m));
    return second_pass(*this, m);
  }
  if (m.c.count() == 0) return;
  if (m.pre_activation) {
    // The activation sees what the backward will see: the values as they were stored.
    Matmul linear = m;
    linear.c = m.pre_activation;
    linear.pre_activation = {};
    linear.activation = Activation::none;
    matmul(linear);
    if (m.activation == Activation::none || m.c.dtype != m.pre_activation.dtype) copy(m.pre_activation, m.c);
    if (m.activation != Activation::none)
      activation_forward(m.activation, m.c.dtype == m.pre_activation.dtype ? m.pre_activation : m.c, m.c);
    return;
  }
  const bool empty_sum = m.b.count() == 0;  // K = 0, which oneDNN does not take
  if (m.row_invariant || empty_sum) return cpu::row_invariant_matmul(threads_, m, scratch_);

  omp_set_num_threads(threads_);  // oneDNN uses the calling thread's team
  Plan& plan = matmul_->find_plan(m);
  if (!plan.supported) return cpu::row_invariant_matmul(threads_, m, scratch_);
  matmul_->execute(plan, m, scratch_.reserve<std::byte>(plan.scratch_bytes()));
}

std::size_t CpuOps::matmul_workspace(const Matmul& m) {
  if (m.c.count() == 0 || m.b.count() == 0 || m.row_invariant) return 0;
  Matmul product = product_alone(m);
  if (product.pre_activation) {  // as matmul() does it
    product.c = m.pre_activation;
    product.pre_activation = {};
    product.activation = Activation::none;
  }
  omp_set_num_threads(threads_);
  const Plan& plan = matmul_->find_plan(product);
  return plan.supported ? plan.scratch_bytes() : 0;
}

void CpuOps::parameters_changed() {}  // packed copies live for one call only

namespace {

// to[width] = sum of `rows` rows of `from`, several vectors of columns at a time in registers.
template <typename T>
void sum_rows(const T* from, std::int64_t rows, std::int64_t width, float* to) {
  using namespace cpu;
  constexpr int kVectors = 8;
  std::int64_t column = 0;
  for (; column + kVectors * kLanes <= width; column += kVectors * kLanes) {
    FloatVector sums[kVectors] = {};
    for (std::int64_t row = 0; row < rows; ++row)
      for (int v = 0; v < kVectors; ++v) sums[v] += load(from + row * width + column + v * kLanes);
    for (int v = 0; v < kVectors; ++v) store(to + column + v * kLanes, sums[v]);
  }
  for_each_vector(column, width, [&](std::int64_t i, auto extent) {
    FloatVector sum = {};
    for (std::int64_t row = 0; row < rows; ++row) sum += load(from + row * width + i, extent);
    store(to + i, sum, extent);
  });
}

}  // namespace

void CpuOps::bias_gradient(const Tensor& dy, const Tensor& dbias) {
  checks::bias_gradient(dy, dbias);
  if (dy.count() == 0) return;
  const std::int64_t width = dy.size(1);
  const cpu::RowBlocks blocks(dy.size(0));
  float* partial = scratch_.reserve<float>(blocks.count * width);
  cpu::with_act_type(dy.dtype, [&](auto type) {
    using T = decltype(type);
    cpu::parallel_rows(threads_, blocks.count, blocks.rows_each * width, [&](std::int64_t block) {
      const std::int64_t begin = blocks.begin(block);
      sum_rows(dy.as<T>() + begin * width, blocks.end(block) - begin, width, partial + block * width);
    });
  });
  cpu::add_partial_rows(threads_, partial, blocks.count, width, width, dbias.as<float>());
}

}  // namespace heddle
