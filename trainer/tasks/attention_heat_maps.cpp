#include <fmt/format.h>

#include <array>
#include <cmath>
#include <iterator>

#include "trainer/tasks/attention_picture_parts.h"
#include "trainer/tasks/attention_pictures.h"

namespace heddle {

namespace {

constexpr int kShades = 32;

// From white over a light to a dark blue.
std::string shade(double weight) {
  constexpr std::array<std::array<double, 3>, 3> kStops{{{255, 255, 255}, {107, 174, 214}, {8, 48, 107}}};
  const double at = 2 * std::clamp(weight, 0.0, 1.0);
  const std::size_t i = at < 1 ? 0 : 1;
  const auto channel = [&](std::size_t c) {
    return static_cast<int>(
        std::lround(kStops[i][c] + (at - static_cast<double>(i)) * (kStops[i + 1][c] - kStops[i][c])));
  };
  return fmt::format("#{:02x}{:02x}{:02x}", channel(0), channel(1), channel(2));
}

// The size of everything, the same for all panels.
struct Measures {
  Measures(const std::vector<std::string>& rows, const std::vector<std::string>& columns) {
    const double longest = static_cast<double>(std::max(rows.size(), columns.size()));
    cell = std::clamp(std::floor(260 / longest), 14.0, 28.0);
    font = std::min(12.0, cell - 3);
    left = widest(rows, font) + 8;
    top = widest(columns, font) + 30;
    width = left + cell * static_cast<double>(columns.size());
    height = top + cell * static_cast<double>(rows.size());
  }
  bool has_numbers() const { return cell >= 24; }
  double cell, font, left, top, width, height;
};

// Cells of one shade make one path.
void draw_cells(Svg& svg, const AttentionMap& map, double x, double y, double cell) {
  std::array<std::string, kShades + 1> paths;
  for (std::int64_t i = 0; i < map.rows; ++i)
    for (std::int64_t j = 0; j < map.columns; ++j) {
      const auto level = static_cast<std::size_t>(std::lround(map(i, j) * kShades));
      fmt::format_to(std::back_inserter(paths[std::min<std::size_t>(level, kShades)]), "M{} {}h1v1h-1z", j,
                     i);
    }
  for (std::size_t level = 1; level < paths.size(); ++level)
    if (!paths[level].empty())
      svg.path(x, y, cell, paths[level], shade(static_cast<double>(level) / kShades));
}

void draw_numbers(Svg& svg, const AttentionMap& map, double x, double y, double cell) {
  for (std::int64_t i = 0; i < map.rows; ++i)
    for (std::int64_t j = 0; j < map.columns; ++j) {
      const double weight = map(i, j);
      if (weight < 0.005) continue;
      svg.text(x + (static_cast<double>(j) + 0.5) * cell, y + (static_cast<double>(i) + 0.5) * cell + 3,
               fmt::format("{:.2f}", weight),
               {.size = 8.5, .anchor = Svg::Anchor::middle, .color = weight > 0.55 ? "#fff" : "#333"});
    }
}

void draw_panel(Svg& svg, const AttentionMap& map, const std::vector<std::string>& rows,
                const std::vector<std::string>& columns, const Measures& m, double x, double y) {
  const double left = x + m.left, top = y + m.top;
  svg.text(left, y + 12, fmt::format("layer {}, head {}", map.place.layer, map.head),
           {.size = 13, .bold = true});
  for (std::size_t i = 0; i < rows.size(); ++i)
    svg.text(left - 5, top + (static_cast<double>(i) + 0.5) * m.cell + m.font * 0.36, rows[i],
             {.size = m.font, .anchor = Svg::Anchor::end});
  for (std::size_t j = 0; j < columns.size(); ++j)
    svg.text(left + (static_cast<double>(j) + 0.5) * m.cell + m.font * 0.36, top - 5, columns[j],
             {.size = m.font, .upwards = true});
  draw_cells(svg, map, left, top, m.cell);
  if (m.has_numbers()) draw_numbers(svg, map, left, top, m.cell);
  svg.rectangle(left, top, m.width - m.left, m.height - m.top, "none", "#999");
}

void draw_legend(Svg& svg, double x, double y) {
  constexpr double kWidth = 6;
  svg.text(x, y + 11, "0", {});
  for (int i = 0; i <= kShades; ++i)
    svg.rectangle(x + 14 + kWidth * i, y, kWidth + 0.3, 14, shade(static_cast<double>(i) / kShades));
  svg.rectangle(x + 14, y, kWidth * (kShades + 1), 14, "none", "#999");
  svg.text(x + 20 + kWidth * (kShades + 1), y + 11, "1", {});
}

}  // namespace

std::string attention_heat_maps(const AttentionReport& report, AttentionKind kind) {
  constexpr double kGap = 30;
  const std::vector<std::string> rows = labels_of(report.rows_of(kind)),
                                 columns = labels_of(report.columns_of(kind));
  const Measures m(rows, columns);
  const auto layers = report.layers_of(kind);
  const std::string meaning = "A row's token looks at the columns' tokens; each row sums to 1.";
  Svg svg;
  draw_header(svg, kind, report.checkpoint, meaning);
  draw_legend(svg, kPictureMargin, kPictureMargin + 48);
  double right = 0, y = kPictureMargin + kPictureHeader + 10;
  for (const auto& heads : layers) {
    double x = kPictureMargin;
    for (const AttentionMap* map : heads) {
      draw_panel(svg, *map, rows, columns, m, x, y);
      x += m.width + kGap;
    }
    right = std::max(right, x - kGap);
    y += m.height + kGap;
  }
  const std::string title = picture_title(kind) + ", " + report.checkpoint;
  const double least = std::max(text_width(title, 17), text_width(meaning, 12));
  return svg.finish(std::max(right, kPictureMargin + least) + kPictureMargin, y - kGap + kPictureMargin,
                    title);
}

}  // namespace heddle
