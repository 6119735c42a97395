#include "trainer/tasks/evaluation.h"

#include <algorithm>

#include "kernels/plan/plan_device.h"
#include "parallel/agreement.h"
#include "trainer/data/run_data.h"

namespace heddle {

namespace {

// Enough tokens in a pass to keep the matrix products busy.
constexpr std::int64_t kTokensPerPass = 2048;

Batch batch_of(void* ids, void* positions, void* targets, std::int64_t samples, std::int64_t length) {
  const auto tokens = [&](void* data) { return Tensor(data, DType::i32, {samples * length}); };
  Batch batch;
  batch.samples = samples;
  batch.length = length;
  batch.ids = tokens(ids);
  batch.positions = tokens(positions);
  batch.targets = tokens(targets);
  return batch;
}

std::size_t evaluation_bytes(Model& model, Device& planned, Mesh& mesh, DType act, std::int64_t samples) {
  const std::unique_ptr<PlanDevice> device = make_plan_device(&planned);
  const std::unique_ptr<Mesh> plan_mesh = make_plan_mesh(mesh.layout(), mesh.rank());
  Tape tape;
  Context context{.device = *device, .ops = device->ops(), .mesh = *plan_mesh, .tape = tape, .act = act};
  const std::int64_t length = model.context_length();
  model.evaluate(context, batch_of(nullptr, nullptr, nullptr, samples, length),
                 Tensor(nullptr, DType::f32, {samples * length}));
  return tape.peak_bytes();
}

}  // namespace

Evaluator::Evaluator(Model& model, Device& device, Mesh& mesh, DType act)
    : model_(model),
      device_(device),
      mesh_(mesh),
      act_(act),
      samples_(std::max<std::int64_t>(1, kTokensPerPass / model.context_length())),
      tape_(device.allocate(evaluation_bytes(model, device, mesh, act, samples_))) {
  const std::int64_t length = model.context_length(), count = samples_ * length;
  const auto bytes = static_cast<std::size_t>(count) * 4;
  ids_ = device.allocate(bytes);
  positions_ = device.allocate(bytes);
  targets_ = device.allocate(bytes);
  losses_ = device.allocate(bytes);
  sum_ = device.allocate(sizeof(double));
  std::vector<std::int32_t> positions(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i)
    positions[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i % length);
  device.copy_to_device(device.compute_stream(), Tensor(positions_.data(), DType::i32, {count}), positions.data());
  device.compute_stream().synchronize();
}

EvaluationResult Evaluator::evaluate(const TokenDataset& dataset, const std::vector<std::int32_t>& byte_lengths) {
  const std::int64_t length = model_.context_length();
  std::optional<Sampler> order;
  agree(mesh_.world(), "evaluation", [&] { order.emplace(dataset.size(), length, SampleOrder::sequential); });
  const std::int64_t windows = order->windows_per_epoch(), ranks = mesh_.layout().data_parallel;
  const std::int64_t begin = mesh_.data_rank() * windows / ranks, end = (mesh_.data_rank() + 1) * windows / ranks;

  Stream& stream = device_.compute_stream();
  auto* const sum = static_cast<double*>(sum_.data());
  double host_sum = 0;
  device_.copy_to_device(stream, Tensor(sum, DType::f64, {1}), &host_sum);
  Context context{.device = device_, .ops = device_.ops(), .mesh = mesh_, .tape = tape_, .act = act_};
  double totals[3] = {0, 0, 0};  // losses, tokens, bytes
  std::vector<std::int32_t> window, inputs, targets;
  for (std::int64_t first = begin; first < end; first += samples_) {
    const std::int64_t samples = std::min(samples_, end - first);
    read_windows(dataset, *order, first, samples, window, inputs, targets);
    const Batch batch = batch_of(ids_.data(), positions_.data(), targets_.data(), samples, length);
    device_.copy_to_device(stream, batch.ids, inputs.data());
    device_.copy_to_device(stream, batch.targets, targets.data());
    const Tensor losses(losses_.data(), DType::f32, {samples * length});
    model_.evaluate(context, batch, losses);
    context.ops.sum(losses, sum);
    stream.synchronize();  // the host buffers are filled again
    totals[1] += static_cast<double>(samples * length);
    if (!byte_lengths.empty())
      for (std::int32_t id : targets) totals[2] += byte_lengths[static_cast<std::size_t>(id)];
  }
  device_.copy_to_host(stream, &host_sum, Tensor(sum, DType::f64, {1}));
  stream.synchronize();
  totals[0] = host_sum;
  mesh_.data().all_reduce_host(totals, 3, Reduction::sum, "evaluation");
  return {totals[0], static_cast<std::int64_t>(totals[1]), static_cast<std::int64_t>(totals[2])};
}

}  // namespace heddle
