#include "trainer/optim/optimizer.h"

#include <cmath>

namespace heddle {

namespace {

struct HostScalars {
  AdamWStep step;
  double sum;
};

}  // namespace

Optimizer::Optimizer(ParameterTable& parameters, Mesh& mesh, Device& device, OptimizerSettings settings)
    : parameters_(parameters),
      mesh_(mesh),
      device_(device),
      settings_(settings),
      step_memory_(device.allocate(sizeof(AdamWStep))),
      sum_memory_(device.allocate(sizeof(double))),
      host_memory_(device.allocate_host(sizeof(HostScalars))) {}

void Optimizer::measure_norm() {
  Ops& ops = device_.ops();
  auto* sum = static_cast<double*>(sum_memory_.data());
  auto* host = static_cast<HostScalars*>(host_memory_.data());
  host->sum = 0;
  device_.copy_to_device(device_.compute_stream(), Tensor(sum, DType::f64, {1}), &host->sum);
  for (const Parameter& p : parameters_.parameters()) {
    // Every rank of the tensor group holds the same replicated gradient: rank 0 counts it.
    if (p.spec.sharding.replicated() && mesh_.tensor_rank() != 0) continue;
    ops.squared_norm(p.gradient.view({p.count()}), sum);
  }
  if (mesh_.layout().tensor_parallel > 1)
    mesh_.tensor().all_reduce(Tensor(sum, DType::f64, {1}), Reduction::sum, device_.compute_stream(),
                              "gradient norm");
}

double Optimizer::norm() {
  auto* host = static_cast<HostScalars*>(host_memory_.data());
  device_.copy_to_host(device_.compute_stream(), &host->sum, Tensor(sum_memory_.data(), DType::f64, {1}));
  device_.compute_stream().synchronize();
  return std::sqrt(host->sum);
}

void Optimizer::update(std::int64_t update, double learning_rate) {
  Ops& ops = device_.ops();
  auto* step = static_cast<AdamWStep*>(step_memory_.data());
  auto* host = static_cast<HostScalars*>(host_memory_.data());
  host->step.learning_rate = static_cast<float>(learning_rate);
  host->step.bias_correction1 = static_cast<float>(1 - std::pow(static_cast<double>(settings_.beta1), update));
  host->step.bias_correction2 = static_cast<float>(1 - std::pow(static_cast<double>(settings_.beta2), update));
  host->step.gradient_scale = 1;
  device_.copy_to_device(device_.compute_stream(), Tensor(step, DType::u8, {sizeof(AdamWStep)}), &host->step);
  ops.clip_scale(static_cast<double*>(sum_memory_.data()), settings_.clip_norm, step);

  for (Parameter& p : parameters_.parameters()) {
    const Shape flat{p.count()};
    AdamW a;
    a.parameter = p.master.view(flat);
    a.gradient = p.gradient.view(flat);
    a.moment1 = p.moment1.view(flat);
    a.moment2 = p.moment2.view(flat);
    if (p.value.dtype != DType::f32) a.compute_copy = p.value.view(flat);
    a.step = step;
    a.beta1 = settings_.beta1;
    a.beta2 = settings_.beta2;
    a.epsilon = settings_.epsilon;
    a.weight_decay = p.spec.decay ? settings_.weight_decay : 0.0f;
    ops.adamw(a);
  }
  ops.parameters_changed();
}

}  // namespace heddle
