// Beam search over a made-up model whose best texts are known by trying all.

#include "trainer/tasks/beam_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

namespace heddle {
namespace {

constexpr std::int32_t kEnd = 0, kVocabulary = 4;

// Logits that are a function of the text so far (and of the source).
class MadeUpModel {
 public:
  explicit MadeUpModel(std::uint32_t seed, float end_bonus = 0) : seed_(seed), end_bonus_(end_bonus) {}
  std::span<const float> logits(std::int64_t source, const std::vector<std::int32_t>& text) {
    auto [found, is_new] = known_.try_emplace({source, text});
    if (is_new) {
      std::mt19937 random(seed_ + static_cast<std::uint32_t>(source) * 7919u);
      for (std::int32_t token : text) random.discard(static_cast<unsigned long long>(token) + 3), random.seed(random());
      std::normal_distribution<float> normal(0, 1.5f);
      for (int i = 0; i < kVocabulary; ++i) found->second.push_back(normal(random) + (i == kEnd ? end_bonus_ : 0));
    }
    return found->second;
  }

 private:
  std::uint32_t seed_;
  float end_bonus_;
  std::map<std::pair<std::int64_t, std::vector<std::int32_t>>, std::vector<float>> known_;
};

std::vector<std::vector<Hypothesis>> search(MadeUpModel& model, BeamSettings settings,
                                            std::vector<std::int64_t> longest) {
  BeamSearch beam(settings, longest);
  while (!beam.done()) {
    const std::vector<std::vector<std::int32_t>> before = beam.texts();
    std::vector<std::span<const float>> logits;  // made here: the search asks from several threads
    for (std::size_t row = 0; row < before.size(); ++row)
      logits.push_back(model.logits(static_cast<std::int64_t>(row) / settings.beam, before[row]));
    const std::vector<std::int32_t> parents =
        beam.advance([&](std::int64_t row) { return logits[static_cast<std::size_t>(row)]; });
    for (std::size_t row = 0; row < parents.size(); ++row) {
      std::vector<std::int32_t> without = beam.texts()[row];
      without.pop_back();
      EXPECT_EQ(without, before[static_cast<std::size_t>(parents[row])]);
      EXPECT_EQ(static_cast<std::int64_t>(row) / settings.beam, parents[row] / settings.beam)
          << "rows stay with their source";
    }
  }
  return beam.results();
}

// Every text that ends within `longest` tokens, the end counted, by its score.
std::vector<Hypothesis> all_texts(MadeUpModel& model, std::int64_t source, std::int64_t longest, double alpha) {
  std::vector<Hypothesis> found;
  const auto extend = [&](auto& self, const std::vector<std::int32_t>& text, double log_probability) -> void {
    const std::span<const float> logits = model.logits(source, text);
    double sum = 0;
    for (float l : logits) sum += std::exp(double{l});
    for (std::int32_t token = 0; token < kVocabulary; ++token) {
      const double p = log_probability + logits[static_cast<std::size_t>(token)] - std::log(sum);
      if (token == kEnd) {
        Hypothesis h;
        h.tokens.assign(text.begin() + 1, text.end());
        h.log_probability = p;
        h.score = p / std::pow((5.0 + static_cast<double>(text.size())) / 6.0, alpha);
        found.push_back(h);
      } else if (static_cast<std::int64_t>(text.size()) < longest) {
        std::vector<std::int32_t> longer = text;
        longer.push_back(token);
        self(self, longer, p);
      }
    }
  };
  extend(extend, {kEnd}, 0);
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
  return found;
}

TEST(BeamSearch, OfOneIsGreedy) {
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    MadeUpModel model(seed);
    BeamSettings settings;
    settings.beam = 1;
    const auto results = search(model, settings, {8, 5});
    for (std::int64_t source = 0; source < 2; ++source) {
      std::vector<std::int32_t> text = {kEnd};
      while (true) {
        const std::span<const float> logits = model.logits(source, text);
        const auto token = static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
        if (token == kEnd) break;
        text.push_back(token);
        if (static_cast<std::int64_t>(text.size()) - 1 == (source == 0 ? 8 : 5)) break;
      }
      text.erase(text.begin());
      ASSERT_EQ(results[static_cast<std::size_t>(source)].size(), 1u);
      EXPECT_EQ(results[static_cast<std::size_t>(source)][0].tokens, text) << "seed " << seed;
    }
  }
}

// A beam as wide as there are texts misses nothing: its best are the best of all, with their scores.
TEST(BeamSearch, ThatIsWideEnoughFindsTheBest) {
  for (std::uint32_t seed = 0; seed < 50; ++seed)
    for (double alpha : {0.0, 0.6, 1.0}) {
      MadeUpModel model(seed);
      BeamSettings settings;
      settings.beam = 128;  // 3 + 9 + 27 + 81 unfinished texts of up to 4 tokens
      settings.length_penalty = alpha;
      const std::vector<Hypothesis> found = search(model, settings, {5})[0];
      std::vector<Hypothesis> all = all_texts(model, 0, 5, alpha);
      const std::size_t ended = static_cast<std::size_t>(
          std::count_if(found.begin(), found.end(), [](const Hypothesis& h) { return h.ended; }));
      ASSERT_GE(ended, 40u);  // all of up to 3 tokens, and the likelier ones of 4
      for (std::size_t i = 0; i < 10; ++i) {
        EXPECT_EQ(found[i].tokens, all[i].tokens) << "seed " << seed << " alpha " << alpha << " place " << i;
        EXPECT_NEAR(found[i].score, all[i].score, 1e-5);
        EXPECT_NEAR(found[i].log_probability, all[i].log_probability, 1e-5);
      }
    }
}

TEST(BeamSearch, AWiderBeamFindsLikelierTextsInTheMean) {
  double narrow = 0, wide = 0;
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    MadeUpModel model(seed);
    BeamSettings settings;
    settings.length_penalty = 0;
    settings.beam = 1;
    narrow += search(model, settings, {12})[0][0].log_probability;
    settings.beam = 4;
    wide += search(model, settings, {12})[0][0].log_probability;
  }
  EXPECT_GT(wide, narrow + 10);
}

TEST(BeamSearch, WhatDoesNotEndIsCutAtTheLimit) {
  MadeUpModel model(1, /*end_bonus=*/-50);
  BeamSettings settings;
  settings.beam = 3;
  const auto results = search(model, settings, {6, 2});
  ASSERT_EQ(results[0].size(), 3u);
  for (const Hypothesis& h : results[0]) {
    EXPECT_FALSE(h.ended);
    EXPECT_EQ(h.tokens.size(), 6u);
  }
  EXPECT_EQ(results[1][0].tokens.size(), 2u);
}

// A longer text wins with a penalty that a shorter one wins without.
TEST(BeamSearch, ThePenaltyFavoursLength) {
  std::size_t without = 0, with = 0;
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    MadeUpModel model(seed);
    BeamSettings settings;
    settings.length_penalty = 0;
    without += search(model, settings, {12})[0][0].tokens.size();
    settings.length_penalty = 2;
    with += search(model, settings, {12})[0][0].tokens.size();
  }
  EXPECT_GT(with, without);
}

}  // namespace
}  // namespace heddle
