// Pictures of attention weights for people to look at, as SVG.
#pragma once

#include <string>

#include "trainer/tasks/attention_report.h"

namespace heddle {

// A matrix for each head, layers from top to bottom and heads from left to right: the row's token looks at
// the column's, the darker the more.
std::string attention_heat_maps(const AttentionReport& report, AttentionKind kind);

// The words twice side by side and a line from each (a row of the weights) to those it looks at, or, of
// cross-attention, from the source's words on the left to the target's words that look at them; the thicker
// the more. For each layer all heads by colour, their mean, and each head alone (one head is shown alone
// only). Weights below kFaintest are left out, and if `token` is not empty the lines of all other rows.
std::string attention_lines(const AttentionReport& report, AttentionKind kind, const std::string& token = {});

constexpr double kFaintest = 0.05;
// A text of more tokens makes no picture that a person can read.
constexpr std::int64_t kMaxPictureTokens = 100;

}  // namespace heddle
