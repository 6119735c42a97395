#include "trainer/training/engine.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include "kernels/error.h"
#include "kernels/profiler.h"
#include "trainer/training/plan.h"

namespace heddle {

namespace {

// The front of a step's input in device memory, and what is read back of it.
struct Scalars {
  double loss_sum;      // of this rank's tokens, then of all
  double squared_norm;  // of the whole model's gradient
  AdamWStep adamw;
  float loss_scale;    // 1 / valid tokens of the global batch
  std::uint32_t step;  // for dropout
};

// A step's input is one piece of memory, copied at once: scalars, ids, targets.
struct StepLayout {
  explicit StepLayout(const EngineSettings& s) : tokens(s.samples * s.length) {}

  std::int64_t tokens;
  static constexpr std::size_t kFront = 256;  // keeps what follows aligned
  static_assert(sizeof(Scalars) <= kFront);

  std::size_t bytes() const { return kFront + 2 * static_cast<std::size_t>(tokens) * 4; }
  static Scalars* scalars(const Memory& memory) { return static_cast<Scalars*>(memory.data()); }
  std::int32_t* ids(const Memory& memory) const {
    return reinterpret_cast<std::int32_t*>(static_cast<char*>(memory.data()) + kFront);
  }
  std::int32_t* targets(const Memory& memory) const { return ids(memory) + tokens; }
};

Tensor bytes_at(void* data, std::size_t bytes) { return Tensor(data, DType::u8, {static_cast<std::int64_t>(bytes)}); }

EngineSettings completed(EngineSettings settings) {
  if (settings.samples == 0) settings.samples = settings.micro_batch;
  assert(settings.samples % settings.micro_batch == 0);
  return settings;
}

}  // namespace

Engine::Engine(const EngineSettings& settings, Device& device, Mesh& mesh)
    : settings_(completed(settings)),
      device_(device),
      mesh_(mesh),
      parameters_(mesh.layout().tensor_parallel, mesh.tensor_rank()) {
  model_ = make_model(settings.model, settings.seed, parameters_);
  parameters_.allocate(device, settings.act, ParameterTable::Purpose::training);
  if (settings.optimizer.stochastic_rounding) parameters_.round_stochastically(device, settings.seed);
  parameters_.initialize(device, settings.seed);
  tape_ = Tape(device.allocate(plan_step(settings_, mesh.layout(), mesh.rank(), device).activation_bytes));
  reducer_ = std::make_unique<GradientReducer>(parameters_, mesh.data(), device, settings.reducer);
  optimizer_ = std::make_unique<Optimizer>(parameters_, mesh, device, settings.optimizer);

  const std::int64_t count = settings.micro_batch * settings.length;
  const auto bytes = static_cast<std::size_t>(count) * 4;
  const StepLayout layout(settings_);
  input_ = device.allocate(layout.bytes());
  positions_ = device.allocate(bytes);
  losses_ = device.allocate(bytes);
  for (InFlight& slot : in_flight_) {
    slot.input = device.allocate_host(layout.bytes());
    slot.output = device.allocate_host(sizeof(Scalars));
    slot.done = device.make_event();
  }

  std::vector<std::int32_t> positions(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i)
    positions[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i % settings.length);
  device.copy_to_device(device.compute_stream(), Tensor(positions_.data(), DType::i32, {count}), positions.data());
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
                 .step = &StepLayout::scalars(input_)->step};
}

// Samples [first, first + samples) of the input in device memory.
Batch Engine::micro_batch(std::int64_t first, std::int64_t samples) const {
  const StepLayout layout(settings_);
  const std::int64_t count = samples * settings_.length, offset = first * settings_.length;
  Batch micro;
  micro.samples = samples;
  micro.length = settings_.length;
  micro.ids = Tensor(layout.ids(input_) + offset, DType::i32, {count});
  micro.targets = Tensor(layout.targets(input_) + offset, DType::i32, {count});
  micro.positions = Tensor(positions_.data(), DType::i32, {count});
  return micro;
}

void Engine::step(std::int64_t step, const HostBatch& batch, double learning_rate) {
  assert(batch.samples == settings_.samples);
  const ProfilerRange range("step");
  InFlight& slot = in_flight_[static_cast<std::size_t>(step) % in_flight_.size()];
  settle(slot);

  const StepLayout layout(settings_);
  *layout.scalars(slot.input) = {0.0, 0.0, optimizer_->scalars(step + 1, learning_rate),
                                 1.0f / static_cast<float>(std::max<std::int64_t>(batch.valid_tokens, 1)),
                                 static_cast<std::uint32_t>(step)};
  std::copy_n(batch.inputs, layout.tokens, layout.ids(slot.input));
  std::copy_n(batch.targets, layout.tokens, layout.targets(slot.input));

  Stream& stream = device_.compute_stream();
  device_.copy_to_device(stream, bytes_at(input_.data(), layout.bytes()), slot.input.data());
  first_sample_ = batch.first_sample;
  // The first step runs as it is: libraries choose and set up what a recording may not.
  if (graph_) {
    graph_->launch(stream);
  } else if (warm_ && settings_.graph && device_.has_graphs() && mesh_.capturable()) {
    graph_ = device_.capture([&] { queue_step(); });
    graph_->launch(stream);
  } else {
    queue_step();
    warm_ = true;
  }
  device_.copy_to_host(stream, slot.output.data(), bytes_at(input_.data(), sizeof(Scalars)));
  stream.record(*slot.done);
  slot.step = step;
  slot.valid_tokens = batch.valid_tokens;
  last_ = &slot;
  if (!device_.asynchronous()) settle(slot);
}

// Everything between the input in device memory and the parameters after the update. Reads nothing of the host that
// changes from step to step, so that a recording of it can be replayed.
void Engine::queue_step() {
  Scalars* const scalars = StepLayout::scalars(input_);
  device_.ops().fill(parameters_.flat_gradients(), 0.0f);

  Context c = context(/*training=*/true);
  const Tensor losses(losses_.data(), DType::f32, {settings_.micro_batch * settings_.length});
  for (std::int64_t first = 0; first < settings_.samples; first += settings_.micro_batch) {
    c.first_sample = static_cast<std::uint32_t>(first_sample_ + first);
    const ProfilerRange range("micro-batch");
    reducer_->begin(/*last_micro_batch=*/first + settings_.micro_batch >= settings_.samples);
    model_->train(c, micro_batch(first, settings_.micro_batch), &scalars->loss_scale, losses);
    c.ops.sum(losses, &scalars->loss_sum);
  }
  const ProfilerRange range("reduction and update");
  reducer_->finish();
  if (mesh_.layout().data_parallel > 1) {
    const TraceSpan span(device_, kCommunicationFamily, "loss");
    mesh_.data().all_reduce(Tensor(&scalars->loss_sum, DType::f64, {1}), Reduction::sum, c.stream(), "loss");
  }
  optimizer_->update(&scalars->adamw, &scalars->loss_sum, &scalars->squared_norm);
}

Engine::StepResult Engine::result_of(const InFlight& step) const {
  const Scalars& scalars = *StepLayout::scalars(step.output);
  return {scalars.loss_sum / static_cast<double>(std::max<std::int64_t>(step.valid_tokens, 1)),
          std::sqrt(scalars.squared_norm)};
}

void Engine::settle(InFlight& slot) {
  if (slot.step < 0) return;
  slot.done->synchronize();
  const StepResult result = result_of(slot);
  if (!std::isfinite(result.loss) || !std::isfinite(result.gradient_norm))
    throw Error(fmt::format("step {}: loss {} and gradient norm {} are not finite; the parameters were not changed. "
                            "Lower optimizer.learning_rate, or resume from the last checkpoint",
                            slot.step, result.loss, result.gradient_norm),
                kExitFailure, /*on_all_ranks=*/true);
  slot.step = -1;
}

Engine::StepResult Engine::result() {
  assert(last_);
  last_->done->synchronize();
  return result_of(*last_);
}

void Engine::finish() {
  if (!last_) return;
  InFlight& last = *last_;
  for (InFlight& slot : in_flight_)  // the earlier one first
    if (&slot != &last) settle(slot);
  settle(last);
}

void Engine::use_graph(bool use) {
  settings_.graph = use;
  if (!use) graph_.reset();
}

double Engine::evaluate(const HostBatch& batch) {
  const ProfilerRange range("evaluation");
  Stream& stream = device_.compute_stream();
  Scalars* const scalars = StepLayout::scalars(input_);
  Scalars host{};
  device_.copy_to_device(stream, bytes_at(scalars, sizeof host), &host);
  Context c = context(/*training=*/false);
  for (std::int64_t first = 0; first < batch.samples; first += settings_.micro_batch) {
    const std::int64_t samples = std::min(settings_.micro_batch, batch.samples - first);
    const std::int64_t offset = first * settings_.length;
    const Batch micro = micro_batch(0, samples);
    device_.copy_to_device(stream, micro.ids, batch.inputs + offset);
    device_.copy_to_device(stream, micro.targets, batch.targets + offset);
    const Tensor losses(losses_.data(), DType::f32, {samples * settings_.length});
    model_->evaluate(c, micro, losses);
    c.ops.sum(losses, &scalars->loss_sum);
  }
  device_.copy_to_host(stream, &host, bytes_at(scalars, sizeof host));
  stream.synchronize();
  return host.loss_sum;
}

}  // namespace heddle
