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

// A step's input is one piece of memory, copied at once: scalars, then arrays of i32.
class StepLayout {
 public:
  explicit StepLayout(const BatchShape& shape) : shape_(shape) {}

  std::size_t bytes() const {
    return kFront + static_cast<std::size_t>(3 * shape_.tokens() + 2 * shape_.source_tokens() + source_samples()) * 4;
  }
  static Scalars* scalars(const Memory& memory) { return static_cast<Scalars*>(memory.data()); }

  // Host memory: the batch and the positions that belong to it.
  void fill(const Memory& host, const HostBatch& batch, std::int64_t first, std::int64_t samples) const {
    const auto copy = [&](const std::int32_t* from, std::int64_t each, std::int32_t* to) {
      std::copy_n(from + first * each, samples * each, to);
    };
    const auto count = [](std::int32_t* to, std::int64_t tokens, std::int64_t length) {
      for (std::int64_t i = 0; i < tokens; ++i) to[i] = static_cast<std::int32_t>(i % length);
    };
    copy(batch.inputs, shape_.length, ids(host));
    copy(batch.targets, shape_.length, targets(host));
    count(positions(host), shape_.tokens(), shape_.length);
    if (shape_.source_length == 0) return;
    copy(batch.source, shape_.source_length, source_ids(host));
    count(source_positions(host), shape_.source_tokens(), shape_.source_length);
    copy(batch.source_lengths, 1, source_lengths(host));
  }

  // Samples [first, first + samples) in device memory.
  Batch batch(const Memory& device, std::int64_t first, std::int64_t samples) const {
    const auto tensor = [&](std::int32_t* data, std::int64_t each) {
      return Tensor(data + first * each, DType::i32, {samples * each});
    };
    Batch batch;
    batch.samples = samples;
    batch.length = shape_.length;
    batch.ids = tensor(ids(device), shape_.length);
    batch.targets = tensor(targets(device), shape_.length);
    batch.positions = tensor(positions(device), shape_.length);
    batch.source_length = shape_.source_length;
    if (shape_.source_length == 0) return batch;
    batch.source_ids = tensor(source_ids(device), shape_.source_length);
    batch.source_positions = tensor(source_positions(device), shape_.source_length);
    batch.source_lengths = tensor(source_lengths(device), 1);
    return batch;
  }

 private:
  static constexpr std::size_t kFront = 256;  // keeps what follows aligned
  static_assert(sizeof(Scalars) <= kFront);

  std::int64_t source_samples() const { return shape_.source_length > 0 ? shape_.samples : 0; }
  std::int32_t* ids(const Memory& memory) const {
    return reinterpret_cast<std::int32_t*>(static_cast<char*>(memory.data()) + kFront);
  }
  std::int32_t* targets(const Memory& memory) const { return ids(memory) + shape_.tokens(); }
  std::int32_t* positions(const Memory& memory) const { return targets(memory) + shape_.tokens(); }
  std::int32_t* source_ids(const Memory& memory) const { return positions(memory) + shape_.tokens(); }
  std::int32_t* source_positions(const Memory& memory) const { return source_ids(memory) + shape_.source_tokens(); }
  std::int32_t* source_lengths(const Memory& memory) const { return source_positions(memory) + shape_.source_tokens(); }

  BatchShape shape_;
};

Tensor bytes_at(void* data, std::size_t bytes) {
  return Tensor(data, DType::u8, {static_cast<std::int64_t>(bytes)});
}

// Graphs hold memory of their own on a GPU; a shape that is seldom seen is recorded again.
constexpr std::size_t kMostRecordings = 64;

}  // namespace

StepMemory step_memory(const std::vector<BatchShape>& shapes) {
  StepMemory memory;
  for (const BatchShape& shape : shapes) {
    memory.input = std::max(memory.input, StepLayout(shape).bytes());
    memory.losses = std::max(memory.losses, static_cast<std::size_t>(shape.micro_batch * shape.length) * 4);
  }
  return memory;
}

Engine::Engine(const EngineSettings& settings, Device& device, Mesh& mesh)
    : settings_(settings),
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

  const StepMemory memory = step_memory(settings_.shapes);
  input_ = device.allocate(memory.input);
  losses_ = device.allocate(memory.losses);
  for (InFlight& slot : in_flight_) {
    slot.input = device.allocate_host(memory.input);
    slot.output = device.allocate_host(sizeof(Scalars));
    slot.done = device.make_event();
  }
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
                 .label_smoothing = training ? settings_.label_smoothing : 0.0f,
                 .step = &StepLayout::scalars(input_)->step};
}

void Engine::step(std::int64_t step, const HostBatch& batch, double learning_rate) {
  assert(batch.shape.samples % batch.shape.micro_batch == 0);
  const ProfilerRange range("step");
  InFlight& slot = in_flight_[static_cast<std::size_t>(step) % in_flight_.size()];
  settle(slot);

  const StepLayout layout(batch.shape);
  assert(layout.bytes() <= input_.bytes());
  *layout.scalars(slot.input) = {0.0, 0.0, optimizer_->scalars(step + 1, learning_rate),
                                 1.0f / static_cast<float>(std::max<std::int64_t>(batch.valid_tokens, 1)),
                                 static_cast<std::uint32_t>(step)};
  layout.fill(slot.input, batch, 0, batch.shape.samples);

  Stream& stream = device_.compute_stream();
  device_.copy_to_device(stream, bytes_at(input_.data(), layout.bytes()), slot.input.data());
  run_step(batch.shape, batch.first_sample);
  device_.copy_to_host(stream, slot.output.data(), bytes_at(input_.data(), sizeof(Scalars)));
  stream.record(*slot.done);
  slot.step = step;
  slot.valid_tokens = batch.valid_tokens;
  last_ = &slot;
  if (!device_.asynchronous()) settle(slot);
}

// As a recording, from the second step of its shape on: in the first, libraries choose and set up what a recording may
// not.
void Engine::run_step(const BatchShape& shape, std::int64_t first_sample) {
  if (!settings_.graph || !device_.has_graphs() || !mesh_.capturable()) return queue_step(shape, first_sample);
  const auto [found, is_new] = recordings_.try_emplace({shape, first_sample});
  Recording& recording = found->second;
  recording.last_use = ++uses_;
  if (is_new) {
    queue_step(shape, first_sample);
    if (recordings_.size() > kMostRecordings)
      recordings_.erase(std::min_element(recordings_.begin(), recordings_.end(), [](const auto& a, const auto& b) {
        return a.second.last_use < b.second.last_use;
      }));
    return;
  }
  if (!recording.graph) recording.graph = device_.capture([&] { queue_step(shape, first_sample); });
  recording.graph->launch(device_.compute_stream());
}

// Everything between the input in device memory and the parameters after the update. Reads nothing of the host that
// changes from step to step, so that a recording of it can be replayed.
void Engine::queue_step(const BatchShape& shape, std::int64_t first_sample) {
  const StepLayout layout(shape);
  Scalars* const scalars = StepLayout::scalars(input_);
  device_.ops().fill(parameters_.flat_gradients(), 0.0f);

  Context c = context(/*training=*/true);
  const Tensor losses(losses_.data(), DType::f32, {shape.micro_batch * shape.length});
  for (std::int64_t first = 0; first < shape.samples; first += shape.micro_batch) {
    c.first_sample = static_cast<std::uint32_t>(first_sample + first);
    const ProfilerRange range("micro-batch");
    reducer_->begin(/*last_micro_batch=*/first + shape.micro_batch >= shape.samples);
    model_->train(c, layout.batch(input_, first, shape.micro_batch), &scalars->loss_scale, losses);
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
  if (!use) recordings_.clear();
}

double Engine::evaluate(const HostBatch& batch) {
  const ProfilerRange range("evaluation");
  finish();  // a step's input and result are this memory
  Stream& stream = device_.compute_stream();
  InFlight& slot = in_flight_.front();
  Scalars* const scalars = StepLayout::scalars(input_);
  double sum = 0;
  Context c = context(/*training=*/false);
  for (std::int64_t first = 0; first < batch.shape.samples; first += batch.shape.micro_batch) {
    BatchShape pass = batch.shape;
    pass.samples = pass.micro_batch = std::min(batch.shape.micro_batch, batch.shape.samples - first);
    const StepLayout layout(pass);
    assert(layout.bytes() <= input_.bytes());
    *layout.scalars(slot.input) = {};
    layout.scalars(slot.input)->loss_sum = sum;
    layout.fill(slot.input, batch, first, pass.samples);
    device_.copy_to_device(stream, bytes_at(input_.data(), layout.bytes()), slot.input.data());
    const Tensor losses(losses_.data(), DType::f32, {pass.samples * pass.length});
    model_->evaluate(c, layout.batch(input_, 0, pass.samples), losses);
    c.ops.sum(losses, &scalars->loss_sum);
    device_.copy_to_host(stream, &sum, Tensor(&scalars->loss_sum, DType::f64, {1}));
    stream.synchronize();  // the host's memory is filled again
  }
  return sum;
}

}  // namespace heddle
