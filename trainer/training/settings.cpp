#include "trainer/training/settings.h"

namespace heddle {

std::int64_t micro_batch_of(const Options& options, Layout layout) {
  return options.train.micro_batch > 0 ? options.train.micro_batch
                                       : options.train.global_batch / layout.data_parallel;
}

EngineSettings engine_settings(const Options& options, Layout layout) {
  EngineSettings settings;
  settings.model = options.model;
  settings.act = act_of(options.train.precision);
  settings.seed = static_cast<std::uint64_t>(options.train.seed);
  settings.recompute_blocks = options.train.recompute == Recompute::blocks;
  settings.micro_batch = micro_batch_of(options, layout);
  settings.samples = options.train.global_batch / layout.data_parallel;
  settings.length = options.model.context_length;
  const OptimizerOptions& o = options.optimizer;
  settings.optimizer = {static_cast<float>(o.beta1), static_cast<float>(o.beta2), static_cast<float>(o.epsilon),
                        static_cast<float>(o.weight_decay), static_cast<float>(o.clip_norm), o.stochastic_rounding};
  settings.graph = options.device.graph;
  settings.reducer = {static_cast<std::size_t>(options.parallel.bucket_megabytes) << 20,
                      act_of(options.parallel.gradient_wire)};
  return settings;
}

}  // namespace heddle
