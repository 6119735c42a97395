#include "trainer/metrics/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace heddle {
namespace {

int terminal_width(std::FILE* stream) {
  winsize size{};
  if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

// One column of the line; `need` 0 is never left out.
struct Part {
  int need;
  std::string label;
  std::string value;
  std::string unit;
  std::size_t width() const { return label.size() + value.size() + unit.size(); }
};

constexpr std::string_view kGap = "  ";
constexpr std::string_view kDim = "\x1b[2m", kBold = "\x1b[1m", kPlain = "\x1b[0m";

std::size_t total_width(const std::vector<Part>& parts) {
  std::size_t width = 0;
  for (const Part& part : parts) width += part.width() + (width > 0 ? kGap.size() : 0);
  return width;
}

std::vector<Part> parts_of(const MetricsRecord& record, std::int64_t total_steps, double seconds_left) {
  std::vector<Part> parts;
  const std::string total = fmt::format("{}", total_steps);
  parts.push_back({0, "step ", fmt::format("{:>{}}/{}", record.step, total.size(), total), ""});
  if (record.loss) parts.push_back({0, "loss ", fmt::format("{:.4f}", *record.loss), ""});
  if (record.learning_rate) parts.push_back({3, "lr ", fmt::format("{:.2e}", *record.learning_rate), ""});
  if (record.gradient_norm)
    parts.push_back({4, "grad norm ", fmt::format("{:.3f}", *record.gradient_norm), ""});
  if (record.tokens_per_second) parts.push_back({1, "", count_text(*record.tokens_per_second), " tokens/s"});
  if (record.mfu) parts.push_back({5, "MFU ", fmt::format("{:.1f}%", 100 * *record.mfu), ""});
  if (seconds_left >= 0) parts.push_back({2, "ETA ", duration_text(seconds_left), ""});
  return parts;
}

}  // namespace

ProgressStyle ProgressStyle::detect() {
  ProgressStyle style;
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string_view(value ? value : "");
  };
  style.redraw = isatty(STDOUT_FILENO) && isatty(STDERR_FILENO) && variable("TERM") != "dumb";
  style.color = style.redraw && variable("NO_COLOR").empty();
  return style;
}

std::string duration_text(double seconds) {
  if (!(seconds < 1e9)) return "a long time";
  const auto whole = static_cast<std::int64_t>(std::llround(std::max(0.0, seconds)));
  if (whole < 60) return fmt::format("{}s", whole);
  if (whole < 3600) return fmt::format("{}min {:02}s", whole / 60, whole % 60);
  if (whole < 86400) return fmt::format("{}h {:02}min", whole / 3600, whole / 60 % 60);
  return fmt::format("{}d {:02}h", whole / 86400, whole / 3600 % 24);
}

std::string count_text(double count) {
  constexpr std::string_view kPrefixes = " kMGT";
  std::size_t power = 0;
  // 999.6 would print as "1000": the step to the next prefix is where three digits round up.
  for (; count >= 999.5 && power + 1 < kPrefixes.size(); ++power) count /= 1000;
  const int decimals = power == 0 || count >= 99.95 ? 0 : count >= 9.995 ? 1 : 2;
  const std::string prefix = power == 0 ? "" : std::string(1, kPrefixes[power]);
  return fmt::format("{:.{}f}{}", count, decimals, prefix);
}

std::string progress_text(const MetricsRecord& record, std::int64_t total_steps, double seconds_left,
                          int width, bool color) {
  std::vector<Part> parts = parts_of(record, total_steps, seconds_left);
  const std::size_t limit = width > 0 ? static_cast<std::size_t>(width) : std::string::npos;
  while (total_width(parts) > limit) {
    const auto least = std::max_element(parts.begin(), parts.end(),
                                        [](const Part& a, const Part& b) { return a.need < b.need; });
    if (least->need == 0) break;
    parts.erase(least);
  }

  std::string plain, colored;
  for (const Part& part : parts) {
    const std::string gap(plain.empty() ? "" : kGap);
    plain += gap + part.label + part.value + part.unit;
    colored += fmt::format("{}{}{}{}{}{}{}", gap, kDim, part.label, kPlain, part.value, kDim, part.unit);
    colored += kPlain;
  }
  if (plain.size() > limit) return plain.substr(0, limit);  // not even the step and the loss fit
  return color ? colored : plain;
}

ProgressLine::ProgressLine(std::FILE* stream, ProgressStyle style, std::int64_t total_steps)
    : stream_(stream), style_(style), total_steps_(total_steps) {}

ProgressLine::~ProgressLine() {
  if (shown_.empty()) return;
  std::fputc('\n', stream_);
  std::fflush(stream_);
}

double ProgressLine::estimate_seconds_left(const MetricsRecord& record) {
  if (record.step_seconds && std::isfinite(*record.step_seconds)) {
    constexpr double kWeight = 0.1;
    mean_step_seconds_ = mean_step_seconds_ == 0
                             ? *record.step_seconds
                             : (1 - kWeight) * mean_step_seconds_ + kWeight * *record.step_seconds;
  }
  if (mean_step_seconds_ == 0) return -1;
  return mean_step_seconds_ * static_cast<double>(std::max<std::int64_t>(0, total_steps_ - record.step));
}

void ProgressLine::step(const MetricsRecord& record) {
  const double seconds_left = estimate_seconds_left(record);
  if (!style_.redraw) {
    std::fprintf(stream_, "%s\n", progress_text(record, total_steps_, seconds_left, 0, false).c_str());
    std::fflush(stream_);
    return;
  }
  const auto now = std::chrono::steady_clock::now();
  const bool too_soon = std::chrono::duration<double>(now - last_drawn_).count() < style_.redraw_seconds;
  if (too_soon && !shown_.empty() && record.step != total_steps_) return;
  last_drawn_ = now;
  // The last column stays free: writing there wraps on some terminals.
  const int width = std::max(1, (style_.width > 0 ? style_.width : terminal_width(stream_)) - 1);
  shown_ = progress_text(record, total_steps_, seconds_left, width, style_.color);
  std::fprintf(stream_, "\r\x1b[K%s", shown_.c_str());
  std::fflush(stream_);
}

void ProgressLine::clear() {
  if (shown_.empty()) return;
  std::fputs("\r\x1b[K", stream_);
}

void ProgressLine::note(const std::string& line) {
  clear();
  std::fprintf(stream_, "%s\n%s", line.c_str(), shown_.c_str());
  std::fflush(stream_);
}

void ProgressLine::validation(const MetricsRecord& record, bool is_best) {
  const std::string loss = record.validation_loss ? fmt::format("{:.4f}", *record.validation_loss) : "none";
  note(style_.color ? fmt::format("step {}  {}validation loss {}{}{}", record.step, kBold, loss, kPlain,
                                  is_best ? "  (best so far)" : "")
                    : fmt::format("step {}  validation loss {}{}", record.step, loss,
                                  is_best ? "  (best so far)" : ""));
}

void ProgressLine::saved(std::int64_t step, const std::string& path) {
  note(fmt::format("step {}  saved {}", step, path));
}

}  // namespace heddle
