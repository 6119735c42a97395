// Translation: the cache, the batch and the beam change how it is computed, never what comes out.

#include "trainer/tasks/translation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/trainer/model_trial.h"
#include "trainer/tasks/decoding_session.h"

namespace heddle {
namespace {

constexpr std::int32_t kEnd = 0;
constexpr std::int64_t kWords = 12, kLongest = 6;

// A model that has learnt to reverse a few words, well or not so well.
class Reversal {
 public:
  Reversal(DType act, NormPosition position, int steps) : act_(act), trial_(settings(act, position)) {
    for (int s = 0; s < steps; ++s) {
      const Pairs pairs(static_cast<std::uint32_t>(s));
      trial_.step(s, pairs.batch(), 3e-3 * std::min(1.0, (s + 1) / 20.0));
    }
  }

  Translator translator() { return {trial_.engine.model(), *trial_.device, *trial_.mesh, act_}; }
  Trial& trial() { return trial_; }
  DType act() const { return act_; }

  static std::vector<std::vector<std::int32_t>> sources(std::size_t count, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<std::vector<std::int32_t>> all(count);
    for (auto& source : all) {
      for (std::size_t n = 1 + random() % kLongest; n > 0; --n)
        source.push_back(static_cast<std::int32_t>(1 + random() % kWords));
      source.push_back(kEnd);
    }
    return all;
  }

 private:
  static ModelOptions model(NormPosition position) {
    ModelOptions m = small_transformer();
    m.num_layers = 1;
    m.hidden_size = 32, m.num_heads = 4, m.ffn_size = 64;
    m.vocabulary_size = kWords + 1;
    m.norm_position = position;
    return m;
  }
  static EngineSettings settings(DType act, NormPosition position) {
    EngineSettings s = small_pair_engine(model(position), {32, 32, kLongest + 1, kLongest + 1});
    s.act = act;
    return s;
  }

  struct Pairs {
    explicit Pairs(std::uint32_t seed) {
      for (const std::vector<std::int32_t>& source : Reversal::sources(32, seed)) {
        const std::size_t n = source.size() - 1;
        lengths.push_back(static_cast<std::int32_t>(source.size()));
        for (std::size_t i = 0; i <= kLongest; ++i) {
          sources.push_back(i <= n ? source[i] : kEnd);
          inputs.push_back(i == 0 || i > n ? kEnd : source[n - i]);
          targets.push_back(i > n ? -1 : i == n ? kEnd : source[n - 1 - i]);
        }
        tokens += static_cast<std::int64_t>(n) + 1;
      }
    }
    HostBatch batch() const {
      HostBatch b;
      b.shape = {32, 32, kLongest + 1, kLongest + 1};
      b.inputs = inputs.data();
      b.targets = targets.data();
      b.source = sources.data();
      b.source_lengths = lengths.data();
      b.valid_tokens = tokens;
      return b;
    }
    std::vector<std::int32_t> inputs, targets, sources, lengths;
    std::int64_t tokens = 0;
  };

  DType act_;
  Trial trial_;
};

TranslationSettings settings_of(std::int64_t beam) {
  TranslationSettings s;
  s.search.beam = beam;
  s.search.begin = s.search.end = kEnd;
  s.extra_tokens = 4;
  return s;
}

std::vector<std::vector<std::int32_t>> texts_of(const std::vector<std::vector<Hypothesis>>& all) {
  std::vector<std::vector<std::int32_t>> texts;
  for (const auto& of_source : all) texts.push_back(of_source.front().tokens);
  return texts;
}

void expect_equal(const std::vector<std::vector<Hypothesis>>& a, const std::vector<std::vector<Hypothesis>>& b,
                  const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].size(), b[i].size()) << what << ", source " << i;
    for (std::size_t k = 0; k < a[i].size(); ++k) {
      EXPECT_EQ(a[i][k].tokens, b[i][k].tokens) << what << ", source " << i << ", place " << k;
      EXPECT_NEAR(a[i][k].score, b[i][k].score, 1e-5) << what;
    }
  }
}

class TranslationTest : public ::testing::TestWithParam<std::tuple<DType, NormPosition>> {};

// Unsure of itself on purpose: the beam's rows must change places.
TEST_P(TranslationTest, NeitherCacheNorBatchChangeAToken) {
  Reversal model(std::get<0>(GetParam()), std::get<1>(GetParam()), 60);
  const auto sources = Reversal::sources(23, 999);
  for (std::int64_t beam : {1, 3}) {
    TranslationSettings settings = settings_of(beam);
    const auto cached = model.translator().translate(sources, settings);
    settings.cache = false;
    expect_equal(model.translator().translate(sources, settings), cached, "recomputed");
    settings.cache = true;
    for (std::int64_t tokens : {1, 40, 200}) {
      settings.batch_tokens = tokens;
      expect_equal(model.translator().translate(sources, settings), cached, "batches of other sizes");
    }
  }
}

TEST_P(TranslationTest, ABeamOfOneIsTheLikeliestTokenEachTime) {
  Reversal model(std::get<0>(GetParam()), std::get<1>(GetParam()), 60);
  const auto sources = Reversal::sources(9, 5);
  const auto found = model.translator().translate(sources, settings_of(1));
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const auto length = static_cast<std::int64_t>(sources[i].size());
    DecodingSession session(model.trial().engine.model(), *model.trial().device, *model.trial().mesh, model.act(),
                            {1, 12, 1, length}, 12);
    session.read({sources[i]});
    std::vector<std::int32_t> text = {kEnd};
    for (std::int64_t n = 0; n < std::min<std::int64_t>(length + 4, 12); ++n) {
      session.feed({text}, 0, static_cast<std::int64_t>(text.size()));
      const std::span<const float> logits = session.logits(0);
      const auto best = static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
      if (best == kEnd) break;
      text.push_back(best);
    }
    text.erase(text.begin());
    EXPECT_EQ(found[i].front().tokens, text) << "source " << i;
  }
}

TEST_P(TranslationTest, WhatIsLearntIsWritten) {
  Reversal model(std::get<0>(GetParam()), std::get<1>(GetParam()), 500);
  const auto sources = Reversal::sources(200, 31337);
  for (std::int64_t beam : {1, 4}) {
    const auto found = model.translator().translate(sources, settings_of(beam));
    const auto texts = texts_of(found);
    EXPECT_GE(std::count_if(found.begin(), found.end(), [](const auto& of_source) { return of_source.front().ended; }),
              198)
        << "of 200 end by themselves, beam " << beam;
    int right = 0;
    for (std::size_t i = 0; i < sources.size(); ++i)
      right += std::equal(texts[i].begin(), texts[i].end(), sources[i].rbegin() + 1, sources[i].rend());
    EXPECT_GE(right, 150) << "of 200, beam " << beam;
  }
}

TEST_P(TranslationTest, ABeamGivesItsBestFirst) {
  Reversal model(std::get<0>(GetParam()), std::get<1>(GetParam()), 60);
  for (const std::vector<Hypothesis>& found : model.translator().translate(Reversal::sources(20, 8), settings_of(4))) {
    ASSERT_GE(found.size(), 1u);
    for (std::size_t i = 1; i < found.size(); ++i) {
      EXPECT_NE(found[i].tokens, found[i - 1].tokens);
      if (found[i].ended == found[i - 1].ended) {
        EXPECT_LE(found[i].score, found[i - 1].score);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, TranslationTest,
                         ::testing::Combine(::testing::Values(DType::f32, DType::bf16),
                                            ::testing::Values(NormPosition::pre, NormPosition::post)),
                         [](const auto& info) {
                           return std::string(name_of(std::get<0>(info.param))) +
                                  (std::get<1>(info.param) == NormPosition::pre ? "_pre" : "_post");
                         });

}  // namespace
}  // namespace heddle
