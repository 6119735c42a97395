#include "trainer/metrics/loss_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "kernels/error.h"
#include "trainer/metrics/gnuplot.h"

namespace heddle {
namespace {

// Okabe and Ito's colours, which the colour-blind can tell apart; yellow is left out, it is faint on white.
constexpr const char* kColors[] = {"0072b2", "d55e00", "009e73", "cc79a7", "56b4e9", "e69f00", "444444"};
constexpr std::size_t kMaxPoints = 3000;  // of a line; more than a picture has columns

struct Curve {
  std::vector<double> x, y;
  bool empty() const { return x.empty(); }
};

Curve curve_of(const std::vector<MetricsRecord>& records, std::optional<double> MetricsRecord::*value,
               PlotAxis axis) {
  Curve curve;
  for (const MetricsRecord& record : records) {
    if (!(record.*value) || !std::isfinite(*(record.*value))) continue;
    curve.x.push_back(static_cast<double>(axis == PlotAxis::tokens ? record.tokens : record.step));
    curve.y.push_back(*(record.*value));
  }
  return curve;
}

// Every n-th point; the last one stays.
Curve thinned(const Curve& curve) {
  const std::size_t stride = (curve.x.size() + kMaxPoints - 1) / kMaxPoints;
  if (stride <= 1) return curve;
  Curve few;
  for (std::size_t i = (curve.x.size() - 1) % stride; i < curve.x.size(); i += stride) {
    few.x.push_back(curve.x[i]);
    few.y.push_back(curve.y[i]);
  }
  return few;
}

// One panel of the picture: its data blocks, and the plot elements that draw them.
class Panel {
 public:
  explicit Panel(std::string prefix) : prefix_(std::move(prefix)) {}

  // Thin and pale what was measured, thick its average; the title names the thick one.
  void add_line(const Curve& curve, std::int64_t window, const std::string& color, const std::string& title) {
    if (curve.empty()) return;
    if (window <= 0) window = static_cast<std::int64_t>(curve.x.size()) / 50;
    const Curve average{curve.x, smoothed(curve.y, window)};
    if (window > 1) add(thinned(curve), fmt::format("with lines lw 1 lc rgb '#b0{}' notitle", color));
    add(thinned(average), fmt::format("with lines lw 3 lc rgb '#{}' title {}", color, gnuplot_string(title)));
    include(average);
  }

  void add_points(const Curve& curve, const std::string& color, const std::string& title) {
    if (curve.empty()) return;
    // Points on a long run would hide the line between them.
    const std::size_t every = std::max<std::size_t>(1, curve.x.size() / 25);
    add(thinned(curve), fmt::format("with linespoints lw 1.5 dt 2 pt 7 ps 1 pi {} lc rgb '#{}' title {}",
                                    every, color, gnuplot_string(title)));
    include(curve);
  }

  bool empty() const { return elements_.empty(); }
  double furthest() const { return furthest_; }  // of x
  double lowest() const { return lowest_; }
  double highest() const { return highest_; }

  std::string plot_command() const {
    return fmt::format("{}plot {}\n", data_, join(elements_, ", \\\n     "));
  }

 private:
  void add(const Curve& curve, const std::string& how) {
    const std::string block = fmt::format("${}{}", prefix_, elements_.size());
    data_ += block + " << EOD\n";
    for (std::size_t i = 0; i < curve.x.size(); ++i)
      data_ += fmt::format("{} {:.9g}\n", curve.x[i], curve.y[i]);
    data_ += "EOD\n";
    elements_.push_back(block + " using 1:2 " + how);
  }

  void include(const Curve& curve) {
    furthest_ = std::max(furthest_, *std::max_element(curve.x.begin(), curve.x.end()));
    for (const double y : curve.y) {
      lowest_ = std::min(lowest_, y);
      highest_ = std::max(highest_, y);
    }
  }

  std::string prefix_, data_;
  std::vector<std::string> elements_;
  double furthest_ = 0;
  double lowest_ = std::numeric_limits<double>::max();
  double highest_ = std::numeric_limits<double>::lowest();
};

// Ticks of a logarithmic axis: round numbers, the roundest first, as long as they stay readable beside each
// other.
std::vector<std::string> logarithmic_ticks(double bottom, double top) {
  constexpr double kRoundest[] = {1,   2,   5,   3,   4,   7,   6,   8,   9,   1.5, 2.5, 3.5, 4.5,
                                  1.2, 1.4, 1.6, 1.8, 2.2, 2.4, 2.6, 2.8, 3.2, 3.4, 3.6, 3.8};
  const double apart = std::log(top / bottom) * 0.055;
  std::vector<double> ticks;
  for (const double digits : kRoundest) {
    for (double decade = std::pow(10, std::floor(std::log10(bottom))); decade <= top; decade *= 10) {
      const double tick = digits * decade;
      const auto near = [&](double other) { return std::abs(std::log(tick / other)) < apart; };
      if (tick >= bottom && tick <= top && std::none_of(ticks.begin(), ticks.end(), near))
        ticks.push_back(tick);
    }
  }
  std::sort(ticks.begin(), ticks.end());
  std::vector<std::string> texts;
  for (const double tick : ticks) texts.push_back(fmt::format("{:.6g}", tick));
  return texts;
}

// The range follows the averages, so that one spike does not flatten the rest; a loss that falls far is drawn
// on a logarithmic axis.
std::string loss_axis(double lowest, double highest) {
  constexpr double kFarFall = 2.5;
  if (lowest <= 0 || highest / lowest < kFarFall) {
    const double margin = std::max(0.05 * (highest - lowest), 1e-3 * std::abs(highest) + 1e-6);
    return fmt::format("unset logscale\nset ytics autofreq\nset format y '%g'\nset yrange [{:.9g}:{:.9g}]\n",
                       lowest - margin, highest + margin);
  }
  const double margin = std::pow(highest / lowest, 0.05);
  const double bottom = lowest / margin, top = highest * margin;
  return fmt::format("set logscale y\nset format y '%g'\nset ytics ({})\nset yrange [{:.9g}:{:.9g}]\n",
                     join(logarithmic_ticks(bottom, top), ", "), bottom, top);
}

std::string throughput_axis(double highest) {
  return fmt::format("unset logscale\nset ytics autofreq\nset format y '%.0s%c'\nset yrange [0:{:.9g}]\n",
                     1.15 * highest);
}

// Counts with the field's letters: 500M, 1.5B.
std::string count_label(double count) {
  constexpr std::string_view kLetters = " kMBT";
  std::size_t power = 0;
  for (; count >= 1000 && power + 1 < kLetters.size(); ++power) count /= 1000;
  return fmt::format("{:.6g}{}", count, power > 0 ? std::string(1, kLetters[power]) : "");
}

std::string x_axis(double highest, PlotAxis axis) {
  highest = std::max(highest, 1.0);
  // Steps of 1, 2 or 5 times a power of ten, at most eight of them.
  double step = std::pow(10, std::floor(std::log10(highest)) - 1);
  for (const double factor : {2.0, 2.5, 2.0, 2.0, 2.5, 2.0})
    if (highest / step > 8) step *= factor;
  std::vector<std::string> ticks;
  for (int i = 0; i * step <= highest * 1.0001; ++i)
    ticks.push_back(fmt::format("'{}' {:.9g}", count_label(i * step), i * step));
  return fmt::format("set xlabel '{}'\nset xtics ({})\nset xrange [0:{:.9g}]\n",
                     axis == PlotAxis::tokens ? "tokens" : "steps", join(ticks, ", "), 1.01 * highest);
}

constexpr const char* kFrame = R"(set border 3 lc rgb '#808080'
set tics nomirror out scale 0.6 textcolor rgb '#303030'
set grid xtics ytics lc rgb '#c4c4c4' lw 1 dt 1
set key top right width 1 spacing 1.25 samplen 2.5
set lmargin 11
set rmargin 4
)";

}  // namespace

std::vector<double> smoothed(const std::vector<double>& values, std::int64_t window) {
  if (window <= 1) return values;
  const auto count = static_cast<std::int64_t>(values.size());
  const std::int64_t before = (window - 1) / 2, after = window / 2;
  std::vector<double> sums(values.size() + 1, 0.0), result(values.size());
  for (std::int64_t i = 0; i < count; ++i) sums[i + 1] = sums[i] + values[i];
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t begin = std::max<std::int64_t>(0, i - before), end = std::min(count, i + after + 1);
    result[i] = (sums[end] - sums[begin]) / static_cast<double>(end - begin);
  }
  return result;
}

std::string plot_script(const std::vector<PlottedRun>& runs, const PlotStyle& style) {
  Panel loss("loss"), throughput("speed");
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const PlottedRun& run = runs[i];
    const std::string color = kColors[i % std::size(kColors)];
    const std::string before = runs.size() > 1 ? run.name + ", " : "";
    loss.add_line(curve_of(run.records, &MetricsRecord::loss, style.axis), style.smooth, color,
                  before + "training");
    const std::string points_color = runs.size() > 1 ? color : kColors[1];
    loss.add_points(curve_of(run.records, &MetricsRecord::validation_loss, style.axis), points_color,
                    before + "validation");
    throughput.add_line(curve_of(run.records, &MetricsRecord::tokens_per_second, style.axis), style.smooth,
                        color, runs.size() > 1 ? run.name : "");
  }

  std::vector<std::string> panels;
  if (style.what != PlotWhat::throughput && !loss.empty()) {
    panels.push_back("set ylabel 'loss (nats per token)' offset 0.5\n" +
                     loss_axis(loss.lowest(), loss.highest()) + loss.plot_command());
  }
  if (style.what != PlotWhat::loss && !throughput.empty()) {
    panels.push_back("set ylabel 'tokens per second' offset 0.5\nset key bottom right\n" +
                     throughput_axis(throughput.highest()) + throughput.plot_command());
  }
  if (panels.empty())
    throw error("{}: no record with a number to draw", runs.empty() ? "no run" : runs[0].name);

  std::string script = kFrame + x_axis(std::max(loss.furthest(), throughput.furthest()), style.axis);
  const std::string title = runs.size() == 1 ? gnuplot_string(runs[0].name) : "''";
  if (panels.size() == 1) return script + "set title " + title + "\n" + panels[0];
  script += fmt::format("set multiplot layout {},1 title {} font ',17'\n", panels.size(), title);
  for (const std::string& panel : panels) script += panel;
  return script + "unset multiplot\n";
}

}  // namespace heddle
