// ProgressLine: what a person sees while a run trains.
//
// On a terminal one line that is redrawn; elsewhere (a log file, mpirun's output) one plain line per record.
// Validations, saves and warnings are lines of their own in both.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

#include "trainer/metrics/metrics.h"

namespace heddle {

struct ProgressStyle {
  bool redraw = false;  // one line, drawn again and again
  bool color = false;
  int width = 0;                // columns; 0: the terminal is asked each time, because windows are resized
  double redraw_seconds = 0.1;  // not more often; a small model does hundreds of steps a second

  // For standard output. Redraws only if both it and standard error are terminals: mpirun connects the first
  // to a pseudo-terminal even where its own output goes to a file. No colour under NO_COLOR (no-color.org) or
  // TERM=dumb.
  static ProgressStyle detect();
};

// A record as one line of at most `width` columns (0: any), without newline. What does not fit is left out,
// the least needed first: MFU, gradient norm, learning rate, time left, tokens per second. seconds_left:
// negative if unknown.
std::string progress_text(const MetricsRecord& record, std::int64_t total_steps, double seconds_left,
                          int width, bool color);

std::string duration_text(double seconds);  // "45s", "3min 12s", "2h 05min", "3d 04h"
std::string count_text(double count);       // "950", "12.3k", "4.56M"

class ProgressLine {
 public:
  ProgressLine(std::FILE* stream, ProgressStyle style, std::int64_t total_steps);
  ~ProgressLine();  // ends a line that is still being redrawn
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void step(const MetricsRecord& record);                      // after a training step
  void validation(const MetricsRecord& record, bool is_best);  // record.validation_loss
  void saved(std::int64_t step, const std::string& path);      // a checkpoint
  void note(const std::string& line);                          // anything else, a line of its own

 private:
  void clear();
  double estimate_seconds_left(const MetricsRecord& record);

  std::FILE* stream_;
  ProgressStyle style_;
  std::int64_t total_steps_;
  std::string shown_;             // on the terminal's current line
  double mean_step_seconds_ = 0;  // over the last ten or so records
  std::chrono::steady_clock::time_point last_drawn_{};
};

}  // namespace heddle
