// The encoder-decoder Transformer on one rank: gradients, what may and may not depend on what, counts.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/error.h"
#include "tests/trainer/model_trial.h"
#include "trainer/config/options.h"
#include "trainer/models/input_embedding.h"
#include "trainer/training/plan.h"

namespace heddle {
namespace {

// A score is q (k + b_k): b_k adds the same to all scores of a row, which the softmax does not see.
bool is_key_bias(const std::string& name) {
  return name.ends_with("k_proj.bias");
}

// A smooth activation: differences across the corner of a ReLU are not the slope.
ModelOptions smooth_transformer() {
  ModelOptions model = small_transformer();
  model.activation = FeedForwardKind::gelu_tanh;
  return model;
}

void expect_gradients_match_differences(const ModelOptions& model) {
  const RandomPairs pairs(5, 7, 9, model, /*fillers=*/1);
  Trial trial(small_pair_engine(model, pairs.shape));
  for (int s = 0; s < 3; ++s) trial.step(s, pairs.batch(), 1e-2);
  trial.step(3, pairs.batch(), 0.0);
  expect_gradients_are_slopes(
      trial, [&] { return trial.loss(pairs.batch()); }, is_key_bias);
}

TEST(TransformerGradients, AsPublished) {
  expect_gradients_match_differences(smooth_transformer());
}

TEST(TransformerGradients, PreNormWithTablesOfTheirOwn) {
  ModelOptions model = smooth_transformer();
  model.norm_position = NormPosition::pre;
  model.positions = PositionKind::learned;
  model.share_embeddings = model.tie_embeddings = false;
  model.source_vocabulary_size = 29;
  model.head_bias = true;
  model.num_decoder_layers = 1;
  expect_gradients_match_differences(model);
}

TEST(TransformerGradients, TiedTargetWithoutAttentionBiases) {
  ModelOptions model = smooth_transformer();
  model.share_embeddings = false;
  model.source_vocabulary_size = 50;
  model.attention_bias = false;
  model.positions = PositionKind::none;
  model.activation = FeedForwardKind::swiglu;
  expect_gradients_match_differences(model);
}

TEST(TransformerGradients, WithDropoutAndLabelSmoothing) {
  ModelOptions model = smooth_transformer();
  model.dropout = 0.2, model.attention_dropout = 0.1, model.ffn_dropout = 0.3;
  const RandomPairs pairs(5, 7, 9, model, /*fillers=*/1);
  EngineSettings settings = small_pair_engine(model, pairs.shape);
  settings.label_smoothing = 0.1f;
  Trial trial(settings);
  for (int s = 0; s < 3; ++s) trial.step(s, pairs.batch(), 1e-2);
  const auto loss = [&] { return trial.step(3, pairs.batch(), 0.0).loss; };
  loss();
  expect_gradients_are_slopes(trial, loss, is_key_bias);
}

TEST(TransformerEngine, GradientsDependNeitherOnMicroBatchesNorOnWhatFillsUp) {
  ModelOptions model = small_transformer();
  model.dropout = model.ffn_dropout = 0.2;
  const RandomPairs pairs(8, 7, 9, model, /*fillers=*/3);
  std::vector<float> whole;
  RandomPairs other = pairs;  // what stands in padding must not matter
  for (std::int64_t s = 0; s < 8; ++s) {
    for (std::int64_t t = 0; t < 7; ++t)
      if (other.targets[static_cast<std::size_t>(s * 7 + t)] < 0) other.inputs[static_cast<std::size_t>(s * 7 + t)] = 5;
    for (std::int64_t t = other.source_lengths[static_cast<std::size_t>(s)]; t < 9; ++t)
      other.source[static_cast<std::size_t>(s * 9 + t)] = 6;
  }
  for (const RandomPairs* used : {&pairs, static_cast<const RandomPairs*>(&other)})
    for (std::int64_t micro : {8, 4, 2, 1}) {
      Trial trial(small_pair_engine(model, {8, micro, 7, 9}));
      trial.step(5, used->batch(micro), 0.0);
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

TEST(TransformerEngine, RecomputationGivesTheSameBitsInLessMemory) {
  for (NormPosition position : {NormPosition::pre, NormPosition::post})
    for (DType act : {DType::f32, DType::bf16}) {
      ModelOptions model = small_transformer();
      model.dropout = 0.1;
      model.norm_position = position;
      const RandomPairs pairs(4, 8, 10, model);
      EngineSettings settings = small_pair_engine(model, pairs.shape);
      settings.act = act;
      Trial kept(settings);
      settings.recompute_blocks = true;
      Trial recomputed(settings);
      for (int s = 0; s < 3; ++s) {
        const Engine::StepResult a = kept.step(s, pairs.batch(), 1e-2), b = recomputed.step(s, pairs.batch(), 1e-2);
        EXPECT_EQ(a.loss, b.loss);
        EXPECT_EQ(a.gradient_norm, b.gradient_norm);
      }
      EXPECT_EQ(kept.gradients(), recomputed.gradients());
      EXPECT_LT(recomputed.engine.activation_bytes(), kept.engine.activation_bytes());
    }
}

// Steps of different shapes follow one another in memory made for the largest.
TEST(TransformerEngine, TakesBatchesOfManyShapes) {
  const ModelOptions model = small_transformer();
  const RandomPairs large(6, 12, 5, model), wide(2, 4, 12, model), tiny(1, 1, 1, model);
  EngineSettings settings = small_pair_engine(model, large.shape);
  settings.shapes.push_back(wide.shape);
  Trial shared(settings), alone(small_pair_engine(model, tiny.shape));
  const double loss = alone.step(0, tiny.batch(), 0.0).loss;
  for (int s = 0; s < 3; ++s) {
    shared.step(3 * s, large.batch(), 0.0);
    shared.step(3 * s + 1, wide.batch(), 0.0);
    EXPECT_EQ(shared.step(3 * s + 2, tiny.batch(), 0.0).loss, loss);
  }
}

TEST(TransformerEngine, LearnsABatchByHeart) {
  for (NormPosition position : {NormPosition::pre, NormPosition::post}) {
    ModelOptions model = small_transformer();
    model.norm_position = position;
    const RandomPairs pairs(4, 8, 10, model);
    Trial trial(small_pair_engine(model, pairs.shape));
    double loss = 0;
    for (int s = 0; s < 200; ++s) loss = trial.step(s, pairs.batch(), 5e-3).loss;
    EXPECT_LT(loss, 0.2);
  }
}

// Masked self-attention: another token j changes no bit of what is told before it.
TEST(TransformerMasks, NoTokenOfTheTargetSeesALaterOne) {
  const ModelOptions model = small_transformer();
  RandomPairs pairs(3, 12, 9, model);
  std::fill(pairs.targets.begin(), pairs.targets.end(), 3);
  Trial trial(small_pair_engine(model, pairs.shape));
  const std::vector<float> before = trial.token_losses(pairs.batch());
  for (std::size_t j = 0; j < 12; ++j) {
    RandomPairs changed = pairs;
    for (std::size_t s = 0; s < 3; ++s) changed.inputs[s * 12 + j] = (changed.inputs[s * 12 + j] + 1) % 37;
    const std::vector<float> after = trial.token_losses(changed.batch());
    for (std::size_t s = 0; s < 3; ++s)
      for (std::size_t t = 0; t < 12; ++t) {
        if (t < j)
          EXPECT_EQ(after[s * 12 + t], before[s * 12 + t]) << "token " << t << " sees " << j;
        else
          EXPECT_NE(after[s * 12 + t], before[s * 12 + t]) << "token " << t << " does not see " << j;
      }
  }
}

TEST(TransformerMasks, EveryTokenOfTheTargetSeesTheWholeSource) {
  const ModelOptions model = small_transformer();
  const RandomPairs pairs(1, 12, 9, model);
  Trial trial(small_pair_engine(model, pairs.shape));
  const std::vector<float> before = trial.token_losses(pairs.batch());
  for (std::size_t j = 0; j < 9; ++j) {
    RandomPairs changed = pairs;
    changed.source[j] = (changed.source[j] + 1) % 37;
    const std::vector<float> after = trial.token_losses(changed.batch());
    for (std::size_t t = 0; t < 12; ++t) EXPECT_NE(after[t], before[t]) << "token " << t << " of " << j;
  }
}

// More padding on either side changes no real token's loss.
TEST(TransformerMasks, PaddingChangesNothing) {
  const ModelOptions model = small_transformer();
  const RandomPairs pairs(5, 6, 5, model);
  Trial trial(small_pair_engine(model, {5, 5, 12, 12}));
  const std::vector<float> before = trial.token_losses(pairs.batch());
  RandomPairs padded = pairs;
  padded.shape = {5, 5, 12, 11};
  padded.inputs.assign(60, 1), padded.targets.assign(60, -1), padded.source.assign(55, 2);
  for (std::size_t s = 0; s < 5; ++s) {
    std::copy_n(pairs.inputs.begin() + static_cast<std::ptrdiff_t>(s * 6), 6,
                padded.inputs.begin() + static_cast<std::ptrdiff_t>(s * 12));
    std::copy_n(pairs.targets.begin() + static_cast<std::ptrdiff_t>(s * 6), 6,
                padded.targets.begin() + static_cast<std::ptrdiff_t>(s * 12));
    std::copy_n(pairs.source.begin() + static_cast<std::ptrdiff_t>(s * 5), 5,
                padded.source.begin() + static_cast<std::ptrdiff_t>(s * 11));
  }
  const std::vector<float> after = trial.token_losses(padded.batch());
  for (std::size_t s = 0; s < 5; ++s)
    for (std::size_t t = 0; t < 12; ++t)
      EXPECT_NEAR(after[s * 12 + t], t < 6 ? before[s * 6 + t] : 0.0f, 1e-6) << "sample " << s << " token " << t;
}

// Without positions the encoder takes a bag of words: the source's order cannot matter. With them it does.
TEST(TransformerPositions, WithoutThemTheOrderOfTheSourceDoesNotMatter) {
  for (PositionKind positions : {PositionKind::none, PositionKind::sinusoidal, PositionKind::learned}) {
    ModelOptions model = small_transformer();
    model.positions = positions;
    RandomPairs pairs(1, 8, 9, model);
    Trial trial(small_pair_engine(model, pairs.shape));
    const std::vector<float> before = trial.token_losses(pairs.batch());
    std::rotate(pairs.source.begin(), pairs.source.begin() + 4, pairs.source.end());
    std::swap(pairs.source[0], pairs.source[1]);
    const std::vector<float> after = trial.token_losses(pairs.batch());
    double worst = 0;
    for (std::size_t t = 0; t < 8; ++t) worst = std::max(worst, std::abs(double{after[t]} - before[t]));
    if (positions == PositionKind::none)
      EXPECT_LT(worst, 1e-5);
    else
      EXPECT_GT(worst, 1e-4);
  }
}

TEST(SinusoidalPositions, AreThePapers) {
  const float expected[3][4] = {{0, 1, 0, 1},
                                {0.84147098f, 0.54030231f, 0.00999983f, 0.99995000f},
                                {0.90929743f, -0.41614684f, 0.01999867f, 0.99980001f}};
  for (int position = 0; position < 3; ++position)
    for (int c = 0; c < 4; ++c) EXPECT_NEAR(sinusoidal_position(position, c, 4), expected[position][c], 1e-7);
  EXPECT_NEAR(sinusoidal_position(1, 2, 512), 0.82185619, 1e-7);
  EXPECT_NEAR(sinusoidal_position(1, 3, 512), 0.56969501, 1e-7);
  EXPECT_NEAR(sinusoidal_position(10, 0, 512), -0.54402111, 1e-7);
  EXPECT_NEAR(sinusoidal_position(10, 3, 512), -0.97549464, 1e-7);
}

// PE(pos + k) is a fixed linear map of PE(pos): each pair of channels turns by k times its frequency.
TEST(SinusoidalPositions, AShiftIsARotation) {
  constexpr std::int64_t kWidth = 64, kShift = 7;
  for (std::int64_t position = 0; position < 50; ++position)
    for (std::int64_t c = 0; c < kWidth; c += 2) {
      const double s = sinusoidal_position(kShift, c, kWidth), k = sinusoidal_position(kShift, c + 1, kWidth);
      const double sine = sinusoidal_position(position, c, kWidth),
                   cosine = sinusoidal_position(position, c + 1, kWidth);
      EXPECT_NEAR(sinusoidal_position(position + kShift, c, kWidth), sine * k + cosine * s, 1e-6);
      EXPECT_NEAR(sinusoidal_position(position + kShift, c + 1, kWidth), cosine * k - sine * s, 1e-6);
    }
}

std::int64_t count_of(const ModelOptions& model) {
  ParameterTable table(1, 0);
  make_model(model, 0, table);
  return table.global_count();
}

ModelOptions base() {
  ModelOptions m = small_transformer();
  m.num_layers = 6, m.hidden_size = 512, m.num_heads = 8, m.ffn_size = 2048, m.vocabulary_size = 37000;
  return m;
}

TEST(TransformerCounts, BaseAndBig) {
  ModelOptions m = base();
  EXPECT_EQ(count_of(m), 63082496);
  m.attention_bias = false;
  EXPECT_EQ(count_of(m), 63045632);
  m.attention_bias = true, m.norm_position = NormPosition::pre;
  EXPECT_EQ(count_of(m), 63084544);
  m = base();
  m.hidden_size = 1024, m.num_heads = 16, m.ffn_size = 4096;
  EXPECT_EQ(count_of(m), 214245376);
}

TEST(TransformerCounts, OfABlockAndOfAnyDepth) {
  ModelOptions m = base();
  const std::int64_t six = count_of(m);
  m.num_layers = 7, m.num_decoder_layers = 6;
  EXPECT_EQ(count_of(m) - six, 3152384);  // an encoder block
  m.num_layers = 6, m.num_decoder_layers = 7;
  EXPECT_EQ(count_of(m) - six, 4204032);  // a decoder block
  m.attention_bias = false;
  const std::int64_t seven = count_of(m);
  m.num_decoder_layers = 8;
  EXPECT_EQ(count_of(m) - seven, 4199936);
}

// The copy model of the Annotated Transformer and the Multi30k model of pytorch-seq2seq.
TEST(TransformerCounts, OfPublishedSmallModels) {
  ModelOptions m = base();
  m.num_layers = 2, m.vocabulary_size = m.source_vocabulary_size = 11;
  m.share_embeddings = m.tie_embeddings = false;
  m.head_bias = true, m.norm_position = NormPosition::pre;
  EXPECT_EQ(count_of(m), 14731787);
  m.norm_position = NormPosition::post, m.positions = PositionKind::learned;
  m.num_layers = 3, m.hidden_size = 256, m.ffn_size = 512, m.context_length = 100;
  m.source_vocabulary_size = 7853, m.vocabulary_size = 5893;
  EXPECT_EQ(count_of(m), 9038341);
}

TEST(TransformerNames, AreMarians) {
  ParameterTable table(1, 0);
  make_model(small_transformer(), 0, table);
  const std::pair<const char*, Shape> expected[] = {
      {"model.shared.weight", {37, 24}},
      {"model.encoder.layers.0.self_attn.k_proj.weight", {24, 24}},
      {"model.encoder.layers.1.self_attn.out_proj.bias", {24}},
      {"model.encoder.layers.1.self_attn_layer_norm.weight", {24}},
      {"model.encoder.layers.0.fc1.weight", {40, 24}},
      {"model.encoder.layers.0.fc2.weight", {24, 40}},
      {"model.decoder.layers.1.encoder_attn.q_proj.bias", {24}},
      {"model.decoder.layers.1.encoder_attn_layer_norm.bias", {24}},
      {"model.decoder.layers.1.final_layer_norm.bias", {24}},
  };
  for (const auto& [name, shape] : expected) {
    const Parameter* p = table.find(name);
    ASSERT_NE(p, nullptr) << name;
    EXPECT_EQ(p->spec.shape, shape) << name;
  }
}

TEST(TransformerOptions, ImpossibleOnesAreRefused) {
  ModelOptions m = small_transformer();
  m.source_vocabulary_size = 20;
  EXPECT_THROW(count_of(m), UsageError);
  ModelOptions gpt = small_gpt();
  gpt.num_decoder_layers = 2;
  EXPECT_THROW(count_of(gpt), UsageError);
}

// The formula counts what the plan counts product by product.
TEST(TransformerPlan, FlopsAgreeWithTheFormula) {
  const std::unique_ptr<Device> device = make_cpu_device(1);
  ModelOptions model = small_transformer();
  model.vocabulary_size = 64;  // no padding
  const EngineSettings settings = small_pair_engine(model, {3, 3, 8, 10});
  ParameterTable table(1, 0);
  const FlopsPerToken flops = make_model(model, 0, table)->flops_per_token(8, 10);
  const double width = 24, tokens = 3 * 8, encoder_pairs = 3 * 10 * 10, cross_pairs = 3 * 8 * 10,
               causal_pairs = 3 * 8 * 9 / 2;
  // Scores are computed again in the backward: 7 products instead of 6.
  const double attention = 2 * (encoder_pairs + cross_pairs + causal_pairs) * 4 * width * 3.5;
  EXPECT_DOUBLE_EQ(plan_step(settings, {1, 1}, 0, *device).flops, flops.matmul * tokens + attention);
  EXPECT_DOUBLE_EQ(flops.attention_full * tokens, 2 * (encoder_pairs + cross_pairs + 3 * 8 * 8) * 4 * width * 3);
}

}  // namespace
}  // namespace heddle
