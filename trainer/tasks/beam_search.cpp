#include "trainer/tasks/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>

namespace heddle {

namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

double log_sum_exp(std::span<const float> logits) {
  const float highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - highest);  // a float's exponential is exact enough to rank
  return highest + std::log(sum);
}

}  // namespace

BeamSearch::BeamSearch(const BeamSettings& settings, const std::vector<std::int64_t>& longest)
    : settings_(settings),
      texts_(longest.size() * static_cast<std::size_t>(settings.beam), {settings.begin}),
      open_(static_cast<std::int64_t>(longest.size())) {
  for (std::int64_t length : longest) {
    Source source;
    source.longest = length;
    source.log_probabilities.assign(static_cast<std::size_t>(settings.beam), kNever);
    source.log_probabilities[0] = 0;  // all rows are the same text: one counts
    sources_.push_back(std::move(source));
  }
}

double BeamSearch::score_of(double log_probability, std::int64_t length) const {
  return log_probability / std::pow((5.0 + static_cast<double>(length)) / 6.0, settings_.length_penalty);
}

// The 2 beam best continuations, best first; of equals the one of the lower row, then of the lower token.
std::vector<BeamSearch::Candidate> BeamSearch::best_of(
    const Source& source, std::int64_t first_row,
    const std::function<std::span<const float>(std::int64_t)>& logits) const {
  const auto wanted = static_cast<std::size_t>(2 * settings_.beam);
  const auto better = [](const Candidate& a, const Candidate& b) {
    return std::tuple(-a.log_probability, a.row, a.token) < std::tuple(-b.log_probability, b.row, b.token);
  };
  std::vector<Candidate> heap;  // the worst of the best on top
  for (std::int32_t row = 0; row < static_cast<std::int32_t>(settings_.beam); ++row) {
    const double before = source.log_probabilities[static_cast<std::size_t>(row)];
    if (before == kNever) continue;
    const std::span<const float> of_row = logits(first_row + row);
    const double normalizer = log_sum_exp(of_row);
    for (std::size_t token = 0; token < of_row.size(); ++token) {
      const Candidate candidate{before + of_row[token] - normalizer, row, static_cast<std::int32_t>(token)};
      if (heap.size() == wanted) {
        if (!better(candidate, heap.front())) continue;
        std::pop_heap(heap.begin(), heap.end(), better);
        heap.pop_back();
      }
      heap.push_back(candidate);
      std::push_heap(heap.begin(), heap.end(), better);
    }
  }
  std::sort_heap(heap.begin(), heap.end(), better);
  return heap;
}

void BeamSearch::finish(Source& source, std::int64_t row, double log_probability, bool ended) {
  const std::vector<std::int32_t>& text = texts_[static_cast<std::size_t>(row)];
  Hypothesis hypothesis;
  hypothesis.tokens.assign(text.begin() + 1, text.end());
  hypothesis.log_probability = log_probability;
  hypothesis.score = score_of(log_probability, static_cast<std::int64_t>(hypothesis.tokens.size()) + (ended ? 1 : 0));
  hypothesis.ended = ended;
  source.finished.push_back(std::move(hypothesis));
}

std::vector<std::int32_t> BeamSearch::advance(const std::function<std::span<const float>(std::int64_t)>& logits) {
  const std::int64_t beam = settings_.beam, count = static_cast<std::int64_t>(sources_.size());
  const auto length = static_cast<std::int64_t>(texts_.front().size());  // after this step, without begin
  std::vector<std::vector<Candidate>> candidates(sources_.size());
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t s = 0; s < count; ++s)
    if (!sources_[static_cast<std::size_t>(s)].done)
      candidates[static_cast<std::size_t>(s)] = best_of(sources_[static_cast<std::size_t>(s)], s * beam, logits);

  std::vector<std::int32_t> parents(texts_.size());
  std::iota(parents.begin(), parents.end(), 0);
  std::vector<std::int32_t> tokens(texts_.size(), settings_.end);
  for (std::int64_t s = 0; s < count; ++s) {
    Source& source = sources_[static_cast<std::size_t>(s)];
    if (source.done) continue;
    std::vector<double> next;
    std::int64_t rank = 0;
    for (const Candidate& c : candidates[static_cast<std::size_t>(s)]) {
      const std::int64_t row = s * beam + c.row;
      if (c.token == settings_.end) {
        if (rank < beam) finish(source, row, c.log_probability, /*ended=*/true);
      } else if (static_cast<std::int64_t>(next.size()) < beam) {
        const std::size_t to = static_cast<std::size_t>(s * beam) + next.size();
        parents[to] = static_cast<std::int32_t>(row);
        tokens[to] = c.token;
        next.push_back(c.log_probability);
      }
      ++rank;
    }
    next.resize(static_cast<std::size_t>(beam), kNever);
    source.log_probabilities = std::move(next);
    source.done = static_cast<std::int64_t>(source.finished.size()) >= beam;
  }

  std::vector<std::vector<std::int32_t>> texts(texts_.size());
  for (std::size_t row = 0; row < texts.size(); ++row) {
    texts[row] = texts_[static_cast<std::size_t>(parents[row])];
    texts[row].push_back(tokens[row]);
  }
  texts_ = std::move(texts);
  open_ = 0;
  for (std::int64_t s = 0; s < count; ++s) {
    Source& source = sources_[static_cast<std::size_t>(s)];
    if (!source.done && length >= source.longest) {
      for (std::int64_t row = 0; row < beam; ++row)
        if (const double p = source.log_probabilities[static_cast<std::size_t>(row)]; p != kNever)
          finish(source, s * beam + row, p, /*ended=*/false);
      source.done = true;
    }
    open_ += !source.done;
  }
  return parents;
}

std::vector<std::vector<Hypothesis>> BeamSearch::results() const {
  std::vector<std::vector<Hypothesis>> results;
  for (const Source& source : sources_) {
    results.push_back(source.finished);
    std::stable_sort(results.back().begin(), results.back().end(), [](const Hypothesis& a, const Hypothesis& b) {
      return std::tuple(!a.ended, -a.score) < std::tuple(!b.ended, -b.score);
    });
    if (results.back().size() > static_cast<std::size_t>(settings_.beam))
      results.back().resize(static_cast<std::size_t>(settings_.beam));
  }
  return results;
}

}  // namespace heddle
