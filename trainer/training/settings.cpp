#include "trainer/training/settings.h"

#include <algorithm>

#include "trainer/models/model.h"

namespace heddle {

std::int64_t micro_batch_of(const Options& options, Layout layout) {
  return options.train.micro_batch > 0 ? options.train.micro_batch
                                       : options.train.global_batch / layout.data_parallel;
}

BatchShape full_shape(const Options& options, Layout layout) {
  const std::int64_t length = options.model.context_length;
  const bool pairs = model_input(options.model) == ModelInput::pairs;
  BatchShape shape;
  shape.length = length;
  shape.source_length = pairs ? length : 0;
  const auto samples_in = [&](std::int64_t tokens) { return std::max<std::int64_t>(1, tokens / length); };
  const bool by_tokens = pairs && options.train.batch_tokens > 0;
  const std::int64_t global = by_tokens ? samples_in(options.train.batch_tokens) : options.train.global_batch;
  const std::int64_t mine = (global + layout.data_parallel - 1) / layout.data_parallel;
  shape.micro_batch = mine;
  if (options.train.micro_batch > 0) shape.micro_batch = options.train.micro_batch;
  if (pairs && options.train.micro_batch_tokens > 0) shape.micro_batch = samples_in(options.train.micro_batch_tokens);
  shape.micro_batch = std::min(shape.micro_batch, mine);
  shape.samples = (mine + shape.micro_batch - 1) / shape.micro_batch * shape.micro_batch;
  return shape;
}

EngineSettings engine_settings(const Options& options, Layout layout) {
  EngineSettings settings;
  settings.model = options.model;
  settings.act = act_of(options.train.precision);
  settings.seed = static_cast<std::uint64_t>(options.train.seed);
  settings.recompute_blocks = options.train.recompute == Recompute::blocks;
  settings.label_smoothing = static_cast<float>(options.train.label_smoothing);
  settings.shapes = {full_shape(options, layout)};
  const OptimizerOptions& o = options.optimizer;
  settings.optimizer = {static_cast<float>(o.beta1), static_cast<float>(o.beta2), static_cast<float>(o.epsilon),
                        static_cast<float>(o.weight_decay), static_cast<float>(o.clip_norm), o.stochastic_rounding};
  settings.graph = options.device.graph;
  settings.reducer = {static_cast<std::size_t>(options.parallel.bucket_megabytes) << 20,
                      act_of(options.parallel.gradient_wire)};
  return settings;
}

}  // namespace heddle
