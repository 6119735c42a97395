#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <map>
#include <utility>

#include "trainer/tasks/attention_picture_parts.h"
#include "trainer/tasks/attention_pictures.h"

namespace heddle {

namespace {

constexpr double kFont = 13, kRowHeight = 19, kSpread = 130, kGap = 40, kPanelHeader = 26;
constexpr std::string_view kMeanColor = "#333333";

std::string_view color_of(std::int64_t head) {
  constexpr std::array<std::string_view, 10> kColors{"#1f77b4", "#d95f02", "#2ca02c", "#d62728", "#7b4fa3",
                                                     "#8c564b", "#e377c2", "#5f6a6a", "#a6a300", "#17a2b8"};
  return kColors[static_cast<std::size_t>(head) % kColors.size()];
}

double width_of(double weight) {
  return 0.5 + 5.5 * weight;
}
double opacity_of(double weight) {
  return 0.1 + 0.9 * weight;
}

AttentionMap mean_of(const std::vector<const AttentionMap*>& heads) {
  AttentionMap mean = *heads.front();
  for (std::size_t i = 0; i < mean.weights.size(); ++i) {
    double sum = 0;
    for (const AttentionMap* map : heads) sum += map->weights[i];
    mean.weights[i] = sum / static_cast<double>(heads.size());
  }
  return mean;
}

// Rows look from the left to the right, but a target's to the left, where its source is.
struct Words {
  Words(const AttentionReport& report, AttentionKind kind)
      : rows_are_left(kind != AttentionKind::cross),
        left(labels_of(rows_are_left ? report.rows_of(kind) : report.columns_of(kind))),
        right(labels_of(rows_are_left ? report.columns_of(kind) : report.rows_of(kind))),
        left_width(widest(left, kFont)),
        width(left_width + kSpread + 12 + widest(right, kFont)),
        height(kPanelHeader + kRowHeight * static_cast<double>(std::max(left.size(), right.size()))) {}
  bool rows_are_left;
  std::vector<std::string> left, right;
  double left_width, width, height;  // of a panel
};

// Lines of one width and colour make one path; wide ones are drawn over thin ones.
class Lines {
 public:
  // Rows whose lines are drawn.
  explicit Lines(const std::vector<bool>& rows) : rows_(rows) {}

  void add(const AttentionMap& map, std::string_view color) {
    for (std::int64_t i = 0; i < map.rows; ++i) {
      if (!rows_[static_cast<std::size_t>(i)]) continue;
      for (std::int64_t j = 0; j < map.columns; ++j)
        if (map(i, j) >= kFaintest) lines_[{std::lround(map(i, j) * kWidths), color}].emplace_back(i, j);
    }
  }
  // place_y: of a row or column.
  template <typename PlaceY>
  void draw(Svg& svg, double row_x, double column_x, const PlaceY& place_y) const {
    for (const auto& [style, ends] : lines_) {
      std::string path;
      for (const auto& [row, column] : ends)
        fmt::format_to(std::back_inserter(path), "M{:.0f} {:.1f}L{:.0f} {:.1f}", row_x, place_y(row),
                       column_x, place_y(column));
      const double weight = static_cast<double>(style.first) / kWidths;
      svg.lines(path, style.second, width_of(weight), opacity_of(weight));
    }
  }

 private:
  static constexpr double kWidths = 40;
  const std::vector<bool>& rows_;
  std::map<std::pair<long, std::string_view>, std::vector<std::pair<std::int64_t, std::int64_t>>> lines_;
};

void draw_panel(Svg& svg, const Words& words, const std::string& title, std::string_view color,
                const Lines& lines, double x, double y) {
  const double from = x + words.left_width + 6, to = from + kSpread, top = y + kPanelHeader;
  const auto middle = [&](auto i) { return top + (static_cast<double>(i) + 0.5) * kRowHeight; };
  svg.text((from + to) / 2, y + 12, title,
           {.size = 13, .anchor = Svg::Anchor::middle, .color = color, .bold = true});
  lines.draw(svg, words.rows_are_left ? from : to, words.rows_are_left ? to : from, middle);
  for (std::size_t i = 0; i < words.left.size(); ++i)
    svg.text(from - 5, middle(i) + kFont * 0.36, words.left[i], {.size = kFont, .anchor = Svg::Anchor::end});
  for (std::size_t i = 0; i < words.right.size(); ++i)
    svg.text(to + 5, middle(i) + kFont * 0.36, words.right[i], {.size = kFont});
}

// One layer's panels; returns where the last one ends.
double draw_layer(Svg& svg, const Words& words, const std::vector<const AttentionMap*>& heads,
                  const std::vector<bool>& rows, double x, double y) {
  const std::int64_t layer = heads.front()->place.layer;
  const auto panel = [&](const std::string& title, std::string_view color, const Lines& lines) {
    draw_panel(svg, words, fmt::format("layer {}, {}", layer, title), color, lines, x, y);
    x += words.width + kGap;
  };
  if (heads.size() > 1) {
    Lines all(rows), mean(rows);
    for (const AttentionMap* map : heads) all.add(*map, color_of(map->head));
    mean.add(mean_of(heads), kMeanColor);
    panel("all heads", kMeanColor, all);
    panel("mean of heads", kMeanColor, mean);
  }
  for (const AttentionMap* map : heads) {
    Lines lines(rows);
    lines.add(*map, color_of(map->head));
    panel(fmt::format("head {}", map->head), color_of(map->head), lines);
  }
  return x - kGap;
}

double draw_legend(Svg& svg, double x, double y) {
  for (double weight : {0.1, 0.25, 0.5, 1.0}) {
    svg.lines(fmt::format("M{} {}h36", x, y), kMeanColor, width_of(weight), opacity_of(weight));
    svg.text(x + 42, y + 4, fmt::format("{}", weight), {});
    x += 88;
  }
  const std::string rest = fmt::format("below {}: not drawn", kFaintest);
  svg.text(x, y + 4, rest, {.color = "#555"});
  return x + text_width(rest, 12);
}

}  // namespace

std::string attention_lines(const AttentionReport& report, AttentionKind kind, const std::string& token) {
  const Words words(report, kind);
  std::vector<bool> rows(report.rows_of(kind).size(), token.empty());
  for (std::int64_t place : places_of(token, report.rows_of(kind)))
    rows[static_cast<std::size_t>(place)] = true;
  const std::string looker =
      token.empty() ? words.rows_are_left ? "Each word" : "Each word of the target," : "'" + token + "'";
  const std::string meaning =
      words.rows_are_left
          ? looker + " on the left looks at words on the right; a line's width is the weight."
          : looker + " on the right looks at words of the source; a line's width is the weight.";
  const std::string title = picture_title(kind) + ", " + report.checkpoint;
  Svg svg;
  draw_header(svg, kind, report.checkpoint, meaning);
  double right = draw_legend(svg, kPictureMargin, kPictureMargin + 56);
  right = std::max(right, kPictureMargin + std::max(text_width(title, 17), text_width(meaning, 12)));
  double y = kPictureMargin + kPictureHeader + 10;
  for (const auto& heads : report.layers_of(kind)) {
    right = std::max(right, draw_layer(svg, words, heads, rows, kPictureMargin, y));
    y += words.height + kGap;
  }
  return svg.finish(right + kPictureMargin, y - kGap + kPictureMargin, title);
}

}  // namespace heddle
