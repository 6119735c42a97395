#include "parallel/parameters.h"

#include <algorithm>
#include <vector>

#include "kernels/error.h"
#include "kernels/ops.h"
#include "kernels/philox.h"

namespace heddle {

namespace {

// Slices start at a cache line in every dtype, so that vector kernels never straddle two parameters.
constexpr std::int64_t kAlignment = kSpanAlignment;
std::int64_t align_up(std::int64_t count) {
  return (count + kAlignment - 1) / kAlignment * kAlignment;
}

// Writes host values to device memory, rounded if that is bf16.
void copy_in(Device& device, const Tensor& to, const std::vector<float>& host) {
  Stream& stream = device.compute_stream();
  std::vector<bfloat16> rounded;
  const void* from = host.data();
  if (to.dtype == DType::bf16) {
    rounded.resize(host.size());
    std::transform(host.begin(), host.end(), rounded.begin(), [](float v) { return bfloat16(v); });
    from = rounded.data();
  }
  device.copy_to_device(stream, to, from);
  stream.synchronize();
}

constexpr std::size_t kRoundingStepBytes = 64;  // in front of the places of rounding
static_assert(sizeof(AdamWStep) <= kRoundingStepBytes);

// Calls visit(global index, local index, run length) for each contiguous run of a piece.
template <typename Visit>
void for_each_run(const ShardPiece& piece, const Shape& global, const Shape& local, Visit visit) {
  const int rank = global.rank(), last = rank - 1;
  std::int64_t rows = 1;
  for (int d = 0; d < last; ++d) rows *= piece.extent[d];
  for (std::int64_t row = 0; row < rows; ++row) {
    std::int64_t rest = row, global_index = 0, local_index = 0, global_step = global[last], local_step = local[last];
    for (int d = last - 1; d >= 0; --d) {
      const std::int64_t i = rest % piece.extent[d];
      rest /= piece.extent[d];
      global_index += (piece.global_offset[d] + i) * global_step;
      local_index += (piece.local_offset[d] + i) * local_step;
      global_step *= global[d];
      local_step *= local[d];
    }
    visit(global_index + piece.global_offset[last], local_index + piece.local_offset[last], piece.extent[last]);
  }
}

}  // namespace

Parameter& ParameterTable::add_at(std::int64_t offset, bool joined, ParameterSpec spec) {
  if (find(spec.name)) throw error("the model names two parameters {}", spec.name);
  Parameter parameter;
  parameter.local = local_shape(spec.shape, spec.sharding, ranks_);
  parameter.offset = offset;
  parameter.joined = joined;
  parameter.spec = std::move(spec);
  flat_count_ = align_up(offset + parameter.count());
  parameters_.push_back(std::move(parameter));
  return parameters_.back();
}

Parameter& ParameterTable::add(ParameterSpec spec) {
  return add_at(flat_count_, false, std::move(spec));
}

std::vector<Parameter*> ParameterTable::add_joined(std::vector<ParameterSpec> specs) {
  std::vector<Parameter*> added;
  for (ParameterSpec& spec : specs) {
    const Parameter* before = added.empty() ? nullptr : added.back();
    added.push_back(
        &add_at(before ? before->offset + before->count() : flat_count_, before != nullptr, std::move(spec)));
  }
  return added;
}

Constant& ParameterTable::add_constant(std::string name, Shape shape, std::function<float(std::int64_t)> element) {
  constants_.push_back({std::move(name), shape, std::move(element), {}});
  constant_count_ += align_up(shape.count());
  return constants_.back();
}

void ParameterTable::fill_constants(Device& device) {
  for (Constant& constant : constants_) {
    const std::int64_t count = constant.shape.count();
    std::vector<float> host(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) host[static_cast<std::size_t>(i)] = constant.element(i);
    copy_in(device, constant.value, host);
  }
}

ParameterTable::Bytes ParameterTable::bytes(DType act, Purpose purpose) const {
  const std::size_t f32 = static_cast<std::size_t>(flat_count_) * 4;
  Bytes bytes;
  if (act != DType::f32) bytes.values = static_cast<std::size_t>(flat_count_) * size_of(act);
  if (act == DType::f32 || purpose == Purpose::training) bytes.master = f32;
  if (purpose == Purpose::training) bytes.gradients = f32, bytes.moments = 2 * f32;
  bytes.constants = static_cast<std::size_t>(constant_count_) * size_of(act);
  return bytes;
}

void ParameterTable::allocate(Device& device, DType act, Purpose purpose) {
  const std::size_t f32 = static_cast<std::size_t>(flat_count_) * 4;
  const bool training = purpose == Purpose::training;
  if (act == DType::f32 || training) master_memory_ = device.allocate(f32);
  if (act != DType::f32) value_memory_ = device.allocate(static_cast<std::size_t>(flat_count_) * size_of(act));
  if (training) {
    gradient_memory_ = device.allocate(f32);
    moment1_memory_ = device.allocate(f32);
    moment2_memory_ = device.allocate(f32);
  }
  const auto whole = [&](const Memory& memory, DType dtype) {
    return memory.bytes() == 0 ? Tensor() : Tensor(memory.data(), dtype, {flat_count_});
  };
  constant_memory_ = device.allocate(static_cast<std::size_t>(constant_count_) * size_of(act));
  std::int64_t at = 0;
  for (Constant& constant : constants_) {
    char* base = static_cast<char*>(constant_memory_.data());
    constant.value = Tensor(base ? base + at * static_cast<std::int64_t>(size_of(act)) : nullptr, act, constant.shape);
    at += align_up(constant.shape.count());
  }
  fill_constants(device);
  masters_ = whole(master_memory_, DType::f32);
  values_ = whole(value_memory_, act);
  gradients_ = whole(gradient_memory_, DType::f32);
  moments1_ = whole(moment1_memory_, DType::f32);
  moments2_ = whole(moment2_memory_, DType::f32);
  for (Parameter& p : parameters_) {
    const auto slice = [&](const Memory& memory, DType dtype) {
      if (memory.bytes() == 0) return Tensor();
      char* base = static_cast<char*>(memory.data());
      return Tensor(base ? base + p.offset * static_cast<std::int64_t>(size_of(dtype)) : nullptr, dtype, p.local);
    };
    p.master = slice(master_memory_, DType::f32);
    p.value = act == DType::f32 ? p.master : slice(value_memory_, act);
    p.gradient = slice(gradient_memory_, DType::f32);
    p.moment1 = slice(moment1_memory_, DType::f32);
    p.moment2 = slice(moment2_memory_, DType::f32);
  }
}

void ParameterTable::initialize(Device& device, std::uint64_t seed) {
  std::vector<float> host;
  for (Parameter& p : parameters_) {
    host.assign(static_cast<std::size_t>(p.count()), 0.0f);
    const Initializer init = p.spec.initializer;
    const std::uint64_t key = philox_key(seed, "init/" + p.spec.name);
    if (init.kind != Initializer::Kind::zeros) {
      for (const ShardPiece& piece : shard_pieces(p.spec.shape, p.spec.sharding, rank_, ranks_))
        for_each_run(piece, p.spec.shape, p.local, [&](std::int64_t global, std::int64_t local, std::int64_t n) {
          if (init.kind == Initializer::Kind::ones) {
            std::fill_n(host.begin() + local, n, 1.0f);
            return;
          }
#pragma omp parallel for schedule(static) if (n > 4096)
          for (std::int64_t i = 0; i < n; ++i)
            host[static_cast<std::size_t>(local + i)] =
                init.scale * (init.kind == Initializer::Kind::normal
                                  ? philox_normal(key, static_cast<std::uint64_t>(global + i))
                                  : 2 * philox_uniform(key, static_cast<std::uint64_t>(global + i)) - 1);
        });
    }
    // Through the master where there is one; inference in bf16 has only the value.
    copy_in(device, p.master ? p.master : p.value, host);
  }
  refresh_values(device, 0);
}

void ParameterTable::round_stochastically(Device& device, std::uint64_t seed) {
  if (!values_ || parameters_.empty()) return;
  std::vector<GlobalPlace> places;
  for (const Parameter& p : parameters_) {
    const ShardRuns runs = shard_runs(p.spec.shape, p.spec.sharding, rank_, ranks_);
    places.push_back({p.offset, runs.run, runs.stride, runs.first, philox_key(seed, "rounding/" + p.spec.name)});
  }
  const std::size_t bytes = places.size() * sizeof(GlobalPlace);
  rounding_memory_ = device.allocate(kRoundingStepBytes + bytes);
  char* const behind_step = static_cast<char*>(rounding_memory_.data()) + kRoundingStepBytes;
  device.copy_to_device(device.compute_stream(), Tensor(behind_step, DType::u8, {static_cast<std::int64_t>(bytes)}),
                        places.data());
  device.compute_stream().synchronize();
  rounding_.from = masters_;
  rounding_.to = values_;
  rounding_.places = reinterpret_cast<const GlobalPlace*>(behind_step);
  rounding_.place_count = static_cast<std::int32_t>(places.size());
}

void ParameterTable::refresh_values(Device& device, std::int64_t update) {
  if (const StochasticRounding* rounding = this->rounding()) {
    AdamWStep step{};
    step.update = static_cast<std::uint32_t>(update);
    void* const on_device = rounding_memory_.data();
    device.copy_to_device(device.compute_stream(), Tensor(on_device, DType::u8, {sizeof step}), &step);
    StochasticRounding of_update = *rounding;
    of_update.step = static_cast<const AdamWStep*>(on_device);
    device.ops().round_stochastically(of_update);
    device.compute_stream().synchronize();
  } else {
    for (Parameter& p : parameters_)
      if (p.master && p.value.dtype != DType::f32) device.ops().copy(p.master, p.value);
  }
  device.ops().parameters_changed();
}

Parameter* ParameterTable::find(const std::string& name) {
  for (Parameter& p : parameters_)
    if (p.spec.name == name) return &p;
  return nullptr;
}

std::int64_t ParameterTable::global_count() const {
  std::int64_t count = 0;
  for (const Parameter& p : parameters_) count += p.spec.shape.count();
  return count;
}

}  // namespace heddle
