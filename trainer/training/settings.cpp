#include "trainer/training/settings.h"

#include <string>

#include "kernels/error.h"

namespace heddle {

namespace {

std::string divisors(std::int64_t n) {
  std::string text;
  for (std::int64_t d = 1; d <= n; ++d)
    if (n % d == 0) text += (text.empty() ? "" : ", ") + std::to_string(d);
  return text;
}

}  // namespace

std::int64_t micro_batch_of(const Options& options, Layout layout) {
  const std::int64_t global = options.train.global_batch, ranks = layout.data_parallel;
  if (global % ranks != 0)
    throw usage_error("train.global_batch = {} does not divide among {} data-parallel ranks; {} or {} would", global,
                      ranks, global / ranks * ranks == 0 ? ranks : global / ranks * ranks,
                      (global / ranks + 1) * ranks);
  const std::int64_t samples = global / ranks, micro = options.train.micro_batch ? options.train.micro_batch : samples;
  if (samples % micro != 0)
    throw usage_error("train.micro_batch = {} does not divide the {} samples of a rank (global_batch {} / {} ranks); "
                      "sizes that work: {}",
                      micro, samples, global, ranks, divisors(samples));
  return micro;
}

EngineSettings engine_settings(const Options& options, Layout layout) {
  EngineSettings settings;
  settings.model = options.model;
  settings.act = act_of(options.train.precision);
  settings.seed = static_cast<std::uint64_t>(options.train.seed);
  settings.recompute_blocks = options.train.recompute == Recompute::blocks;
  settings.micro_batch = micro_batch_of(options, layout);
  settings.length = options.model.context_length;
  const OptimizerOptions& o = options.optimizer;
  settings.optimizer = {static_cast<float>(o.beta1), static_cast<float>(o.beta2), static_cast<float>(o.epsilon),
                        static_cast<float>(o.weight_decay), static_cast<float>(o.clip_norm)};
  settings.reducer = {static_cast<std::size_t>(options.parallel.bucket_megabytes) << 20,
                      act_of(options.parallel.gradient_wire)};
  return settings;
}

}  // namespace heddle
