// Beam search: which texts to keep while a model tells the next token of each. Knows no model: logits in, rows out.
//
// A hypothesis Y of probability P scores ln P / ((5 + |Y|) / 6)^alpha, its end token counted (Wu et al. 2016, section
// 7). In each step the 2 beam best continuations of a source's rows are looked at, best first: one that ends the text
// is finished if it is among the first `beam`; the first `beam` of the others go on. A source is done when `beam`
// hypotheses are finished; at the length limit what goes on is taken as it is. So a beam of 1 is greedy search.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace heddle {

struct BeamSettings {
  std::int64_t beam = 4;
  double length_penalty = 0.6;      // alpha; 0: none
  std::int32_t begin = 0, end = 0;  // tokens before and after every text
};

struct Hypothesis {
  std::vector<std::int32_t> tokens;  // without begin and end
  double log_probability = 0;        // of the tokens and, if it has ended, the end
  double score = 0;
  bool ended = true;  // false: the length limit cut it off
};

class BeamSearch {
 public:
  // longest[i]: tokens of source i's text at most, its end counted.
  BeamSearch(const BeamSettings& settings, const std::vector<std::int64_t>& longest);

  // Rows source * beam + 0, 1, ...: begin and the tokens so far, all of one length. Rows of sources that are done go
  // on with tokens of no meaning.
  const std::vector<std::vector<std::int32_t>>& texts() const { return texts_; }
  bool done() const { return open_ == 0; }

  // One step: logits(row) [vocabulary] of the token behind texts()[row], asked from several threads at once. Returns
  // for each row the row it continues.
  std::vector<std::int32_t> advance(const std::function<std::span<const float>(std::int64_t)>& logits);

  // Of each source, best first. Once done.
  std::vector<std::vector<Hypothesis>> results() const;

 private:
  struct Candidate {
    double log_probability = 0;
    std::int32_t row = 0;  // within the source's
    std::int32_t token = 0;
  };
  struct Source {
    std::int64_t longest = 0;
    std::vector<double> log_probabilities;  // of its rows; -inf: not in use
    std::vector<Hypothesis> finished;
    bool done = false;
  };
  std::vector<Candidate> best_of(const Source& source, std::int64_t first_row,
                                 const std::function<std::span<const float>(std::int64_t)>& logits) const;
  void finish(Source& source, std::int64_t row, double log_probability, bool ended);
  double score_of(double log_probability, std::int64_t length) const;

  BeamSettings settings_;
  std::vector<Source> sources_;
  std::vector<std::vector<std::int32_t>> texts_;
  std::int64_t open_ = 0;
};

}  // namespace heddle
