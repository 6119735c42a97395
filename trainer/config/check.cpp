#include "trainer/config/check.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "kernels/error.h"
#include "trainer/models/model.h"

namespace heddle {
namespace {

constexpr std::int64_t kMaxHeadSize = 256;  // what the attention kernels hold in registers and shared memory

// Up to seven of the numbers for which `works`, around `wanted`, in order.
template <typename Predicate>
std::string list_near(std::int64_t wanted, std::int64_t highest, Predicate works) {
  constexpr std::size_t kMost = 7;
  std::vector<std::int64_t> good;
  for (std::int64_t n = 1; n <= highest; ++n)
    if (works(n)) good.push_back(n);
  const auto nearer = [&](std::int64_t a, std::int64_t b) {
    return std::abs(a - wanted) < std::abs(b - wanted);
  };
  std::stable_sort(good.begin(), good.end(), nearer);
  good.resize(std::min(good.size(), kMost));
  std::sort(good.begin(), good.end());
  std::vector<std::string> texts;
  for (const std::int64_t n : good) texts.push_back(print_value(n));
  return join(texts, ", ");
}

void check_model(const ModelOptions& model) {
  if (model.head_size == 0 && model.hidden_size % model.num_heads != 0) {
    const auto works = [&](std::int64_t n) {
      return model.hidden_size % n == 0 && model.hidden_size / n <= kMaxHeadSize;
    };
    throw usage_error("num_heads = {} does not divide hidden_size = {}: {} would, or set head_size",
                      model.num_heads, model.hidden_size,
                      list_near(model.num_heads, model.hidden_size, works));
  }
  if (model.head_size_in_use() > kMaxHeadSize) {
    const auto works = [&](std::int64_t n) {
      return model.hidden_size % n == 0 && model.hidden_size / n <= kMaxHeadSize;
    };
    throw usage_error(
        "hidden_size = {} and num_heads = {} make heads of {}, but at most {} is supported: num_heads = {} "
        "would work",
        model.hidden_size, model.num_heads, model.head_size_in_use(), kMaxHeadSize,
        list_near(model.num_heads, model.hidden_size, works));
  }
}

void check_optimizer(const OptimizerOptions& optimizer, const Period& length) {
  if (optimizer.min_learning_rate > optimizer.learning_rate) {
    throw usage_error("min_learning_rate = {} is above learning_rate = {}; lower it or raise the other",
                      print_value(optimizer.min_learning_rate), print_value(optimizer.learning_rate));
  }
  const bool is_wsd = optimizer.schedule == ScheduleKind::wsd;
  if (is_wsd && optimizer.cooldown.is_zero())
    throw usage_error("schedule = wsd needs a cooldown, for example cooldown = {}",
                      to_string(Period{std::max(1.0, std::floor(length.value / 10)), length.unit}));
  if (!is_wsd && !optimizer.cooldown.is_zero())
    throw usage_error("cooldown = {} is of schedule = wsd only; remove it or set schedule = wsd",
                      to_string(optimizer.cooldown));
  const bool falls =
      is_wsd || optimizer.schedule == ScheduleKind::linear || optimizer.schedule == ScheduleKind::cosine;
  if (falls && length.is_time() && optimizer.decay_length.is_zero())
    throw usage_error(
        "schedule = {} falls towards the end of training, but length = {} is a time: set decay_length in steps, "
        "tokens or epochs",
        Choices<ScheduleKind>::names[static_cast<std::size_t>(optimizer.schedule)], to_string(length));
  const bool needs_warmup =
      optimizer.schedule == ScheduleKind::noam || optimizer.schedule == ScheduleKind::inverse_sqrt;
  if (needs_warmup && optimizer.warmup.is_zero())
    throw usage_error(
        "schedule = {} divides by its warmup, which is 0; set warmup, for example warmup = 100steps",
        Choices<ScheduleKind>::names[static_cast<std::size_t>(optimizer.schedule)]);
}

void check_tensor_parallel(const Options& options) {
  const std::int64_t ranks = options.parallel.tensor_parallel;
  const ModelOptions& model = options.model;
  const auto works = [&](std::int64_t n) {
    return model.num_heads % n == 0 && model.ffn_size_in_use() % n == 0;
  };
  if (works(ranks)) return;
  throw usage_error("tensor_parallel = {} must divide num_heads = {} and ffn_size = {}: {} would work", ranks,
                    model.num_heads, model.ffn_size_in_use(), list_near(ranks, model.num_heads, works));
}

void check_batch(const Options& options, std::int64_t data_parallel) {
  const std::int64_t global = options.train.global_batch, micro = options.train.micro_batch;
  if (global % data_parallel != 0) {
    const auto works = [&](std::int64_t n) { return n % data_parallel == 0; };
    throw usage_error("global_batch = {} cannot be shared by data_parallel = {} replicas: {} could", global,
                      data_parallel, list_near(global, global + data_parallel, works));
  }
  const std::int64_t per_replica = global / data_parallel;
  if (micro == 0 || per_replica % micro == 0) return;
  throw usage_error(
      "micro_batch = {} does not divide the {} samples per replica (global_batch = {}, data_parallel = {}): "
      "{} would",
      micro, per_replica, global, data_parallel,
      list_near(micro, per_replica, [&](std::int64_t n) { return per_replica % n == 0; }));
}

}  // namespace

Layout layout_for(const Options& options, int ranks) {
  const std::int64_t tensor = options.parallel.tensor_parallel;
  const std::int64_t data = options.parallel.data_parallel > 0 ? options.parallel.data_parallel
                                                               : std::max<std::int64_t>(1, ranks / tensor);
  if (data * tensor == ranks) return {static_cast<int>(data), static_cast<int>(tensor)};

  std::vector<std::string> layouts;
  for (int n = 1; n <= ranks; ++n) {
    const ModelOptions& model = options.model;
    if (ranks % n != 0 || model.num_heads % n != 0 || model.ffn_size_in_use() % n != 0) continue;
    layouts.push_back(fmt::format("{} x {}", ranks / n, n));
  }
  throw usage_error(
      "data_parallel = {} x tensor_parallel = {} needs {} ranks, but there are {}; {} would work", data,
      tensor, data * tensor, ranks, join(layouts, ", "));
}

void check(const Options& options, int ranks) {
  check_model(options.model);
  check_optimizer(options.optimizer, options.train.length);
  if (options.optimizer.stochastic_rounding && options.train.precision == Precision::fp32)
    throw usage_error(
        "stochastic_rounding rounds the weights of precision = bf16, but precision = fp32; remove it or set "
        "precision = bf16");
  check_tensor_parallel(options);
  if (model_input(options.model) == ModelInput::pairs) {
    // Batches of pairs may have any size: what a rank lacks is filled up.
    if (ranks > 0) layout_for(options, ranks);
  } else if (ranks > 0) {
    check_batch(options, layout_for(options, ranks).data_parallel);
  } else if (options.parallel.data_parallel > 0) {
    check_batch(options, options.parallel.data_parallel);
  } else {
    check_batch(options, 1);  // what divides a replica's share divides the whole as well
  }
  if (!options.generation.prompt.empty() && !options.generation.prompt_file.empty())
    throw usage_error("prompt and prompt_file are both given; remove one of the two");
}

}  // namespace heddle
