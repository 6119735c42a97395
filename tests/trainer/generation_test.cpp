// Generation: the cache changes nothing, the seed decides, and choices follow the settings.

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "tests/trainer/model_test_support.h"
#include "trainer/tasks/generation.h"
#include "trainer/tasks/sampling.h"

namespace heddle {
namespace {

struct TrainedGpt {
  explicit TrainedGpt(DType act) : act(act), device(make_cpu_device(2)), mesh(single_rank_mesh(*device)) {
    EngineSettings settings = small_engine(small_gpt());
    settings.act = act;
    engine = std::make_unique<Engine>(settings, *device, *mesh);
    const RandomTokens tokens(4, settings.model.context_length, settings.model.vocabulary_size);
    for (int s = 0; s < 20; ++s) engine->step(s, tokens.batch(), 1e-2);
  }

  DType act;
  std::unique_ptr<Device> device;
  std::unique_ptr<Mesh> mesh;
  std::unique_ptr<Engine> engine;
};

class GenerationTest : public ::testing::TestWithParam<DType> {};

// Also past the context length of 12, where the text is cut and read again.
TEST_P(GenerationTest, CacheGivesTheSameBitsAsRecomputation) {
  TrainedGpt gpt(GetParam());
  GenerationSettings settings;
  settings.max_tokens = 30;
  settings.samples = 3;
  settings.sampling.seed = 3;
  Generator cached(gpt.engine->model(), *gpt.device, *gpt.mesh, gpt.act, 3);
  Generator recomputed(gpt.engine->model(), *gpt.device, *gpt.mesh, gpt.act, 3);
  for (std::int64_t n = 1; n <= settings.max_tokens; n += 7) {
    settings.max_tokens = n;
    settings.cache = true;
    const auto a = cached.generate({1, 2, 3}, settings);
    settings.cache = false;
    const auto b = recomputed.generate({1, 2, 3}, settings);
    ASSERT_EQ(a, b);
    ASSERT_EQ(cached.last_logits(), recomputed.last_logits());
    settings.max_tokens = 30;
  }
}

TEST_P(GenerationTest, ATextDoesNotDependOnItsNeighbours) {
  TrainedGpt gpt(GetParam());
  GenerationSettings settings;
  settings.max_tokens = 20;
  settings.sampling.seed = 5;
  settings.samples = 4;
  Generator four(gpt.engine->model(), *gpt.device, *gpt.mesh, gpt.act, 4);
  const auto together = four.generate({4, 5}, settings);
  Generator one(gpt.engine->model(), *gpt.device, *gpt.mesh, gpt.act, 1);
  settings.samples = 1;
  for (int s = 0; s < 4; ++s) {
    settings.first_sample = s;
    EXPECT_EQ(one.generate({4, 5}, settings)[0], together[static_cast<std::size_t>(s)]);
  }
  EXPECT_NE(together[0], together[1]);
}

INSTANTIATE_TEST_SUITE_P(Precisions, GenerationTest, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(Generation, EndsAtTheEndOfText) {
  TrainedGpt gpt(DType::f32);
  Generator generator(gpt.engine->model(), *gpt.device, *gpt.mesh, gpt.act, 1);
  GenerationSettings settings;
  settings.max_tokens = 8;
  settings.sampling.temperature = 0;
  const auto free = generator.generate({1}, settings)[0];
  settings.end_of_text = free[3];
  const auto ended = generator.generate({1}, settings)[0];
  EXPECT_LE(ended.size(), 3u);
  EXPECT_TRUE(std::equal(ended.begin(), ended.end(), free.begin()));
}

TEST(Sampling, TemperatureZeroTakesTheMostLikely) {
  const std::vector<float> logits = {0.1f, 2.0f, 2.0f, -1.0f};
  SamplingSettings settings;
  settings.temperature = 0;
  EXPECT_EQ(sample_token(logits, settings, 0, 0), 1);
}

TEST(Sampling, FrequenciesFollowTheSoftmax) {
  const std::vector<float> logits = {0.0f, 1.0f, 2.0f, -3.0f};
  SamplingSettings settings;
  settings.temperature = 1.5;
  double z = 0;
  for (float l : logits) z += std::exp(l / 1.5);
  constexpr int kDraws = 40000;
  std::map<std::int32_t, int> counts;
  for (int i = 0; i < kDraws; ++i) ++counts[sample_token(logits, settings, 1, static_cast<std::uint64_t>(i))];
  for (std::size_t id = 0; id < logits.size(); ++id) {
    const double p = std::exp(logits[id] / 1.5) / z;
    EXPECT_NEAR(counts[static_cast<std::int32_t>(id)], kDraws * p, 5 * std::sqrt(kDraws * p * (1 - p)));
  }
}

TEST(Sampling, TopKAndTopPLeaveOutTheRest) {
  const std::vector<float> logits = {0.0f, 1.0f, 2.0f, 3.0f};
  SamplingSettings top_k;
  top_k.top_k = 2;
  SamplingSettings top_p;
  top_p.top_p = 0.6;  // token 3 alone has 0.644
  for (std::uint64_t i = 0; i < 500; ++i) {
    EXPECT_GE(sample_token(logits, top_k, 0, i), 2);
    EXPECT_EQ(sample_token(logits, top_p, 0, i), 3);
  }
}

TEST(Sampling, IsAFunctionOfSeedSampleAndPosition) {
  std::vector<float> logits(100, 0.0f);
  SamplingSettings a, b;
  b.seed = 1;
  int same_seed = 0, same_sample = 0, same_position = 0;
  for (std::uint64_t i = 0; i < 200; ++i) {
    EXPECT_EQ(sample_token(logits, a, 2, i), sample_token(logits, a, 2, i));
    same_seed += sample_token(logits, a, 2, i) == sample_token(logits, b, 2, i);
    same_sample += sample_token(logits, a, 2, i) == sample_token(logits, a, 3, i);
    same_position += sample_token(logits, a, 2, i) == sample_token(logits, a, 2, i + 1);
  }
  EXPECT_LT(same_seed, 12);
  EXPECT_LT(same_sample, 12);
  EXPECT_LT(same_position, 12);
}

}  // namespace
}  // namespace heddle
