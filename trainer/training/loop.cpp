#include "trainer/training/loop.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "kernels/error.h"
#include "parallel/agreement.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/metrics/metrics.h"
#include "trainer/metrics/progress.h"
#include "trainer/optim/schedule.h"
#include "trainer/training/signals.h"
#include "trainer/training/state.h"

namespace heddle {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

constexpr std::int64_t kNoEnd = std::numeric_limits<std::int64_t>::max();

Schedule schedule_of(const TrainingRun& run, const PeriodContext& context, std::int64_t total_steps) {
  const OptimizerOptions& o = run.options.optimizer;
  Schedule schedule;
  schedule.kind = o.schedule;
  schedule.peak = o.learning_rate;
  schedule.minimum = o.min_learning_rate;
  schedule.warmup = o.warmup.steps(context);
  schedule.cooldown = o.cooldown.steps(context);
  schedule.hidden_size = run.options.model.hidden_size;
  // check() has refused a falling schedule without an end.
  if (!o.decay_length.is_zero()) {
    schedule.decay = o.decay_length.steps(context);
  } else if (total_steps != kNoEnd) {
    schedule.decay = total_steps;
  }
  return schedule;
}

double flops_per_token(const TrainingRun& run) {
  const TrainingData::MeanLengths lengths = run.data.mean_lengths();
  return run.engine.model().flops_per_token(lengths.length, lengths.source_length).causal();
}

// The state of one call of train(): what happens between steps, in order.
class Loop {
 public:
  Loop(const TrainingRun& run, TrainingState state)
      : run_(run),
        state_(state),
        context_(run.data.periods()),
        total_steps_(run.options.train.length.is_time() ? kNoEnd : run.options.train.length.steps(context_)),
        schedule_(schedule_of(run, context_, total_steps_)),
        log_(run.options.log.log_every, context_),
        validate_(run.options.evaluation.validate_every, context_),
        save_(run.options.checkpoint.save_every, context_),
        flops_per_token_(flops_per_token(run)),
        start_(Clock::now()),
        last_record_(start_),
        last_record_step_(state.step) {
    end_.last_loss = end_.last_validation_loss = std::nan("");
    agree(run.mesh.world(), "opening metrics", [&] {
      if (run.mesh.rank() != 0) return;
      metrics_.emplace(run.folder, state.step, run.options.log.tensorboard);
      progress_.emplace(stdout, ProgressStyle::detect(), total_steps_ == kNoEnd ? 0 : total_steps_);
    });
  }

  TrainingEnd run() {
    SignalWatch signals;
    while (!finished()) {
      take_step();
      const bool validates = validation_is_due();
      if (validates) validate();
      const StopRequest request = decide(signals);
      const bool stops = request == StopRequest::save_and_exit || finished();
      if (request == StopRequest::save || stops || save_.due(state_.step, tokens(), seconds_)) save();
      if (request == StopRequest::save_and_exit && !finished()) {
        end_.preempted = true;
        end_.reason = "signal";
        break;
      }
    }
    if (taken_) end_.last_loss = run_.engine.result().loss;
    end_.state = state_;
    if (end_.reason.empty()) end_.reason = "nothing left to do";
    return end_;
  }

 private:
  bool rank0() const { return run_.mesh.rank() == 0; }
  std::int64_t tokens() const { return run_.data.tokens_before(state_.step); }

  // Ends for a reason, which is kept for the person.
  bool finished() {
    const TrainOptions& t = run_.options.train;
    if (state_.step >= total_steps_) {
      end_.reason = fmt::format("{} steps done", state_.step);
    } else if (t.length.is_time() && seconds_ >= t.length.value) {
      end_.reason = fmt::format("{} reached", to_string(t.length));
    } else if (t.early_stop > 0 && state_.evaluations_without_improvement >= t.early_stop) {
      end_.reason = fmt::format("no improvement in {} evaluations", state_.evaluations_without_improvement);
    } else {
      return false;
    }
    return true;
  }

  void take_step() {
    run_.session.set_progress(state_.step, "training step");
    const double rate = schedule_.rate(state_.step);
    run_.engine.step(state_.step, run_.data.batch(state_.step), rate);
    ++state_.step;
    taken_ = true;
    if (!log_.due(state_.step, tokens(), seconds_since(start_)) || !rank0()) return;

    const Engine::StepResult result = run_.engine.result();
    MetricsRecord record;
    record.step = state_.step;
    record.tokens = tokens();
    record.loss = result.loss;
    record.learning_rate = rate;
    record.gradient_norm = result.gradient_norm;
    const double steps = static_cast<double>(state_.step - last_record_step_), seconds = seconds_since(last_record_);
    record.step_seconds = seconds / steps;
    record.tokens_per_second =
        static_cast<double>(record.tokens - run_.data.tokens_before(last_record_step_)) / seconds;
    if (run_.peak_flops > 0) record.mfu = flops_per_token_ * *record.tokens_per_second / run_.peak_flops;
    last_record_ = Clock::now();
    last_record_step_ = state_.step;
    metrics_->write(record);
    progress_->step(record);
  }

  bool validation_is_due() {
    if (!run_.data.has_validation() || run_.options.evaluation.validate_every.is_zero()) return false;
    return validate_.due(state_.step, tokens(), seconds_) || state_.step == total_steps_;
  }

  void validate() {
    run_.engine.finish();
    run_.session.set_progress(state_.step, "validation");
    const Clock::time_point begin = Clock::now();
    const double loss =
        validation_loss(run_.engine, run_.data, run_.mesh, run_.options.evaluation.validation_batches);
    end_.last_validation_loss = loss;
    is_best_ = loss < state_.best_validation_loss;
    if (is_best_) {
      state_.best_validation_loss = loss;
      state_.evaluations_without_improvement = 0;
    } else {
      ++state_.evaluations_without_improvement;
    }
    if (rank0()) {
      MetricsRecord record;
      record.step = state_.step;
      record.tokens = tokens();
      record.validation_loss = loss;
      metrics_->write(record);
      progress_->validation(record, is_best_);
    }
    last_record_ += std::chrono::duration_cast<Clock::duration>(Clock::now() - begin);  // not training time
    if (is_best_ && run_.options.checkpoint.keep_best) save();
  }

  // One decision for all ranks: the strongest signal any of them got, and rank 0's clock.
  StopRequest decide(SignalWatch& signals) {
    std::int64_t values[2] = {static_cast<std::int64_t>(signals.take()), 0};
    if (rank0()) values[1] = static_cast<std::int64_t>((first_seconds_ + seconds_since(start_)) * 1000);
    run_.mesh.world().all_reduce_host(values, 2, Reduction::max, "stop or go on");
    seconds_ = static_cast<double>(values[1]) / 1000;
    return static_cast<StopRequest>(values[0]);
  }

  void save() {
    if (saved_step_ == state_.step) return;
    run_.engine.finish();
    run_.session.set_progress(state_.step, "saving a checkpoint");
    const Clock::time_point begin = Clock::now();
    state_.seconds = seconds_;
    const std::vector<CheckpointTensor> tensors = training_tensors(run_.engine.parameters(), run_.mesh);
    const std::string config = resolved_config(run_.options);
    const nlohmann::json state = to_json(state_);
    const CheckpointContent content{state_.step, run_.mesh.layout(), tensors, config, state};
    Retention retention;
    retention.keep = static_cast<int>(run_.options.checkpoint.keep);
    std::optional<SaveReport> report;
    agree(run_.mesh.world(), "after saving", [&] {
      report = save_checkpoint(run_.folder.checkpoints(), content, run_.device, run_.mesh.world(), retention);
      if (rank0() && is_best_ && run_.options.checkpoint.keep_best)
        mark_best(run_.folder.checkpoints(), state_.step, {{"validation_loss", state_.best_validation_loss}});
    });
    is_best_ = false;
    saved_step_ = state_.step;
    if (rank0()) {
      progress_->saved(state_.step, report->path.string());
      for (const std::string& warning : report->warnings) progress_->note(warning);
    }
    last_record_ += std::chrono::duration_cast<Clock::duration>(Clock::now() - begin);
  }

  const TrainingRun& run_;
  TrainingState state_;
  const PeriodContext context_;
  const std::int64_t total_steps_;
  const Schedule schedule_;
  PeriodTrigger log_, validate_, save_;
  const double flops_per_token_;
  const Clock::time_point start_;
  Clock::time_point last_record_;
  std::int64_t last_record_step_;
  const double first_seconds_ = state_.seconds;
  double seconds_ = state_.seconds;  // of training, by rank 0's clock, as of the last decision
  bool is_best_ = false;
  bool taken_ = false;  // a step, in this call
  std::int64_t saved_step_ = -1;
  std::optional<MetricsWriter> metrics_;
  std::optional<ProgressLine> progress_;
  TrainingEnd end_;
};

}  // namespace

TrainingEnd train(const TrainingRun& run, TrainingState state) { return Loop(run, state).run(); }

double validation_loss(Engine& engine, TrainingData& data, Mesh& mesh, std::int64_t batches) {
  double sums[2] = {0, 0};  // losses, tokens
  data.validate(batches, [&](const HostBatch& batch) {
    sums[0] += engine.evaluate(batch);
    sums[1] += static_cast<double>(batch.valid_tokens);
  });
  mesh.data().all_reduce_host(sums, 2, Reduction::sum, "validation loss");
  return sums[0] / std::max(sums[1], 1.0);
}

}  // namespace heddle
