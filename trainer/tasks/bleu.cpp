#include "trainer/tasks/bleu.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <unordered_map>

#include "kernels/error.h"
#include "trainer/data/lower_case.h"
#include "trainer/data/utf8.h"

namespace heddle {
namespace {

// What Python's str.split() and str.rstrip() take for white space: the property, and four ASCII separators.
bool is_python_space(char32_t c) {
  return is_white_space(c) || (c >= 0x1C && c <= 0x1F);
}

std::vector<std::string_view> split_at_white_space(std::string_view text) {
  std::vector<std::string_view> words;
  std::size_t begin = 0;
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t at = position;
    if (!is_python_space(next_code_point(text, position))) continue;
    if (at > begin) words.push_back(text.substr(begin, at - begin));
    begin = position;
  }
  if (begin < text.size()) words.push_back(text.substr(begin));
  return words;
}

std::string_view without_trailing_white_space(std::string_view text) {
  std::size_t end = 0;
  for (std::size_t position = 0; position < text.size();) {
    if (!is_python_space(next_code_point(text, position))) end = position;
  }
  return text.substr(0, end);
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

// The steps of mteval-v13a work on bytes as well as on characters: what they name is ASCII, and [^0-9] is
// only ever copied beside an inserted blank.
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_period_or_comma(char c) {
  return c == '.' || c == ',';
}
// ASCII that is neither letter nor digit, except ' - . and ,
bool is_split_off(char c) {
  return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') ||
         (c >= '(' && c <= '+') || (c >= ':' && c <= '@') || c == '/';
}

// Replaces pairs of neighbours from left to right, each character in at most one pair, as a regular
// expression's substitution does: `matches(a, b)` says which, and `put` writes the replacement.
template <typename Matches, typename Put>
std::string replace_pairs(const std::string& text, const Matches& matches, const Put& put) {
  std::string result;
  result.reserve(text.size() + text.size() / 4);
  for (std::size_t i = 0; i < text.size();) {
    if (i + 1 < text.size() && matches(text[i], text[i + 1])) {
      put(result, text[i], text[i + 1]);
      i += 2;
    } else {
      result += text[i++];
    }
  }
  return result;
}

std::string tokenize_13a(std::string_view sentence) {
  std::string line(sentence);
  replace_all(line, "<skipped>", "");
  replace_all(line, "-\n", "");
  replace_all(line, "\n", " ");
  // In this order, so that &amp;lt; becomes <.
  replace_all(line, "&quot;", "\"");
  replace_all(line, "&amp;", "&");
  replace_all(line, "&lt;", "<");
  replace_all(line, "&gt;", ">");

  std::string apart = " ";
  for (const char c : line) {
    if (is_split_off(c)) {
      apart += {' ', c, ' '};
    } else {
      apart += c;
    }
  }
  apart += ' ';
  // Periods and commas, unless a digit stands before and behind; then hyphens behind a digit.
  apart = replace_pairs(
      apart, [](char a, char b) { return !is_digit(a) && is_period_or_comma(b); },
      [](std::string& out, char a, char b) {
        out += {a, ' ', b, ' '};
      });
  apart = replace_pairs(
      apart, [](char a, char b) { return is_period_or_comma(a) && !is_digit(b); },
      [](std::string& out, char a, char b) {
        out += {' ', a, ' ', b};
      });
  return replace_pairs(
      apart, [](char a, char b) { return is_digit(a) && b == '-'; },
      [](std::string& out, char a, char b) {
        out += {a, ' ', b, ' '};
      });
}

// A sentence's tokens with one blank between, so that an n-gram is a part of this text; a token holds no
// blank, so n-grams of different orders are different texts.
class Sentence {
 public:
  explicit Sentence(std::string tokens) : text_(std::move(tokens)) {
    for (std::size_t begin = 0; begin < text_.size();) {
      const std::size_t end = std::min(text_.find(' ', begin), text_.size());
      bounds_.push_back({begin, end});
      begin = end + 1;
    }
  }
  Sentence(const Sentence&) = delete;  // n-grams point into text_
  Sentence& operator=(const Sentence&) = delete;

  std::int64_t length() const { return static_cast<std::int64_t>(bounds_.size()); }

  using NGrams = std::unordered_map<std::string_view, std::int64_t>;
  NGrams ngrams(std::size_t order) const {
    NGrams counts;
    for (std::size_t i = 0; i + order <= bounds_.size(); ++i) {
      const std::size_t begin = bounds_[i].begin, end = bounds_[i + order - 1].end;
      ++counts[std::string_view(text_).substr(begin, end - begin)];
    }
    return counts;
  }

 private:
  struct Bounds {
    std::size_t begin, end;
  };
  std::string text_;
  std::vector<Bounds> bounds_;
};

std::int64_t nearest_length(std::int64_t length, const std::vector<std::unique_ptr<Sentence>>& references) {
  std::int64_t nearest = references.front()->length();
  for (const auto& reference : references) {
    const std::int64_t other = reference->length();
    const std::int64_t gap = std::abs(length - other), best = std::abs(length - nearest);
    if (gap < best || (gap == best && other < nearest)) nearest = other;
  }
  return nearest;
}

template <typename E>
std::string_view name_of(E choice) {
  return Choices<E>::names[static_cast<std::size_t>(choice)];
}

}  // namespace

BleuCounts& BleuCounts::operator+=(const BleuCounts& other) {
  for (int n = 0; n < kBleuOrders; ++n) {
    matches[n] += other.matches[n];
    totals[n] += other.totals[n];
  }
  hypothesis_length += other.hypothesis_length;
  reference_length += other.reference_length;
  return *this;
}

std::string bleu_tokens(std::string_view text, const BleuOptions& options) {
  std::string line = options.lowercase ? lower_case(text) : std::string(text);
  line.resize(without_trailing_white_space(line).size());
  if (options.tokenizer == BleuTokenizer::mteval_13a) line = tokenize_13a(line);
  return fmt::format("{}", fmt::join(split_at_white_space(line), " "));
}

BleuCounts bleu_counts(std::string_view hypothesis, std::span<const std::string> references,
                       const BleuOptions& options) {
  if (references.empty()) throw error("BLEU needs at least one reference for each sentence");
  const Sentence candidate(bleu_tokens(hypothesis, options));
  std::vector<std::unique_ptr<Sentence>> sentences;
  for (const std::string& reference : references)
    sentences.push_back(std::make_unique<Sentence>(bleu_tokens(reference, options)));

  BleuCounts counts;
  counts.hypothesis_length = candidate.length();
  counts.reference_length = nearest_length(candidate.length(), sentences);
  for (int n = 0; n < kBleuOrders; ++n) {
    const std::size_t order = static_cast<std::size_t>(n) + 1;
    Sentence::NGrams allowed;  // the most of each that one reference has
    for (const auto& sentence : sentences)
      for (const auto& [ngram, count] : sentence->ngrams(order))
        allowed[ngram] = std::max(allowed[ngram], count);
    for (const auto& [ngram, count] : candidate.ngrams(order)) {
      counts.totals[n] += count;
      const auto found = allowed.find(ngram);
      if (found != allowed.end()) counts.matches[n] += std::min(count, found->second);
    }
  }
  return counts;
}

BleuScore bleu_score(const BleuCounts& counts, std::size_t num_references, const BleuOptions& options) {
  BleuScore result;
  result.counts = counts;
  const double c = static_cast<double>(counts.hypothesis_length),
               r = static_cast<double>(counts.reference_length);
  if (c < r) result.brevity_penalty = c > 0 ? std::exp(1 - r / c) : 0;
  result.ratio = r > 0 ? c / r : 0;
  result.signature = fmt::format("nrefs:{}|case:{}|eff:no|tok:{}|smooth:{}|version:heddle-{}", num_references,
                                 options.lowercase ? "lc" : "mixed", name_of(options.tokenizer),
                                 name_of(options.smoothing), HEDDLE_VERSION);
  const auto& matches = counts.matches;
  if (std::all_of(matches.begin(), matches.end(), [](std::int64_t m) { return m == 0; })) return result;

  double smoothing = 1, log_sum = 0;
  for (int n = 0; n < kBleuOrders && counts.totals[n] > 0; ++n) {
    const double total = static_cast<double>(counts.totals[n]);
    if (matches[n] > 0) {
      result.precisions[n] = 100 * static_cast<double>(matches[n]) / total;
    } else if (options.smoothing == BleuSmoothing::exp) {
      smoothing *= 2;
      result.precisions[n] = 100 / (smoothing * total);
    }
  }
  for (const double precision : result.precisions) log_sum += std::log(precision);  // -inf: the score is 0
  result.score = result.brevity_penalty * std::exp(log_sum / kBleuOrders);
  return result;
}

BleuScore corpus_bleu(std::span<const std::string> hypotheses,
                      std::span<const std::vector<std::string>> references, const BleuOptions& options) {
  if (hypotheses.size() != references.size() || hypotheses.empty())
    throw error("BLEU needs references for every hypothesis: {} hypotheses, {} references", hypotheses.size(),
                references.size());
  BleuCounts counts;
  for (std::size_t i = 0; i < hypotheses.size(); ++i)
    counts += bleu_counts(hypotheses[i], references[i], options);
  return bleu_score(counts, references.front().size(), options);
}

std::string BleuScore::line(int digits) const {
  return fmt::format(
      "BLEU|{} = {:.{}f} {:.1f}/{:.1f}/{:.1f}/{:.1f} (BP = {:.3f} ratio = {:.3f} hyp_len = {} "
      "ref_len = {})",
      signature, score, digits, precisions[0], precisions[1], precisions[2], precisions[3], brevity_penalty,
      ratio, counts.hypothesis_length, counts.reference_length);
}

}  // namespace heddle
