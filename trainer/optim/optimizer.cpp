#include "trainer/optim/optimizer.h"

#include <cmath>
#include <vector>

#include "kernels/trace.h"

namespace heddle {

namespace {

// The places of the chosen parameters in the flat buffers, neighbours joined, with the padding between them.
template <typename Chosen>
std::vector<std::int64_t> spans_of(const ParameterTable& table, const Chosen& chosen) {
  std::vector<std::int64_t> bounds;
  const auto& parameters = table.parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (!chosen(parameters[i])) continue;
    const std::int64_t end = i + 1 < parameters.size() ? parameters[i + 1].offset : table.flat_count();
    if (!bounds.empty() && bounds.back() == parameters[i].offset) {
      bounds.back() = end;
    } else {
      bounds.insert(bounds.end(), {parameters[i].offset, end});
    }
  }
  return bounds;
}

}  // namespace

Optimizer::Optimizer(ParameterTable& parameters, Mesh& mesh, Device& device, OptimizerSettings settings)
    : parameters_(parameters),
      mesh_(mesh),
      device_(device),
      settings_(settings),
      stopped_(device.allocate(sizeof(std::uint32_t))) {
  std::vector<std::int64_t> bounds = spans_of(parameters, [](const Parameter& p) { return p.spec.decay; });
  const std::size_t decayed = bounds.size() / 2;
  // Every rank of the tensor group holds the same replicated gradients: rank 0 counts them.
  const std::vector<std::int64_t> counted = spans_of(parameters, [&](const Parameter& p) {
    return mesh.tensor_rank() == 0 || !p.spec.sharding.replicated();
  });
  bounds.insert(bounds.end(), counted.begin(), counted.end());

  const std::size_t bytes = bounds.size() * sizeof(std::int64_t);
  span_memory_ = device.allocate(bytes);
  device.copy_to_device(device.compute_stream(),
                        Tensor(span_memory_.data(), DType::u8, {static_cast<std::int64_t>(bytes)}), bounds.data());
  device.compute_stream().synchronize();
  const auto* device_bounds = static_cast<const std::int64_t*>(span_memory_.data());
  decayed_ = {device_bounds, static_cast<std::int32_t>(decayed)};
  counted_ = {device_bounds + 2 * decayed, static_cast<std::int32_t>(counted.size() / 2)};
}

AdamWStep Optimizer::scalars(std::int64_t update, double learning_rate) const {
  AdamWStep step{};
  step.learning_rate = static_cast<float>(learning_rate);
  step.bias_correction1 = static_cast<float>(1 - std::pow(static_cast<double>(settings_.beta1), update));
  step.bias_correction2 = static_cast<float>(1 - std::pow(static_cast<double>(settings_.beta2), update));
  step.gradient_scale = 1;
  step.update = static_cast<std::uint32_t>(update);
  return step;
}

void Optimizer::measure_norm(double* squared_norm) {
  device_.ops().squared_norm(parameters_.flat_gradients(), counted_, squared_norm);
  if (mesh_.layout().tensor_parallel > 1) {
    const TraceSpan span(device_, kCommunicationFamily, "gradient norm");
    mesh_.tensor().all_reduce(Tensor(squared_norm, DType::f64, {1}), Reduction::sum, device_.compute_stream(),
                              "gradient norm");
  }
}

void Optimizer::update(AdamWStep* step, const double* loss, double* squared_norm) {
  Ops& ops = device_.ops();
  measure_norm(squared_norm);
  ops.clip_scale(squared_norm, loss, settings_.clip_norm, step, static_cast<std::uint32_t*>(stopped_.data()));

  AdamW a;
  a.parameter = parameters_.flat_masters();
  a.gradient = parameters_.flat_gradients();
  a.moment1 = parameters_.flat_moments1();
  a.moment2 = parameters_.flat_moments2();
  const StochasticRounding* const rounding = parameters_.rounding();
  if (!rounding) a.compute_copy = parameters_.flat_values();
  a.step = step;
  a.beta1 = settings_.beta1;
  a.beta2 = settings_.beta2;
  a.epsilon = settings_.epsilon;
  a.weight_decay = settings_.weight_decay;
  a.decayed = decayed_;
  ops.adamw(a);
  if (rounding) {
    StochasticRounding of_update = *rounding;
    of_update.step = step;
    ops.round_stochastically(of_update);
  }
  ops.parameters_changed();
}

}  // namespace heddle
