// BLEU (Papineni et al. 2002) of a corpus of translations, the number that sacreBLEU prints (Post 2018).
//
//   score = BP * exp(mean over n = 1..4 of ln p_n)
//   p_n   = n-grams of the hypotheses that are in a reference, each at most as often as in the reference that
//           has most of it, over all n-grams of the hypotheses
//   BP    = 1, or exp(1 - r / c) if the hypotheses' length c is below r, the sum over sentences of the length
//           of the reference nearest in length (of two, the shorter)
//
// Hypotheses and references are plain text, as a person writes it; the tokenizer is part of the metric.
//
// torchtext's bleu_score, of which published Multi30k results are made, is BleuTokenizer::none with
// BleuSmoothing::none on text whose tokens are joined by blanks, divided by 100: the two differ only where
// several references are equally near in length, of which torchtext takes the first.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/config/value.h"

namespace heddle {

constexpr int kBleuOrders = 4;

enum class BleuTokenizer : std::uint8_t {
  mteval_13a,  // of the script mteval-v13a.pl: ASCII punctuation apart, periods and commas not within numbers
  none         // the text is tokens between white space already
};
enum class BleuSmoothing : std::uint8_t {
  exp,  // an order without a match counts 1/2, the next such order 1/4, ... of a match
  none  // an order without a match makes the score 0
};

template <>
struct Choices<BleuTokenizer> {
  static constexpr std::array<std::string_view, 2> names{"13a", "none"};
};
template <>
struct Choices<BleuSmoothing> {
  static constexpr std::array<std::string_view, 2> names{"exp", "none"};
};

struct BleuOptions {
  BleuTokenizer tokenizer = BleuTokenizer::mteval_13a;
  BleuSmoothing smoothing = BleuSmoothing::exp;
  bool lowercase = false;
};

// What a score is made of. Counts of parts of a corpus, from other ranks for example, may simply be added.
struct BleuCounts {
  std::array<std::int64_t, kBleuOrders> matches{}, totals{};  // n-grams of the hypotheses for n = 1..4
  std::int64_t hypothesis_length = 0, reference_length = 0;   // tokens

  BleuCounts& operator+=(const BleuCounts& other);
  bool operator==(const BleuCounts&) const = default;
};

struct BleuScore {
  BleuCounts counts;
  double score = 0;                              // 0 to 100
  std::array<double, kBleuOrders> precisions{};  // in percent, smoothed
  double brevity_penalty = 1;
  double ratio = 0;  // hypotheses' length / references' length; 0 if the references are empty
  // What two scores must share to be compared, with sacreBLEU's keys in its order. The program that computed
  // the score is this one, so the version is heddle's:
  // "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:heddle-0.1.0"
  std::string signature;

  // sacreBLEU's line: "BLEU|<signature> = 36.5 67.1/43.9/30.6/21.6 (BP = 0.966 ratio = 0.967 hyp_len = ...)";
  // `digits` behind the score's point.
  std::string line(int digits = 1) const;
};

// The text that is split at blanks into the tokens that count.
std::string bleu_tokens(std::string_view text, const BleuOptions& options);

// One sentence's part. All text must be UTF-8; there is at least one reference.
BleuCounts bleu_counts(std::string_view hypothesis, std::span<const std::string> references,
                       const BleuOptions& options);

BleuScore bleu_score(const BleuCounts& counts, std::size_t num_references, const BleuOptions& options);

// All at once; references[i] are those of hypotheses[i], equally many for each.
BleuScore corpus_bleu(std::span<const std::string> hypotheses,
                      std::span<const std::vector<std::string>> references, const BleuOptions& options);

}  // namespace heddle
