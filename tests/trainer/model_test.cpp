// GPT as a whole on one rank: gradients by finite differences, splits of the batch, recomputation, counts.

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "kernels/error.h"
#include "tests/trainer/model_test_support.h"
#include "tests/trainer/model_trial.h"
#include "trainer/config/options.h"
#include "trainer/training/plan.h"

namespace heddle {
namespace {

void expect_gradients_match_differences(const ModelOptions& model) {
  Trial trial(small_engine(model));
  const RandomTokens tokens(4, model.context_length, model.vocabulary_size);
  // Away from the symmetric start: some real steps first.
  for (int s = 0; s < 3; ++s) trial.step(s, tokens.batch(), 1e-2);
  trial.step(3, tokens.batch(), 0.0);
  expect_gradients_are_slopes(trial, [&] { return trial.loss(tokens.batch()); });
}

TEST(GptGradients, OfGpt2) { expect_gradients_match_differences(small_gpt()); }

TEST(GptGradients, WithoutBiasesAndWithAHeadOfItsOwn) {
  ModelOptions model = small_gpt();
  model.bias = false;
  model.tie_embeddings = false;
  expect_gradients_match_differences(model);
}

TEST(GptGradients, WithSwigluRmsNormAndWideHeads) {
  ModelOptions model = small_gpt();
  model.activation = FeedForwardKind::swiglu;
  model.norm = NormKind::rms_norm;
  model.head_size = 10;
  model.ffn_size = 31;
  expect_gradients_match_differences(model);
}

// GPT-1 normalises behind each residual sum, and has no norm at the end.
TEST(GptGradients, WithNormsBehindAndOtherPositions) {
  for (PositionKind positions : {PositionKind::sinusoidal, PositionKind::none}) {
    ModelOptions model = small_gpt();
    model.norm_position = NormPosition::post;
    model.positions = positions;
    model.embedding_scale = model.head_bias = true;
    expect_gradients_match_differences(model);
  }
}

// The mask of a step is a function of the step, so a step's loss has slopes as well.
TEST(GptGradients, WithEveryDropout) {
  ModelOptions model = small_gpt();
  model.dropout = 0.2, model.attention_dropout = 0.1, model.ffn_dropout = 0.3;
  Trial trial(small_engine(model));
  const RandomTokens tokens(4, model.context_length, model.vocabulary_size);
  for (int s = 0; s < 3; ++s) trial.step(s, tokens.batch(), 1e-2);
  const auto loss = [&] { return trial.step(3, tokens.batch(), 0.0).loss; };
  loss();
  expect_gradients_are_slopes(trial, loss);
}

TEST(Engine, GradientsDoNotDependOnTheSplitIntoMicroBatches) {
  ModelOptions model = small_gpt();
  model.dropout = 0.2;
  const RandomTokens tokens(8, model.context_length, model.vocabulary_size);
  std::vector<float> whole;
  for (std::int64_t micro : {8, 4, 2, 1}) {
    EngineSettings settings = small_engine(model);
    settings.shapes = {{tokens.samples, micro, tokens.length}};
    Trial trial(settings);
    trial.step(5, tokens.batch(micro), 0.0);
    const std::vector<float> gradients = trial.gradients();
    if (whole.empty()) whole = gradients;
    double difference = 0, length = 0;
    for (std::size_t i = 0; i < whole.size(); ++i) {
      difference += std::pow(static_cast<double>(gradients[i]) - whole[i], 2);
      length += std::pow(static_cast<double>(whole[i]), 2);
    }
    EXPECT_LT(std::sqrt(difference / length), 1e-6) << "micro-batch " << micro;
  }
}

TEST(Engine, RecomputationGivesTheSameBitsInLessMemory) {
  ModelOptions model = small_gpt();
  model.dropout = 0.1;
  const RandomTokens tokens(4, model.context_length, model.vocabulary_size);
  for (DType act : {DType::f32, DType::bf16}) {
    EngineSettings settings = small_engine(model);
    settings.act = act;
    Trial kept(settings);
    settings.recompute_blocks = true;
    Trial recomputed(settings);
    for (int s = 0; s < 3; ++s) {
      const Engine::StepResult a = kept.step(s, tokens.batch(), 1e-2);
      const Engine::StepResult b = recomputed.step(s, tokens.batch(), 1e-2);
      EXPECT_EQ(a.loss, b.loss);
      EXPECT_EQ(a.gradient_norm, b.gradient_norm);
    }
    EXPECT_EQ(kept.gradients(), recomputed.gradients());
    EXPECT_LT(recomputed.engine.activation_bytes(), kept.engine.activation_bytes());
  }
}

TEST(Engine, DropoutChangesWithStepAndSeedOnly) {
  ModelOptions model = small_gpt();
  model.dropout = 0.3;
  const RandomTokens tokens(4, model.context_length, model.vocabulary_size);
  EngineSettings settings = small_engine(model);
  Trial a(settings), b(settings);
  EXPECT_EQ(a.step(0, tokens.batch(), 0.0).loss, b.step(0, tokens.batch(), 0.0).loss);
  EXPECT_NE(a.step(1, tokens.batch(), 0.0).loss, b.step(2, tokens.batch(), 0.0).loss);
}

TEST(Engine, StartsAtTheLossOfAUniformGuess) {
  ModelOptions model = small_gpt();
  Trial trial(small_engine(model));
  const RandomTokens tokens(32, model.context_length, model.vocabulary_size);
  EXPECT_NEAR(trial.loss(tokens.batch(4)), std::log(37.0), 0.05);
}

TEST(Engine, LearnsABatchByHeart) {
  ModelOptions model = small_gpt();
  for (DType act : {DType::f32, DType::bf16}) {
    EngineSettings settings = small_engine(model);
    settings.act = act;
    Trial trial(settings);
    const RandomTokens tokens(4, model.context_length, model.vocabulary_size);
    double loss = 0;
    for (int s = 0; s < 150; ++s) loss = trial.step(s, tokens.batch(), 1e-2).loss;
    EXPECT_LT(loss, 0.2) << name_of(act);
  }
}

TEST(Engine, StopsBeforeAnUpdateWithNumbersThatAreNotFinite) {
  ModelOptions model = small_gpt();
  Trial trial(small_engine(model));
  const RandomTokens tokens(4, model.context_length, model.vocabulary_size);
  Parameter& p = *trial.engine.parameters().find("h.1.mlp.c_fc.weight");
  p.master.as<float>()[5] = std::nanf("");
  trial.device->ops().parameters_changed();
  Parameter& other = *trial.engine.parameters().find("wte.weight");
  const std::vector<float> before(other.master.as<float>(), other.master.as<float>() + other.count());
  EXPECT_THROW(trial.step(0, tokens.batch(), 1.0), Error);
  const std::vector<float> after(other.master.as<float>(), other.master.as<float>() + other.count());
  EXPECT_EQ(before, after);
}

// Exact counts of the published sizes, from the configs that ship.
TEST(Counts, OfEveryPublishedConfig) {
  const std::pair<const char*, std::int64_t> published[] = {
      {"gpt2-small", 124439808},       {"gpt2-medium", 354823168},   {"gpt2-large", 774030080},
      {"gpt2-xl", 1557611200},         {"gpt3-125m", 125226240},     {"gpt3-350m", 355871744},
      {"gpt3-760m", 760300032},        {"gpt3-1.3b", 1315723264},    {"gpt3-2.7b", 2651553280},
      {"gpt3-6.7b", 6658404352},       {"gpt3-13b", 12936488380},    {"gpt3-175b", 174604259328},
  };
  for (const auto& [name, count] : published) {
    const std::string path = std::string(HEDDLE_SOURCE_DIR) + "/configs/" + name + ".cfg";
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    const Options options = parse_config(text.str(), path);
    ParameterTable table(1, 0);
    make_model(options.model, 0, table);
    EXPECT_EQ(table.global_count(), count) << name;
  }
  ModelOptions nano = small_gpt();
  nano.num_layers = 4, nano.hidden_size = 128, nano.num_heads = 4, nano.context_length = 64;
  nano.vocabulary_size = 65, nano.bias = false;
  ParameterTable table(1, 0);
  make_model(nano, 0, table);
  EXPECT_EQ(table.global_count(), 804096);
}

TEST(Counts, ShardsAddUpToTheModel) {
  ModelOptions model = small_gpt();
  model.num_heads = 4;
  model.head_size = 6;
  for (int ranks : {2, 4}) {
    std::int64_t held = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      ParameterTable table(ranks, rank);
      make_model(model, 0, table);
      for (const Parameter& p : table.parameters()) {
        if (p.spec.sharding.replicated() && rank != 0) continue;
        for (const ShardPiece& piece : shard_pieces(p.spec.shape, p.spec.sharding, rank, ranks))
          held += piece.extent.count();
      }
    }
    ParameterTable whole(1, 0);
    make_model(model, 0, whole);
    EXPECT_EQ(held, whole.global_count());
  }
}

TEST(Plan, OfALayoutNamesWhatDoesNotDivide) {
  const std::unique_ptr<Device> device = make_cpu_device(1);
  EngineSettings settings = small_engine(small_gpt());
  EXPECT_THROW(plan_step(settings, {1, 2}, 0, *device), UsageError);  // 3 heads
  const StepPlan plan = plan_step(settings, {4, 3}, 5, *device);
  EXPECT_GT(plan.activation_bytes, 0u);
  EXPECT_GT(plan.flops, 0);
  EXPECT_LT(plan.parameters.master, plan_step(settings, {4, 1}, 0, *device).parameters.master);
}

// 6 x the parameters in matrix products, per token; the plan counts the same products one by one.
TEST(Plan, FlopsAgreeWithTheFormula) {
  const std::unique_ptr<Device> device = make_cpu_device(1);
  const EngineSettings settings = small_engine(small_gpt());
  ParameterTable table(1, 0);
  const std::unique_ptr<Model> model = make_model(settings.model, 0, table);
  const FlopsPerToken flops = model->flops_per_token(12, 0);
  const double d = 24, layers = 2, vocabulary = 37, length = 12;
  EXPECT_DOUBLE_EQ(flops.matmul, 6 * (layers * 12 * d * d + d * vocabulary));
  EXPECT_DOUBLE_EQ(flops.attention_full, 12 * layers * d * length);
  // The plan multiplies with the padded vocabulary (64 rows) and recomputes scores in the backward.
  const double tokens = static_cast<double>(settings.shapes.front().tokens());
  const double products = 6 * (layers * 12 * d * d + d * 64) * tokens;
  const double visible_pairs = length * (length + 1) / 2 * static_cast<double>(settings.shapes.front().micro_batch);
  EXPECT_DOUBLE_EQ(plan_step(settings, {1, 1}, 0, *device).flops, products + layers * visible_pairs * 4 * d * 3.5);
}

}  // namespace
}  // namespace heddle
