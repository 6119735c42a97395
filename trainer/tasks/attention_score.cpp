#include "trainer/tasks/attention_score.h"

#include <fmt/format.h>

#include <algorithm>

namespace heddle {

void AttentionScore::add(const std::vector<AttentionMap>& maps, std::int64_t row, std::int64_t column) {
  heads_.resize(maps.size());
  for (std::size_t i = 0; i < maps.size(); ++i) {
    HeadScore& head = heads_[i];
    head.place = maps[i].place;
    head.head = maps[i].head;
    ++head.texts;
    head.right += maps[i].strongest_column(row) == column;
    head.weights += maps[i](row, column);
  }
}

std::vector<HeadScore> AttentionScore::best_first() const {
  std::vector<HeadScore> heads = heads_;
  std::stable_sort(heads.begin(), heads.end(),
                   [](const HeadScore& a, const HeadScore& b) { return a.accuracy() > b.accuracy(); });
  return heads;
}

std::string score_table(const std::vector<HeadScore>& heads) {
  std::string table = fmt::format("{:<8} {:>5} {:>5} {:>7} {:>7} {:>9} {:>12}\n", "kind", "layer", "head",
                                  "texts", "right", "accuracy", "mean weight");
  for (const HeadScore& head : heads)
    table +=
        fmt::format("{:<8} {:>5} {:>5} {:>7} {:>7} {:>9.4f} {:>12.3f}\n", name_of(head.place.kind),
                    head.place.layer, head.head, head.texts, head.right, head.accuracy(), head.mean_weight());
  return table;
}

}  // namespace heddle
