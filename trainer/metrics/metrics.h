// Metrics of a run: one JSON object per line in metrics.jsonl, and the same numbers for TensorBoard.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trainer/metrics/event_file.h"
#include "trainer/metrics/run_folder.h"

namespace heddle {

// What is known after `step` optimizer steps. A record of a validation alone has no training loss, and so on.
struct MetricsRecord {
  std::int64_t step = 0;
  std::int64_t tokens = 0;                       // trained on since step 0
  std::optional<double> loss = {};               // nats per token, mean of the step's global batch
  std::optional<double> validation_loss = {};    // nats per token
  std::optional<double> learning_rate = {};      // of this step
  std::optional<double> gradient_norm = {};      // global, before clipping
  std::optional<double> step_seconds = {};       // mean since the last record
  std::optional<double> tokens_per_second = {};  // of all ranks
  std::optional<double> mfu = {};                // model FLOP utilisation, 0 to 1
  bool operator==(const MetricsRecord&) const = default;
};

// {"step":1,"tokens":32768,"loss":10.9743262,...} without newline. Numbers have the nine digits that tell any
// two floats apart, so that runs can be compared as text; JSON has no NaN: "nan", "inf" and "-inf" are
// strings.
std::string to_json(const MetricsRecord& record);
MetricsRecord parse_metrics(const std::string& line,
                            const std::string& where);  // throws Error("<where>: ...")

// All records of a metrics.jsonl. A last line without a newline was being written when the run died, and is
// left out; any other line that is no record is an Error naming it.
std::vector<MetricsRecord> read_metrics(const std::filesystem::path& path);

// Appends records to a run; one rank only.
class MetricsWriter {
 public:
  // Records of steps after `resumed_step` are dropped, because those steps are taken again: 0 for a new run.
  MetricsWriter(const RunFolder& folder, std::int64_t resumed_step, bool tensorboard);

  // The line is handed to the system before this returns; throws Error if the disk is full.
  void write(const MetricsRecord& record);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::optional<EventFile> events_;
};

}  // namespace heddle
