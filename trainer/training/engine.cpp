#include "trainer/training/engine.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include "kernels/error.h"
#include "trainer/training/plan.h"

namespace heddle {

namespace {

// What a step reads and writes beside tensors; the same struct in host memory, where it is staged.
struct Scalars {
  double loss_sum;
  float loss_scale;
  std::uint32_t step;
};

Scalars* scalars_in(const Memory& memory) { return static_cast<Scalars*>(memory.data()); }

Tensor bytes_of(Scalars* scalars) { return Tensor(scalars, DType::u8, {sizeof(Scalars)}); }

Tensor tokens(const Memory& memory, std::int64_t count) {
  return Tensor(memory.data(), DType::i32, {count});
}

}  // namespace

Engine::Engine(const EngineSettings& settings, Device& device, Mesh& mesh)
    : settings_(settings),
      device_(device),
      mesh_(mesh),
      parameters_(mesh.layout().tensor_parallel, mesh.tensor_rank()) {
  model_ = make_model(settings.model, settings.seed, parameters_);
  parameters_.allocate(device, settings.act, ParameterTable::Purpose::training);
  parameters_.initialize(device, settings.seed);
  tape_ = Tape(device.allocate(plan_step(settings, mesh.layout(), mesh.rank(), device).activation_bytes));
  reducer_ = std::make_unique<GradientReducer>(parameters_, mesh.data(), device, settings.reducer);
  optimizer_ = std::make_unique<Optimizer>(parameters_, mesh, device, settings.optimizer);

  const std::int64_t count = settings.micro_batch * settings.length;
  const auto bytes = static_cast<std::size_t>(count) * 4;
  ids_ = device.allocate(bytes);
  positions_ = device.allocate(bytes);
  targets_ = device.allocate(bytes);
  losses_ = device.allocate(bytes);
  scalars_ = device.allocate(sizeof(Scalars));
  host_scalars_ = device.allocate_host(sizeof(Scalars));

  std::vector<std::int32_t> positions(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i)
    positions[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i % settings.length);
  device.copy_to_device(device.compute_stream(), tokens(positions_, count), positions.data());
  device.compute_stream().synchronize();
}

Context Engine::context(bool training) {
  return Context{.device = device_,
                 .ops = device_.ops(),
                 .mesh = mesh_,
                 .tape = tape_,
                 .act = settings_.act,
                 .reducer = training ? reducer_.get() : nullptr,
                 .training = training,
                 .recompute_blocks = training && settings_.recompute_blocks,
                 .step = &scalars_in(scalars_)->step};
}

Batch Engine::upload(const HostBatch& batch, std::int64_t first, std::int64_t samples) {
  const std::int64_t count = samples * settings_.length, offset = first * settings_.length;
  Batch micro;
  micro.samples = samples;
  micro.length = settings_.length;
  micro.ids = tokens(ids_, count);
  micro.positions = tokens(positions_, count);
  micro.targets = tokens(targets_, count);
  device_.copy_to_device(device_.compute_stream(), micro.ids, batch.inputs + offset);
  device_.copy_to_device(device_.compute_stream(), micro.targets, batch.targets + offset);
  return micro;
}

double Engine::take_loss() {
  Stream& stream = device_.compute_stream();
  device_.copy_to_host(stream, scalars_in(host_scalars_), bytes_of(scalars_in(scalars_)));
  stream.synchronize();
  return scalars_in(host_scalars_)->loss_sum;
}

Engine::StepResult Engine::step(std::int64_t step, const HostBatch& batch, double learning_rate) {
  assert(batch.samples % settings_.micro_batch == 0);
  Scalars* const scalars = scalars_in(scalars_);
  *scalars_in(host_scalars_) = {0.0, 1.0f / static_cast<float>(std::max<std::int64_t>(batch.valid_tokens, 1)),
                                static_cast<std::uint32_t>(step)};
  device_.copy_to_device(device_.compute_stream(), bytes_of(scalars), host_scalars_.data());
  device_.ops().fill(parameters_.flat_gradients(), 0.0f);

  Context c = context(/*training=*/true);
  const Tensor losses(losses_.data(), DType::f32, {settings_.micro_batch * settings_.length});
  for (std::int64_t first = 0; first < batch.samples; first += settings_.micro_batch) {
    const Batch micro = upload(batch, first, settings_.micro_batch);
    c.first_sample = static_cast<std::uint32_t>(batch.first_sample + first);
    reducer_->begin(/*last_micro_batch=*/first + settings_.micro_batch >= batch.samples);
    model_->train(c, micro, &scalars->loss_scale, losses);
    c.ops.sum(losses, &scalars->loss_sum);
  }
  reducer_->finish();
  optimizer_->measure_norm();

  StepResult result;
  result.gradient_norm = optimizer_->norm();
  result.loss = take_loss();
  mesh_.data().all_reduce_host(&result.loss, 1, Reduction::sum, "loss");
  result.loss /= static_cast<double>(std::max<std::int64_t>(batch.valid_tokens, 1));
  if (!std::isfinite(result.loss) || !std::isfinite(result.gradient_norm))
    throw Error(fmt::format("step {}: loss {} and gradient norm {} are not finite; the parameters were not changed. "
                            "Lower optimizer.learning_rate, or resume from the last checkpoint",
                            step, result.loss, result.gradient_norm),
                kExitFailure, /*on_all_ranks=*/true);
  optimizer_->update(step + 1, learning_rate);
  return result;
}

double Engine::evaluate(const HostBatch& batch) {
  Scalars* const scalars = scalars_in(scalars_);
  *scalars_in(host_scalars_) = {};
  device_.copy_to_device(device_.compute_stream(), bytes_of(scalars), host_scalars_.data());
  Context c = context(/*training=*/false);
  for (std::int64_t first = 0; first < batch.samples; first += settings_.micro_batch) {
    const std::int64_t samples = std::min(settings_.micro_batch, batch.samples - first);
    const Batch micro = upload(batch, first, samples);
    const Tensor losses(losses_.data(), DType::f32, {samples * settings_.length});
    model_->evaluate(c, micro, losses);
    c.ops.sum(losses, &scalars->loss_sum);
  }
  return take_loss();
}

}  // namespace heddle
