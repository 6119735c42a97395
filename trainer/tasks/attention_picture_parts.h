// What pictures of attention weights have in common.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "trainer/tasks/attention_report.h"
#include "trainer/tasks/svg.h"

namespace heddle {

constexpr double kPictureMargin = 24, kPictureHeader = 78;

// Tokens as labels: long ones cut, and blanks at the beginning made visible.
inline std::vector<std::string> labels_of(const std::vector<std::string>& tokens) {
  std::vector<std::string> labels;
  for (const std::string& token : tokens) {
    const std::size_t blanks = std::min(token.find_first_not_of(' '), token.size());
    std::string label;
    for (std::size_t i = 0; i < blanks; ++i) label += "␣";
    labels.push_back(shortened(label + token.substr(blanks), 18));
  }
  return labels;
}

inline double widest(const std::vector<std::string>& labels, double font_size) {
  double width = 0;
  for (const std::string& label : labels) width = std::max(width, text_width(label, font_size));
  return width;
}

inline std::string picture_title(AttentionKind kind) {
  switch (kind) {
    case AttentionKind::encoder: return "Encoder self-attention";
    case AttentionKind::decoder: return "Decoder self-attention";
    case AttentionKind::cross: return "Cross-attention from target to source";
  }
  return {};
}

// Title, and below it the model and what the picture means.
inline void draw_header(Svg& svg, AttentionKind kind, const std::string& checkpoint,
                        const std::string& meaning) {
  svg.text(kPictureMargin, kPictureMargin + 14, picture_title(kind) + ", " + checkpoint,
           {.size = 17, .bold = true});
  svg.text(kPictureMargin, kPictureMargin + 36, meaning, {.color = "#555"});
}

}  // namespace heddle
