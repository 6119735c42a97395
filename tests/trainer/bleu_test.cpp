// BLEU against what sacreBLEU 2.6.0 gives, stored here and, where it is installed, asked again.
#include "trainer/tasks/bleu.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <set>
#include <sstream>

#include "tests/trainer/data_testing.h"
#include "trainer/commands/command.h"
#include "trainer/data/lower_case.h"

namespace heddle {
namespace {

using namespace data_testing;

// The options in which each corpus below has its five scores.
constexpr BleuOptions kSettings[] = {
    {.tokenizer = BleuTokenizer::mteval_13a, .smoothing = BleuSmoothing::exp, .lowercase = false},
    {.tokenizer = BleuTokenizer::mteval_13a, .smoothing = BleuSmoothing::exp, .lowercase = true},
    {.tokenizer = BleuTokenizer::mteval_13a, .smoothing = BleuSmoothing::none, .lowercase = false},
    {.tokenizer = BleuTokenizer::none, .smoothing = BleuSmoothing::exp, .lowercase = false},
    {.tokenizer = BleuTokenizer::none, .smoothing = BleuSmoothing::none, .lowercase = true},
};

struct Corpus {
  const char* name;
  std::vector<std::string> hypotheses;
  std::vector<std::vector<std::string>> references;  // of each hypothesis
  std::vector<std::string>
      scores;  // what sacreBLEU prints behind the signature, with four digits, by kSettings
};

struct Tokens {
  const char *text, *tokens;
};

// clang-format off
// sacrebleu.tokenizers.tokenizer_13a.Tokenizer13a()(text.rstrip())
const Tokens kTokens[] = {
    {"The cat sat on the mat.",
     "The cat sat on the mat ."},
    {"It costs $1,000.50 (or 1.000,50 in German), not 5,-!",
     "It costs $ 1,000.50 ( or 1.000,50 in German ) , not 5 , - !"},
    {"Pages 5-6, A-4, 3-a, x-3, -7 and 1990-2000.",
     "Pages 5 - 6 , A-4 , 3 - a , x-3 , -7 and 1990 - 2000 ."},
    {"He said: \"don't!\" -- and left...",
     "He said : \" don't ! \" -- and left . . ."},
    {".5 and 5. and ,7 and 7, .,., 3.,4",
     ". 5 and 5 . and , 7 and 7 , . , . , 3 . , 4"},
    {"U.S.A., e.g. Ph.D., z.B. usw.",
     "U . S . A . , e . g . Ph . D . , z . B . usw ."},
    {"&quot;A&amp;B&quot; &lt;tag&gt; &amp;lt; &amp;quot; &apos; AT&T",
     "\" A & B \" < tag > < & quot ; & apos ; AT & T"},
    {"a<skipped>b <skipped> c-<skipped>d",
     "ab c-d"},
    {"mail@host.org http://x.y/z?q=1&r=2#3 C:\\dir\\file_1.txt",
     "mail @ host . org http : / / x . y / z ? q = 1 & r = 2 # 3 C : \\ dir \\ file _ 1 . txt"},
    {"[x] {y} (z) ^ ~ ` | _ = + * % # @ ; :",
     "[ x ] { y } ( z ) ^ ~ ` | _ = + * % # @ ; :"},
    {"'single' ''double'' `back` ``ticks''",
     "'single' ''double'' ` back ` ` ` ticks''"},
    {"„Grüße“ aus Köln – schön, nicht? «Oui», dit-elle…",
     "„Grüße“ aus Köln – schön , nicht ? «Oui» , dit-elle…"},
    {"你好，世界。3.5元,5%",
     "你好，世界。3.5元 , 5 %"},
    {"٣.٤ and ٣,٤ and １．２",
     "٣ . ٤ and ٣ , ٤ and １．２"},
    {"😀!😀 👨\u200D👩\u200D👧, ok",
     "😀 ! 😀 👨\u200D👩\u200D👧 , ok"},
    {"cafe\u0301. É.",
     "cafe\u0301 . É ."},
    {"a\u00A0b\u2028c\u3000d\u200Be\034f\u0085g",
     "a b c d\u200Be f g"},
    {"  tabs\tand  blanks \r",
     "tabs and blanks"},
    {"",
     ""},
    {" \t ",
     ""},
    {"-",
     "-"},
    {"5-",
     "5 -"},
    {"--5--6--",
     "--5 - -6 - -"},
    {"1,2,3.4.5",
     "1,2,3.4.5"},
    {"\uFEFFbom.",
     "\uFEFFbom ."},
};

// sacrebleu.metrics.BLEU(...).corpus_score(hypotheses, references).format(width=4)
const std::vector<Corpus> kCorpora = {
    {"plain",
     {"the cat sat on the mat .", "There is a dog in the garden.", "A man in a blue shirt is standing on a ladder cleaning a window."},
     {{"the cat is on the mat ."}, {"There is a dog in the garden."}, {"A man in a blue shirt stands on a ladder and cleans a window."}},
     {"63.2943 86.7/74.1/58.3/42.9 (BP = 1.000 ratio = 1.000 hyp_len = 30 ref_len = 30)",
      "63.2943 86.7/74.1/58.3/42.9 (BP = 1.000 ratio = 1.000 hyp_len = 30 ref_len = 30)",
      "63.2943 86.7/74.1/58.3/42.9 (BP = 1.000 ratio = 1.000 hyp_len = 30 ref_len = 30)",
      "61.3579 85.7/72.0/54.5/42.1 (BP = 1.000 ratio = 1.000 hyp_len = 28 ref_len = 28)",
      "61.3579 85.7/72.0/54.5/42.1 (BP = 1.000 ratio = 1.000 hyp_len = 28 ref_len = 28)"}},
    {"punctuation",
     {"It costs $1,000.5 (about 5-6 euros), doesn't it?", "\"Yes,\" she said; 3.14 & more...", "&quot;A&amp;B&quot; is not &lt;x&gt; - 50%!"},
     {{"It costs $1,000.50 (about 5-7 euros), doesn't it?"}, {"\"Yes\", she said: 3.14 &amp; more ..."}, {"\"A&B\" is not <x> -- 50 %!"}},
     {"62.5522 90.5/71.8/55.6/42.4 (BP = 1.000 ratio = 1.000 hyp_len = 42 ref_len = 42)",
      "62.5522 90.5/71.8/55.6/42.4 (BP = 1.000 ratio = 1.000 hyp_len = 42 ref_len = 42)",
      "62.5522 90.5/71.8/55.6/42.4 (BP = 1.000 ratio = 1.000 hyp_len = 42 ref_len = 42)",
      "12.6496 50.0/23.5/7.1/4.5 (BP = 0.905 ratio = 0.909 hyp_len = 20 ref_len = 22)",
      "0.0000 50.0/23.5/7.1/0.0 (BP = 0.905 ratio = 0.909 hyp_len = 20 ref_len = 22)"}},
    {"unicode",
     {"Zwei Männer stehen am Straßenrand, „Grüße“ rufend.", "Ein Mädchen in Ärmeln läuft über die Brücke.", "你好，世界。 今天 天气 很 好 。", "😀 great! 😀 great! 😀"},
     {{"ZWEI MÄNNER STEHEN AM STRAßENRAND, „Grüße“ rufend."}, {"Ein Mädchen in ÄRMELN läuft über die BRÜCKE."}, {"你好 ，世界。 今天 天气 不 好 。"}, {"😀 Great! 😀 great! 😀"}},
     {"34.2598 67.7/48.1/30.4/15.8 (BP = 0.968 ratio = 0.969 hyp_len = 31 ref_len = 32)",
      "84.4422 93.5/88.9/82.6/84.2 (BP = 0.968 ratio = 0.969 hyp_len = 31 ref_len = 32)",
      "34.2598 67.7/48.1/30.4/15.8 (BP = 0.968 ratio = 0.969 hyp_len = 31 ref_len = 32)",
      "18.9326 61.5/40.9/16.7/3.6 (BP = 0.962 ratio = 0.963 hyp_len = 26 ref_len = 27)",
      "80.3931 92.3/86.4/77.8/78.6 (BP = 0.962 ratio = 0.963 hyp_len = 26 ref_len = 27)"}},
    {"case",
     {"THE QUICK Brown Fox jumps over the LAZY dog .", "ΟΔΥΣΣΕΥΣ went to İstanbul and saw ΣΑΣ ."},
     {{"the quick brown fox jumps over the lazy dog ."}, {"Οδυσσευς went to i\u0307stanbul and saw σας ."}},
     {"15.0768 55.6/31.2/7.1/4.2 (BP = 1.000 ratio = 1.000 hyp_len = 18 ref_len = 18)",
      "100.0000 100.0/100.0/100.0/100.0 (BP = 1.000 ratio = 1.000 hyp_len = 18 ref_len = 18)",
      "0.0000 55.6/31.2/7.1/0.0 (BP = 1.000 ratio = 1.000 hyp_len = 18 ref_len = 18)",
      "15.0768 55.6/31.2/7.1/4.2 (BP = 1.000 ratio = 1.000 hyp_len = 18 ref_len = 18)",
      "100.0000 100.0/100.0/100.0/100.0 (BP = 1.000 ratio = 1.000 hyp_len = 18 ref_len = 18)"}},
    {"references",
     {"the the the the the the the", "A boy is jumping into the water .", "two dogs play", "short"},
     {{"the cat is on the mat", "there is a cat on the mat", ""}, {"A boy jumps in the water .", "The boy is jumping into a lake .", "A boy leaps into the water ."}, {"two dogs are playing in the snow", "dogs play", "two brown dogs play outside"}, {"a very short one", "short text", "very short"}},
     {"42.5400 73.7/60.0/33.3/22.2 (BP = 1.000 ratio = 1.000 hyp_len = 19 ref_len = 19)",
      "42.5400 73.7/60.0/33.3/22.2 (BP = 1.000 ratio = 1.000 hyp_len = 19 ref_len = 19)",
      "42.5400 73.7/60.0/33.3/22.2 (BP = 1.000 ratio = 1.000 hyp_len = 19 ref_len = 19)",
      "42.5400 73.7/60.0/33.3/22.2 (BP = 1.000 ratio = 1.000 hyp_len = 19 ref_len = 19)",
      "42.5400 73.7/60.0/33.3/22.2 (BP = 1.000 ratio = 1.000 hyp_len = 19 ref_len = 19)"}},
    {"short",
     {"a b", "c", "d e f"},
     {{"a b"}, {"c"}, {"d e x"}},
     {"0.0000 83.3/66.7/50.0/0.0 (BP = 1.000 ratio = 1.000 hyp_len = 6 ref_len = 6)",
      "0.0000 83.3/66.7/50.0/0.0 (BP = 1.000 ratio = 1.000 hyp_len = 6 ref_len = 6)",
      "0.0000 83.3/66.7/0.0/0.0 (BP = 1.000 ratio = 1.000 hyp_len = 6 ref_len = 6)",
      "0.0000 83.3/66.7/50.0/0.0 (BP = 1.000 ratio = 1.000 hyp_len = 6 ref_len = 6)",
      "0.0000 83.3/66.7/0.0/0.0 (BP = 1.000 ratio = 1.000 hyp_len = 6 ref_len = 6)"}},
    {"nothing",
     {"completely different words here"},
     {{"no overlap at all in this one"}},
     {"0.0000 0.0/0.0/0.0/0.0 (BP = 0.472 ratio = 0.571 hyp_len = 4 ref_len = 7)",
      "0.0000 0.0/0.0/0.0/0.0 (BP = 0.472 ratio = 0.571 hyp_len = 4 ref_len = 7)",
      "0.0000 0.0/0.0/0.0/0.0 (BP = 0.472 ratio = 0.571 hyp_len = 4 ref_len = 7)",
      "0.0000 0.0/0.0/0.0/0.0 (BP = 0.472 ratio = 0.571 hyp_len = 4 ref_len = 7)",
      "0.0000 0.0/0.0/0.0/0.0 (BP = 0.472 ratio = 0.571 hyp_len = 4 ref_len = 7)"}},
    {"no_4gram",
     {"one two three x four five six y", "seven eight z nine"},
     {{"one two three a four five six b"}, {"seven eight c nine"}},
     {"29.7302 75.0/50.0/25.0/8.3 (BP = 1.000 ratio = 1.000 hyp_len = 12 ref_len = 12)",
      "29.7302 75.0/50.0/25.0/8.3 (BP = 1.000 ratio = 1.000 hyp_len = 12 ref_len = 12)",
      "0.0000 75.0/50.0/25.0/0.0 (BP = 1.000 ratio = 1.000 hyp_len = 12 ref_len = 12)",
      "29.7302 75.0/50.0/25.0/8.3 (BP = 1.000 ratio = 1.000 hyp_len = 12 ref_len = 12)",
      "0.0000 75.0/50.0/25.0/0.0 (BP = 1.000 ratio = 1.000 hyp_len = 12 ref_len = 12)"}},
    {"no_3gram",
     {"one two x three four y five", "six seven"},
     {{"one two a three four b five"}, {"six seven"}},
     {"21.3644 77.8/42.9/10.0/6.2 (BP = 1.000 ratio = 1.000 hyp_len = 9 ref_len = 9)",
      "21.3644 77.8/42.9/10.0/6.2 (BP = 1.000 ratio = 1.000 hyp_len = 9 ref_len = 9)",
      "0.0000 77.8/42.9/0.0/0.0 (BP = 1.000 ratio = 1.000 hyp_len = 9 ref_len = 9)",
      "21.3644 77.8/42.9/10.0/6.2 (BP = 1.000 ratio = 1.000 hyp_len = 9 ref_len = 9)",
      "0.0000 77.8/42.9/0.0/0.0 (BP = 1.000 ratio = 1.000 hyp_len = 9 ref_len = 9)"}},
    {"empty_hypothesis",
     {"", "a small dog runs across the green field"},
     {{"a cat sleeps"}, {"a small dog runs across the green grass"}},
     {"57.7939 87.5/85.7/83.3/80.0 (BP = 0.687 ratio = 0.727 hyp_len = 8 ref_len = 11)",
      "57.7939 87.5/85.7/83.3/80.0 (BP = 0.687 ratio = 0.727 hyp_len = 8 ref_len = 11)",
      "57.7939 87.5/85.7/83.3/80.0 (BP = 0.687 ratio = 0.727 hyp_len = 8 ref_len = 11)",
      "57.7939 87.5/85.7/83.3/80.0 (BP = 0.687 ratio = 0.727 hyp_len = 8 ref_len = 11)",
      "57.7939 87.5/85.7/83.3/80.0 (BP = 0.687 ratio = 0.727 hyp_len = 8 ref_len = 11)"}},
    {"all_empty",
     {""},
     {{"a cat sleeps"}},
     {"0.0000 0.0/0.0/0.0/0.0 (BP = 0.000 ratio = 0.000 hyp_len = 0 ref_len = 3)",
      "0.0000 0.0/0.0/0.0/0.0 (BP = 0.000 ratio = 0.000 hyp_len = 0 ref_len = 3)",
      "0.0000 0.0/0.0/0.0/0.0 (BP = 0.000 ratio = 0.000 hyp_len = 0 ref_len = 3)",
      "0.0000 0.0/0.0/0.0/0.0 (BP = 0.000 ratio = 0.000 hyp_len = 0 ref_len = 3)",
      "0.0000 0.0/0.0/0.0/0.0 (BP = 0.000 ratio = 0.000 hyp_len = 0 ref_len = 3)"}},
    {"empty_reference",
     {"a cat sleeps on the sofa"},
     {{""}},
     {"0.0000 0.0/0.0/0.0/0.0 (BP = 1.000 ratio = 0.000 hyp_len = 6 ref_len = 0)",
      "0.0000 0.0/0.0/0.0/0.0 (BP = 1.000 ratio = 0.000 hyp_len = 6 ref_len = 0)",
      "0.0000 0.0/0.0/0.0/0.0 (BP = 1.000 ratio = 0.000 hyp_len = 6 ref_len = 0)",
      "0.0000 0.0/0.0/0.0/0.0 (BP = 1.000 ratio = 0.000 hyp_len = 6 ref_len = 0)",
      "0.0000 0.0/0.0/0.0/0.0 (BP = 1.000 ratio = 0.000 hyp_len = 6 ref_len = 0)"}},
    {"equally_near",
     {"a cat sleeps now", "a b c d e f"},
     {{"a cat sleeps on it", "a cat sleeps"}, {"a b c d e f g h", "a b c d"}},
     {"83.7592 90.0/87.5/83.3/75.0 (BP = 1.000 ratio = 1.429 hyp_len = 10 ref_len = 7)",
      "83.7592 90.0/87.5/83.3/75.0 (BP = 1.000 ratio = 1.429 hyp_len = 10 ref_len = 7)",
      "83.7592 90.0/87.5/83.3/75.0 (BP = 1.000 ratio = 1.429 hyp_len = 10 ref_len = 7)",
      "83.7592 90.0/87.5/83.3/75.0 (BP = 1.000 ratio = 1.429 hyp_len = 10 ref_len = 7)",
      "83.7592 90.0/87.5/83.3/75.0 (BP = 1.000 ratio = 1.429 hyp_len = 10 ref_len = 7)"}},
    {"long",
     {"a man a man a man rides a horse on the beach on the beach today"},
     {{"a man rides a horse on the beach"}},
     {"44.2850 50.0/46.7/42.9/38.5 (BP = 1.000 ratio = 2.000 hyp_len = 16 ref_len = 8)",
      "44.2850 50.0/46.7/42.9/38.5 (BP = 1.000 ratio = 2.000 hyp_len = 16 ref_len = 8)",
      "44.2850 50.0/46.7/42.9/38.5 (BP = 1.000 ratio = 2.000 hyp_len = 16 ref_len = 8)",
      "44.2850 50.0/46.7/42.9/38.5 (BP = 1.000 ratio = 2.000 hyp_len = 16 ref_len = 8)",
      "44.2850 50.0/46.7/42.9/38.5 (BP = 1.000 ratio = 2.000 hyp_len = 16 ref_len = 8)"}},
};
// clang-format on

// A score as it stands behind "BLEU|<signature> = ".
std::string figures(const std::string& line) {
  return line.substr(line.find(" = ") + 3);
}

TEST(Bleu, TokensAreThoseOf13a) {
  for (const auto& [text, tokens] : kTokens) EXPECT_EQ(bleu_tokens(text, {}), tokens) << text;
  EXPECT_EQ(bleu_tokens("hy-\nphen\nated", {}), "hyphen ated");
}

TEST(Bleu, ScoresAreThoseOfSacreBleu) {
  for (const Corpus& corpus : kCorpora) {
    for (std::size_t i = 0; i < std::size(kSettings); ++i) {
      const BleuScore score = corpus_bleu(corpus.hypotheses, corpus.references, kSettings[i]);
      EXPECT_EQ(figures(score.line(4)), corpus.scores[i]) << corpus.name << ", " << score.signature;
    }
  }
}

TEST(Bleu, SignatureNamesHeddleAndTheSettings) {
  const std::vector<std::string> text{"a b c d"};
  const std::vector<std::vector<std::string>> references{{"a b c d", "e"}};
  const std::string plain = corpus_bleu(text, references, {}).signature;
  EXPECT_TRUE(plain.starts_with("nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:heddle-")) << plain;
  const BleuScore score = corpus_bleu(text, references, kSettings[4]);
  EXPECT_TRUE(score.signature.starts_with("nrefs:2|case:lc|eff:no|tok:none|smooth:none|version:heddle-"));
  EXPECT_EQ(score.line(),
            "BLEU|" + score.signature +
                " = 100.0 100.0/100.0/100.0/100.0 (BP = 1.000 ratio = 1.000 hyp_len = 4 ref_len = 4)");
}

TEST(Bleu, PartsOfACorpusAddUp) {
  const BleuOptions options;
  for (const Corpus& corpus : kCorpora) {
    BleuCounts front, back;
    for (std::size_t i = 0; i < corpus.hypotheses.size(); ++i)
      (i % 2 ? front : back) += bleu_counts(corpus.hypotheses[i], corpus.references[i], options);
    front += back;
    const BleuScore whole = corpus_bleu(corpus.hypotheses, corpus.references, options);
    EXPECT_EQ(front, whole.counts);
    EXPECT_EQ(bleu_score(front, corpus.references[0].size(), options).line(), whole.line());
  }
}

// The formula of torchtext.data.metrics.bleu_score on given tokens: the precisions' weighted logarithms, no
// smoothing, 0 if an order has no match.
double torchtext_bleu(const std::vector<std::vector<std::string>>& candidates,
                      const std::vector<std::vector<std::string>>& references) {
  double matches[4] = {}, totals[4] = {}, length = 0, reference_length = 0;
  for (std::size_t s = 0; s < candidates.size(); ++s) {
    length += static_cast<double>(candidates[s].size());
    reference_length += static_cast<double>(references[s].size());
    for (std::size_t n = 1; n <= 4; ++n) {
      std::multiset<std::vector<std::string>> left;
      for (std::size_t i = 0; i + n <= references[s].size(); ++i)
        left.insert({references[s].begin() + i, references[s].begin() + i + n});
      for (std::size_t i = 0; i + n <= candidates[s].size(); ++i) {
        ++totals[n - 1];
        const auto found = left.find({candidates[s].begin() + i, candidates[s].begin() + i + n});
        if (found == left.end()) continue;
        ++matches[n - 1];
        left.erase(found);
      }
    }
  }
  double log_sum = 0;
  for (int n = 0; n < 4; ++n) {
    if (matches[n] == 0) return 0;
    log_sum += 0.25 * std::log(matches[n] / totals[n]);
  }
  return std::exp(std::min(1 - reference_length / length, 0.0)) * std::exp(log_sum);
}

TEST(Bleu, WithoutTokenizerAndSmoothingIsThatOfTorchtext) {
  const BleuOptions options{.tokenizer = BleuTokenizer::none, .smoothing = BleuSmoothing::none};
  Random random(11);
  for (int round = 0; round < 50; ++round) {
    std::vector<std::vector<std::string>> candidates, references;
    std::vector<std::string> lines;
    std::vector<std::vector<std::string>> reference_lines;
    for (int s = 0; s < 5; ++s) {
      const auto words = [&](std::size_t count) {
        std::vector<std::string> result;
        while (result.size() < count)
          result.push_back(std::string(1, static_cast<char>('a' + random.below(3))));
        return result;
      };
      candidates.push_back(words(1 + random.below(12)));
      references.push_back(words(1 + random.below(12)));
      lines.push_back(fmt::format("{}", fmt::join(candidates.back(), " ")));
      reference_lines.push_back({fmt::format("{}", fmt::join(references.back(), " "))});
    }
    EXPECT_NEAR(corpus_bleu(lines, reference_lines, options).score / 100,
                torchtext_bleu(candidates, references), 1e-12);
  }
}

TEST(Bleu, NeedsAReferenceForEveryHypothesis) {
  const std::vector<std::string> two{"a", "b"};
  const std::vector<std::vector<std::string>> one{{"a"}}, none{{}, {}};
  EXPECT_NE(message_of([&] { corpus_bleu(two, one, {}); }).find("2 hypotheses, 1 reference"),
            std::string::npos);
  EXPECT_NE(message_of([&] { corpus_bleu(two, none, {}); }).find("at least one reference"),
            std::string::npos);
  EXPECT_NE(message_of([&] { corpus_bleu({}, {}, {}); }), "");
}

TEST(LowerCase, IsThatOfPython) {
  EXPECT_EQ(lower_case("ABCxyz 09[]@`{"), "abcxyz 09[]@`{");
  EXPECT_EQ(lower_case("ÄÖÜẞ ÉÑ Ж"), "äöüß éñ ж");
  EXPECT_EQ(lower_case("İI"), "i\u0307i");
  EXPECT_EQ(lower_case("ΟΔΟΣ ΣΑΣ, Σ"), "οδος σας, σ");
}

class BleuCommand : public testing::Test {
 protected:
  struct Outcome {
    int code;
    std::string out;  // what it printed, or the message of its error
  };
  static Outcome run(std::vector<std::string> words) {
    words.insert(words.begin(), {"heddle", "bleu"});
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    testing::internal::CaptureStdout();
    Outcome outcome{0, ""};
    try {
      std::ostringstream help;
      outcome.code = run_command_line(all_commands(), static_cast<int>(argv.size()), argv.data(), help);
    } catch (const Error& failure) {
      outcome = {failure.exit_code(), failure.what()};
    }
    std::fflush(stdout);
    const std::string printed = testing::internal::GetCapturedStdout();
    return outcome.code == 0 ? Outcome{0, printed} : outcome;
  }

  TemporaryFolder folder_;
};

std::string lines_of(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

TEST_F(BleuCommand, ScoresFiles) {
  const Corpus& corpus = kCorpora[4];
  std::vector<std::string> paths;
  for (std::size_t r = 0; r < corpus.references[0].size(); ++r) {
    std::vector<std::string> lines;
    for (const auto& references : corpus.references) lines.push_back(references[r]);
    const std::string text = lines_of(lines);
    paths.push_back(r == 0 ? folder_.write("r0.gz", gzip(text)) : folder_.write(fmt::format("r{}", r), text));
  }
  std::string hypotheses = lines_of(corpus.hypotheses);
  hypotheses.pop_back();  // the last line may lack its line feed
  const std::string path = folder_.write("h", hypotheses);
  const Outcome by_flag = run({"--hypotheses", path, "--references", paths[0], "--references", paths[1],
                               "--references", paths[2], "--width", "4"});
  EXPECT_EQ(by_flag.out, corpus_bleu(corpus.hypotheses, corpus.references, {}).line(4) + "\n");
  EXPECT_EQ(figures(by_flag.out), corpus.scores[0] + "\n");
  const Outcome settings = run({paths[0], paths[1], paths[2], "--hypotheses", path, "--bleu-tokenizer",
                                "none", "--smoothing", "none", "--lowercase-bleu"});
  EXPECT_EQ(settings.out, corpus_bleu(corpus.hypotheses, corpus.references, kSettings[4]).line() + "\n");
}

TEST_F(BleuCommand, SaysWhatIsWrong) {
  const std::string two = folder_.write("two", "a\nb\n"), three = folder_.write("three", "a\nb\nc\n");
  const auto expect = [&](const std::vector<std::string>& words, int code, const std::string& part) {
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.code, code) << part;
    EXPECT_NE(outcome.out.find(part), std::string::npos) << outcome.out;
    EXPECT_EQ(outcome.out.find('\n'), std::string::npos) << outcome.out;
  };
  expect({}, kExitUsage, "--hypotheses");
  expect({"--hypotheses", two}, kExitUsage, "--references");
  expect({"--hypotheses", "-", "--references", "-"}, kExitUsage, "standard input");
  expect({"--hypotheses", two, "--references", three}, kExitFailure, "/two has 2 lines and ");
  expect({"--hypotheses", three, "--references", three, "--references", two}, kExitFailure,
         "/two has 2: line i");
  expect({"--hypotheses", folder_ / "nowhere", "--references", two}, kExitFailure, "nowhere");
  const std::string empty = folder_.write("empty", "");
  expect({"--hypotheses", empty, "--references", empty}, kExitFailure, "empty");
  expect({"--hypotheses", two, "--references", folder_.write("latin1", "a\nx\xE9\n")}, kExitFailure,
         "latin1:2: byte 1");
  expect({"--hypotheses", two, "--references", folder_.write("r.gz", gzip("a\nb\n").substr(0, 12))},
         kExitFailure, "r.gz is truncated");
  expect({two, "--hypotheses", two, "--bleu-tokenizer", "intl"}, kExitUsage, "13a");
}

// The random text is of pieces that the tokenizer treats in different ways.
TEST_F(BleuCommand, AgreesWithTheInstalledSacreBleu) {
  if (std::system("python3 -c 'import sacrebleu' 2> /dev/null") != 0)
    GTEST_SKIP()
        << "python3 finds no sacrebleu (pip install sacrebleu): only the stored scores were compared";
  const std::vector<std::string> pieces{"a", "The",  "the", " ",      " ",  " ",     "3",   "5",
                                        ".", ",",    "-",   "'s",     "\"", "&amp;", "&",   "(x",
                                        ")", "Über", "ΟΣ",  "\u00A0", "。", "😀",     "end."};
  Random random(5);
  const auto sentence = [&] {
    std::string text = "it";
    for (std::uint64_t i = random.below(25); i > 0; --i) text += pieces[random.below(pieces.size())];
    return text;
  };
  std::vector<std::string> hypotheses, first, second;
  for (int i = 0; i < 200; ++i) {
    first.push_back(sentence());
    second.push_back(sentence());
    hypotheses.push_back(random.below(2) ? first.back() + " " + sentence() : sentence());
  }
  const std::string h = folder_.write("h", lines_of(hypotheses)), r = folder_.write("r", lines_of(first)),
                    s = folder_.write("s", lines_of(second)), out = folder_ / "out";
  for (const BleuOptions& options : kSettings) {
    const std::string tokenizer(Choices<BleuTokenizer>::names[static_cast<int>(options.tokenizer)]);
    const std::string smoothing(Choices<BleuSmoothing>::names[static_cast<int>(options.smoothing)]);
    const std::string command = fmt::format(
        "python3 -m sacrebleu '{}' '{}' -i '{}' -f text -w 4 --force --tokenize {} --smooth-method {} {} > "
        "'{}'",
        r, s, h, tokenizer, smoothing, options.lowercase ? "-lc" : "", out);
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
    const std::string theirs = read_bytes(out);
    std::vector<std::string> words{
        r, s, "--hypotheses", h, "--width", "4", "--bleu-tokenizer", tokenizer, "--smoothing", smoothing};
    if (options.lowercase) words.push_back("--lowercase-bleu");
    const std::string ours = run(words).out;
    EXPECT_EQ(figures(ours), figures(theirs)) << command;
    EXPECT_EQ(ours.substr(0, ours.find("|version")), theirs.substr(0, theirs.find("|version")));
  }
}

}  // namespace
}  // namespace heddle
