// An engine to look into: losses, gradients, and whether these belong together.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/trainer/model_test_support.h"

namespace heddle {

struct Trial {
  explicit Trial(const EngineSettings& settings)
      : device(make_cpu_device(1)), mesh(single_rank_mesh(*device)), engine(settings, *device, *mesh) {}

  // Mean loss, from a forward without dropout.
  double loss(const HostBatch& batch) { return engine.evaluate(batch) / static_cast<double>(batch.valid_tokens); }
  Engine::StepResult step(std::int64_t step, const HostBatch& batch, double learning_rate) {
    engine.step(step, batch, learning_rate);
    return engine.result();
  }
  std::vector<float> gradients() {
    const Tensor& g = engine.parameters().flat_gradients();
    return {g.as<float>(), g.as<float>() + g.count()};
  }
  // Of each token of the batch: [samples * length].
  std::vector<float> token_losses(const HostBatch& batch);

  std::unique_ptr<Device> device;
  std::unique_ptr<Mesh> mesh;
  Engine engine;
};

inline std::vector<float> Trial::token_losses(const HostBatch& b) {
  const BatchShape& shape = b.shape;
  std::vector<std::int32_t> positions, source_positions;
  for (std::int64_t i = 0; i < shape.tokens(); ++i) positions.push_back(static_cast<std::int32_t>(i % shape.length));
  for (std::int64_t i = 0; i < shape.source_tokens(); ++i)
    source_positions.push_back(static_cast<std::int32_t>(i % shape.source_length));
  const auto tensor = [](const std::int32_t* data, std::int64_t count) {
    return Tensor(const_cast<std::int32_t*>(data), DType::i32, {count});
  };
  Batch batch;
  batch.samples = shape.samples;
  batch.length = shape.length;
  batch.ids = tensor(b.inputs, shape.tokens());
  batch.targets = tensor(b.targets, shape.tokens());
  batch.positions = tensor(positions.data(), shape.tokens());
  batch.source_length = shape.source_length;
  if (shape.source_length > 0) {
    batch.source_ids = tensor(b.source, shape.source_tokens());
    batch.source_positions = tensor(source_positions.data(), shape.source_tokens());
    batch.source_lengths = tensor(b.source_lengths, shape.samples);
  }
  std::vector<float> losses(static_cast<std::size_t>(shape.tokens()));
  Tape tape(device->allocate(std::size_t{64} << 20));
  Context context{.device = *device, .ops = device->ops(), .mesh = *mesh, .tape = tape};
  engine.model().evaluate(context, batch, Tensor(losses.data(), DType::f32, {shape.tokens()}));
  return losses;
}

// The change of `loss` along each parameter's own gradient must be the gradient's squared length. `has_none(name)`:
// parameters on which no loss depends.
inline void expect_gradients_are_slopes(
    Trial& trial, const std::function<double()>& loss,
    const std::function<bool(const std::string&)>& has_none = [](const std::string&) { return false; }) {
  std::vector<std::vector<float>> gradients;  // before `loss` makes others
  for (Parameter& p : trial.engine.parameters().parameters())
    gradients.emplace_back(p.gradient.as<float>(), p.gradient.as<float>() + p.count());
  std::size_t number = 0;
  for (Parameter& p : trial.engine.parameters().parameters()) {
    const std::vector<float>& gradient = gradients[number++];
    const std::int64_t n = p.count();
    float* value = p.master.as<float>();
    const std::vector<float> start(value, value + n);
    double squared = 0;
    for (float g : gradient) squared += static_cast<double>(g) * g;
    const double length = std::sqrt(squared);
    if (has_none(p.spec.name)) {
      EXPECT_LT(length, 1e-6) << p.spec.name;
      continue;
    }
    ASSERT_GT(length, 1e-6) << p.spec.name << " gets no gradient";
    const double step = 2e-2;
    const auto loss_at = [&](double distance) {
      for (std::int64_t i = 0; i < n; ++i)
        value[i] = static_cast<float>(start[static_cast<std::size_t>(i)] +
                                      distance * gradient[static_cast<std::size_t>(i)] / length);
      trial.device->ops().parameters_changed();
      return loss();
    };
    // Fourth-order central difference: the curvature of the loss cancels.
    const double slope = (8 * (loss_at(step / 2) - loss_at(-step / 2)) - (loss_at(step) - loss_at(-step))) / (6 * step);
    loss_at(0);
    EXPECT_NEAR(slope, length, 5e-3 * length + 2e-5) << p.spec.name;
  }
}

}  // namespace heddle
