// The picture of one or more runs: loss and throughput over tokens or steps, as a gnuplot script.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/config/value.h"
#include "trainer/metrics/metrics.h"

namespace heddle {

struct PlottedRun {
  std::string name;  // in the legend
  std::vector<MetricsRecord> records;
};

enum class PlotWhat : std::uint8_t { loss, throughput, both };
enum class PlotAxis : std::uint8_t { tokens, steps };

template <>
struct Choices<PlotWhat> {
  static constexpr std::array<std::string_view, 3> names{"loss", "throughput", "both"};
};
template <>
struct Choices<PlotAxis> {
  static constexpr std::array<std::string_view, 2> names{"tokens", "steps"};
};

struct PlotStyle {
  PlotWhat what = PlotWhat::both;
  PlotAxis axis = PlotAxis::tokens;
  std::int64_t smooth = 0;  // records averaged for the thick line; 0: a fiftieth of the run
};

// The mean of the `window` values around each; at both ends of those there are.
std::vector<double> smoothed(const std::vector<double>& values, std::int64_t window);

// What follows `set terminal`: a thin line through what was logged, a thick one through its moving average,
// points for validation. Throws Error if no run has anything to draw.
std::string plot_script(const std::vector<PlottedRun>& runs, const PlotStyle& style);

}  // namespace heddle
