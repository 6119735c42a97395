#include "trainer/training/plan.h"

#include <algorithm>

#include "kernels/plan/plan_device.h"

namespace heddle {

namespace {

Batch planned_batch(const BatchShape& shape) {
  const auto tokens = [&](std::int64_t each) { return Tensor(nullptr, DType::i32, {shape.micro_batch * each}); };
  Batch batch;
  batch.samples = shape.micro_batch;
  batch.length = shape.length;
  batch.ids = batch.positions = batch.targets = tokens(shape.length);
  batch.source_length = shape.source_length;
  if (shape.source_length == 0) return batch;
  batch.source_ids = batch.source_positions = tokens(shape.source_length);
  batch.source_lengths = tokens(1);
  return batch;
}

}  // namespace

StepPlan plan_step(const EngineSettings& settings, Layout layout, int rank, Device& planned) {
  const std::unique_ptr<PlanDevice> device = make_plan_device(&planned);
  const std::unique_ptr<Mesh> mesh = make_plan_mesh(layout, rank);
  ParameterTable table(layout.tensor_parallel, mesh->tensor_rank());
  const std::unique_ptr<Model> model = make_model(settings.model, settings.seed, table);
  table.allocate(*device, settings.act, ParameterTable::Purpose::training);

  Tape tape;
  Context context{.device = *device,
                  .ops = device->ops(),
                  .mesh = *mesh,
                  .tape = tape,
                  .act = settings.act,
                  .training = true,
                  .recompute_blocks = settings.recompute_blocks};
  const float scale = 1;
  const std::uint32_t step = 0;
  context.step = &step;
  StepPlan plan;
  for (const BatchShape& shape : settings.shapes) {
    const Batch batch = planned_batch(shape);
    const Tensor losses(nullptr, DType::f32, {shape.micro_batch * shape.length});
    device->reset_totals();
    context.training = true;
    context.recompute_blocks = settings.recompute_blocks;
    model->train(context, batch, &scale, losses);
    plan.flops = std::max(plan.flops, static_cast<double>(device->totals().all().flops));
    context.training = context.recompute_blocks = false;
    model->evaluate(context, batch, losses);
    plan.workspace_bytes = std::max(plan.workspace_bytes, device->largest_matmul_workspace());
  }

  plan.parameters = table.bytes(settings.act, ParameterTable::Purpose::training);
  plan.activation_bytes = tape.peak_bytes();
  if (settings.reducer.wire != DType::f32 && layout.data_parallel > 1)
    plan.wire_bytes = static_cast<std::size_t>(table.flat_count()) * size_of(settings.reducer.wire);
  const StepMemory memory = step_memory(settings.shapes);
  plan.batch_bytes = memory.input + memory.losses;
  return plan;
}

std::vector<StepPlan::Row> StepPlan::rows() const {
  std::vector<Row> rows;
  const auto add = [&](const char* category, std::size_t bytes) {
    if (bytes > 0) rows.push_back({category, bytes});
  };
  add("parameters (bf16 copy)", parameters.values);
  add("parameters (fp32 master)", parameters.master);
  add("gradients (fp32)", parameters.gradients);
  add("AdamW moments (fp32)", parameters.moments);
  add("positions", parameters.constants);
  add("activations", activation_bytes);
  add("work space of matmul", workspace_bytes);
  add("gradients on the wire", wire_bytes);
  add("batch", batch_bytes);
  return rows;
}

std::size_t StepPlan::total() const {
  std::size_t sum = 0;
  for (const Row& row : rows()) sum += row.bytes;
  return sum;
}

}  // namespace heddle
