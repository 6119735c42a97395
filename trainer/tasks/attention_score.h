// How often a head looks at the right word: from one given word of a text, is the strongest weight on another
// given one?
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/tasks/attention_reader.h"

namespace heddle {

struct HeadScore {
  AttentionPlace place;
  std::int64_t head = 0;
  std::int64_t texts = 0, right = 0;  // right: the expected column has the strongest weight of its row
  double weights = 0;                 // sum of the weights on the expected columns

  double accuracy() const { return static_cast<double>(right) / static_cast<double>(texts); }
  double mean_weight() const { return weights / static_cast<double>(texts); }
};

class AttentionScore {
 public:
  // The maps of one text, the same heads in the same order every time.
  void add(const std::vector<AttentionMap>& maps, std::int64_t row, std::int64_t column);
  // By accuracy; of equals the one that comes first in the model.
  std::vector<HeadScore> best_first() const;

 private:
  std::vector<HeadScore> heads_;
};

// One line per head under a line of titles.
std::string score_table(const std::vector<HeadScore>& heads);

}  // namespace heddle
