// The weights that are shown are those that the model used: worked examples, small models, masks, order.

#include "trainer/tasks/attention_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/error.h"
#include "kernels/reference/attention.h"
#include "tests/trainer/model_test_support.h"
#include "trainer/tasks/attention_reader.h"

namespace heddle {
namespace {

// Arrays of floats as tensors of a CPU device.
struct Floats {
  explicit Floats(Shape shape, float value = 0)
      : shape(shape), values(static_cast<std::size_t>(shape.count()), value) {}
  Tensor tensor() { return Tensor(values.data(), DType::f32, shape); }
  float& at(std::int64_t row, std::int64_t column) {
    return values[static_cast<std::size_t>(row * shape[shape.rank() - 1] + column)];
  }
  Shape shape;
  std::vector<float> values;
};

Floats random_floats(Shape shape, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Floats floats(shape);
  for (float& value : floats.values) value = normal(random);
  return floats;
}

struct OneRank {
  OneRank() : device(make_cpu_device(1)), mesh(single_rank_mesh(*device)) {}
  Context context() { return Context{.device = *device, .ops = device->ops(), .mesh = *mesh, .tape = tape}; }
  std::unique_ptr<Device> device;
  std::unique_ptr<Mesh> mesh;
  Tape tape;
};

// One sentence of one head through the attention operation, the reference, and the recorder.
struct OneHead {
  OneHead(Floats& q, Floats& k, Floats& v)
      : rows(q.shape[0]), size(q.shape[1]), z({rows, size}), log_sum_exp({1, 1, rows}) {
    const auto as_batch = [&](Floats& x) { return x.tensor().view({1, rows, 1, size}); };
    Attention a;
    a.q = as_batch(q), a.k = as_batch(k), a.v = as_batch(v), a.o = as_batch(z);
    a.log_sum_exp = log_sum_exp.tensor();
    a.scale = 1 / std::sqrt(static_cast<float>(size));
    rank.device->ops().attention_forward(a);
    Context context = rank.context();
    AttentionRecorder recorder;
    recorder.observe(context, "model.encoder.layers.0.self_attn", 1, a);
    layer = recorder.take(rank.mesh->tensor()).front();

    reference::AttentionInput<double> input;
    input.q = reference::from_tensor<double>(a.q);
    input.k = reference::from_tensor<double>(a.k);
    input.v = reference::from_tensor<double>(a.v);
    input.scale = a.scale;
    expected_z = reference::attention_forward(input).o.values;
  }
  double weight(std::int64_t i, std::int64_t j) const { return layer.row(0, 0, i)[j]; }

  OneRank rank;
  std::int64_t rows, size;
  Floats z, log_sum_exp;
  AttentionLayer layer;
  std::vector<double> expected_z;
};

// "I am good": the score matrix of the worked example, from embeddings on. X is [3, 512], Q, K and V [3, 64],
// and sqrt(64) = 8, so that Q K^T = 8 ln p gives the rows p.
TEST(AttentionWorkedExample, IAmGood) {
  constexpr double kRows[3][3] = {{0.90, 0.07, 0.03}, {0.025, 0.95, 0.025}, {0.21, 0.03, 0.76}};
  constexpr std::int64_t kWidth = 512, kSize = 64;
  OneRank rank;
  Floats table = random_floats({5, kWidth}, 1);
  const float ends[3][3] = {{1.76f, 2.22f, 6.66f}, {7.77f, 0.631f, 5.35f}, {11.44f, 10.10f, 3.33f}};
  for (std::int64_t i = 0; i < 3; ++i) {
    table.at(i, 0) = ends[i][0], table.at(i, 1) = ends[i][1], table.at(i, kWidth - 1) = ends[i][2];
    for (std::int64_t j = 0; j < 3; ++j) table.at(i, 10 + j) = i == j ? 1 : 0;  // what the projections read
  }
  std::vector<std::int32_t> ids{0, 1, 2};
  Floats x({3, kWidth});
  rank.device->ops().embedding_forward(Tensor(ids.data(), DType::i32, {3}), table.tensor(), 0, false,
                                       x.tensor());
  for (std::int64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(x.at(i, 0), ends[i][0]);
    EXPECT_EQ(x.at(i, kWidth - 1), ends[i][2]);
  }

  Floats wq({kWidth, kSize}), wk({kWidth, kSize}), wv({kWidth, kSize});
  const Floats values = random_floats({3, kSize}, 2);
  for (std::int64_t i = 0; i < 3; ++i) {
    wq.at(10 + i, i) = 1;
    for (std::int64_t j = 0; j < 3; ++j) wk.at(10 + j, i) = static_cast<float>(8 * std::log(kRows[i][j]));
    for (std::int64_t d = 0; d < kSize; ++d)
      wv.at(10 + i, d) = values.values[static_cast<std::size_t>(i * kSize + d)];
  }
  Floats q({3, kSize}), k({3, kSize}), v({3, kSize});
  for (auto [weights, projected] : {std::pair{&wq, &q}, std::pair{&wk, &k}, std::pair{&wv, &v}}) {
    Matmul m;
    m.a = x.tensor(), m.b = weights->tensor(), m.c = projected->tensor();
    rank.device->ops().matmul(m);
  }
  EXPECT_EQ(v.values, values.values);

  OneHead head(q, k, v);
  for (std::int64_t i = 0; i < 3; ++i) {
    for (std::int64_t j = 0; j < 3; ++j) EXPECT_NEAR(head.weight(i, j), kRows[i][j], 1e-6) << i << ", " << j;
    for (std::int64_t d = 0; d < kSize; ++d) {
      double mixture = 0;
      for (std::int64_t j = 0; j < 3; ++j) mixture += kRows[i][j] * v.at(j, d);
      EXPECT_NEAR(head.z.at(i, d), mixture, 1e-5);
      EXPECT_NEAR(head.expected_z[static_cast<std::size_t>(i * kSize + d)], mixture, 1e-6);
    }
  }
}

// "A dog ate the food because it was hungry": "it" looks at the dog alone, and becomes the dog's value.
TEST(AttentionWorkedExample, ItIsTheDog) {
  constexpr std::int64_t kWords = 9, kDog = 1, kIt = 6, kSize = 64;
  Floats q = random_floats({kWords, kSize}, 3), k = random_floats({kWords, kSize}, 4),
         v = random_floats({kWords, kSize}, 5);
  for (std::int64_t d = 0; d < kSize; ++d) q.at(kIt, d) = 4 * k.at(kDog, d);  // a score of about 4 * 64 / 8
  OneHead head(q, k, v);
  for (std::int64_t j = 0; j < kWords; ++j) EXPECT_NEAR(head.weight(kIt, j), j == kDog ? 1 : 0, 5e-4) << j;
  for (std::int64_t d = 0; d < kSize; ++d) {
    EXPECT_NEAR(head.z.at(kIt, d), v.at(kDog, d), 2e-3);
    EXPECT_NEAR(head.expected_z[static_cast<std::size_t>(kIt * kSize + d)], v.at(kDog, d), 2e-3);
  }
}

// Passes everything on to a recorder and checks: weights times values are what the layer computed.
class CheckingObserver final : public AttentionObserver {
 public:
  void observe(Context& context, const std::string& layer, std::int64_t heads, const Attention& a) override {
    recorder.observe(context, layer, heads, a);
    AttentionRecorder other;
    other.observe(context, layer, heads, a);
    const AttentionLayer weights = other.take(context.mesh.tensor()).front();
    const reference::Array<double> v = reference::from_tensor<double>(a.v),
                                   o = reference::from_tensor<double>(a.o);
    for (std::int64_t b = 0; b < weights.samples; ++b)
      for (std::int64_t h = 0; h < weights.heads; ++h)
        for (std::int64_t i = 0; i < weights.rows; ++i) {
          const double* row = weights.row(b, h, i);
          for (std::int64_t d = 0; d < a.v.size(3); ++d) {
            double sum = 0;
            for (std::int64_t j = 0; j < weights.columns; ++j)
              sum += row[j] * v(b, j, h / (weights.heads / a.v.size(2)), d);
            EXPECT_NEAR(sum, o(b, i, h, d), 2e-5) << layer;
          }
          EXPECT_NEAR(std::accumulate(row, row + weights.columns, 0.0), 1, 1e-12) << layer;
        }
    ++layers;
  }
  AttentionRecorder recorder;
  int layers = 0;
};

// A model with random weights, and what reads its attention.
struct SmallModel {
  explicit SmallModel(const ModelOptions& options) : table(1, 0) {
    model = make_model(options, 11, table);
    table.allocate(*rank.device, DType::f32, ParameterTable::Purpose::inference);
    std::mt19937 random(5);
    std::normal_distribution<float> normal(0, 0.3f);  // far from the even weights of a fresh model
    for (Parameter& p : table.parameters())
      for (std::int64_t i = 0; i < p.count(); ++i) p.value.as<float>()[i] = normal(random);
    rank.device->ops().parameters_changed();
  }
  std::vector<std::vector<AttentionMap>> read(const std::vector<AttentionText>& texts,
                                              AttentionSelection selection = {}) {
    return AttentionReader(*model, *rank.device, *rank.mesh, DType::f32).read(texts, selection);
  }
  OneRank rank;
  ParameterTable table;
  std::unique_ptr<Model> model;
};

TEST(AttentionRecorder, ShowsWhatSmallModelsCompute) {
  for (bool pairs : {false, true}) {
    const ModelOptions options = pairs ? small_transformer() : small_gpt();
    SmallModel small(options);
    std::vector<std::int32_t> ids{3, 1, 4, 1, 5, 9, 2, 6, 5, 3}, positions{0, 1, 2, 3, 4, 0, 1, 2, 3, 4},
        targets(10, -1), lengths{5, 3};
    const auto tokens = [](std::vector<std::int32_t>& v) {
      return Tensor(v.data(), DType::i32, {static_cast<std::int64_t>(v.size())});
    };
    Batch batch;
    batch.samples = 2, batch.length = 5;
    batch.ids = tokens(ids), batch.positions = tokens(positions), batch.targets = tokens(targets);
    if (pairs) {
      batch.source_length = 5;
      batch.source_ids = tokens(ids), batch.source_positions = tokens(positions),
      batch.source_lengths = tokens(lengths);
    }
    Tape tape(small.rank.device->allocate(1 << 20));
    Floats losses({10});
    CheckingObserver observer;
    Context context{.device = *small.rank.device,
                    .ops = small.rank.device->ops(),
                    .mesh = *small.rank.mesh,
                    .tape = tape};
    context.attention_observer = &observer;
    small.model->evaluate(context, batch, losses.tensor());
    EXPECT_EQ(observer.layers, pairs ? 6 : 2);
    for (const AttentionLayer& layer : observer.recorder.take(small.rank.mesh->tensor()))
      for (std::int64_t b = 0; b < 2; ++b)
        for (std::int64_t h = 0; h < layer.heads; ++h)
          for (std::int64_t i = 0; i < 5; ++i)
            for (std::int64_t j = 0; j < 5; ++j) {
              const bool seen = layer.place.kind == AttentionKind::decoder
                                    ? j <= i
                                    : j < lengths[static_cast<std::size_t>(b)];
              if (seen)
                EXPECT_GT(layer.row(b, h, i)[j], 0);
              else
                EXPECT_EQ(layer.row(b, h, i)[j], 0) << "masked";
            }
  }
}

TEST(AttentionRecorder, HeadsThatShareKeys) {
  OneRank rank;
  Floats q = random_floats({2, 3, 4, 8}, 1), k = random_floats({2, 5, 2, 8}, 2),
         v = random_floats({2, 5, 2, 8}, 3), o({2, 3, 4, 8}), log_sum_exp({2, 4, 3});
  Attention a;
  a.q = q.tensor(), a.k = k.tensor(), a.v = v.tensor(), a.o = o.tensor(),
  a.log_sum_exp = log_sum_exp.tensor();
  a.causal = true;  // row 0 sees keys 0, 1 and 2 of 5
  a.scale = 0.5f;
  rank.device->ops().attention_forward(a);
  Context context = rank.context();
  CheckingObserver observer;
  observer.observe(context, "h.7.attn", 4, a);
  const AttentionLayer layer = observer.recorder.take(rank.mesh->tensor()).front();
  EXPECT_EQ(layer.place.layer, 7);
  EXPECT_GT(layer.row(0, 0, 0)[2], 0);
  EXPECT_EQ(layer.row(0, 0, 0)[3], 0);
}

TEST(AttentionRecorder, RefusesWeightsThatWereNotUsed) {
  OneRank rank;
  Floats q = random_floats({1, 3, 1, 8}, 1), k = random_floats({1, 3, 1, 8}, 2), log_sum_exp({1, 1, 3}, 0.1f);
  Attention a;
  a.q = q.tensor(), a.k = k.tensor(), a.log_sum_exp = log_sum_exp.tensor();
  Context context = rank.context();
  AttentionRecorder recorder;
  EXPECT_THROW(recorder.observe(context, "h.0.attn", 1, a), Error);
}

TEST(AttentionPlaces, ByTheNamesOfLayers) {
  EXPECT_EQ(attention_place("h.11.attn").kind, AttentionKind::decoder);
  EXPECT_EQ(attention_place("h.11.attn").layer, 11);
  EXPECT_EQ(attention_place("model.encoder.layers.3.self_attn").kind, AttentionKind::encoder);
  EXPECT_EQ(attention_place("model.encoder.layers.3.self_attn").layer, 3);
  EXPECT_EQ(attention_place("model.decoder.layers.0.self_attn").kind, AttentionKind::decoder);
  EXPECT_EQ(attention_place("model.decoder.layers.2.encoder_attn").kind, AttentionKind::cross);
  EXPECT_THROW(attention_place("attn"), Error);
  EXPECT_THROW(attention_place("h.x.attn"), Error);
}

// --- AttentionReader ---

const std::vector<AttentionText> kTexts{
    {{5, 6, 7, 8, 1}, {1, 9, 10}}, {{5, 1}, {1, 9, 10, 11, 12, 13}}, {{7, 6, 5, 1}, {1}}};

// Heads of each kind and layer in order; a text's weights have its own size and do not depend on its
// neighbours.
TEST(AttentionReader, ATextDoesNotDependOnItsNeighbours) {
  SmallModel small(small_transformer());
  const auto together = small.read(kTexts);
  for (std::size_t t = 0; t < kTexts.size(); ++t) {
    const auto alone = small.read({kTexts[t]}).front();
    ASSERT_EQ(alone.size(), 18u);  // 2 layers of 3 kinds, 3 heads
    ASSERT_EQ(together[t].size(), 18u);
    for (std::size_t m = 0; m < alone.size(); ++m) {
      const AttentionMap& map = alone[m];
      EXPECT_EQ(map.head, static_cast<std::int64_t>(m % 3));
      EXPECT_EQ(map.rows,
                std::ssize(map.place.kind == AttentionKind::encoder ? kTexts[t].source : kTexts[t].text));
      EXPECT_EQ(map.columns,
                std::ssize(map.place.kind == AttentionKind::decoder ? kTexts[t].text : kTexts[t].source));
      ASSERT_EQ(together[t][m].weights.size(), map.weights.size());
      for (std::size_t i = 0; i < map.weights.size(); ++i)
        EXPECT_NEAR(together[t][m].weights[i], map.weights[i], 1e-6);
      for (std::int64_t i = 0; i < map.rows; ++i) {
        double sum = 0;
        for (std::int64_t j = 0; j < map.columns; ++j) sum += map(i, j);
        EXPECT_NEAR(sum, 1, 1e-12);
      }
    }
  }
}

TEST(AttentionReader, SelectsHeads) {
  SmallModel small(small_transformer());
  const auto all = small.read({kTexts[0]}).front();
  const auto one = small.read({kTexts[0]}, {AttentionKind::cross, 1, 2}).front();
  ASSERT_EQ(one.size(), 1u);
  const auto same = std::find_if(all.begin(), all.end(), [](const AttentionMap& map) {
    return map.place.kind == AttentionKind::cross && map.place.layer == 1 && map.head == 2;
  });
  ASSERT_NE(same, all.end());
  EXPECT_EQ(one.front().weights, same->weights);
}

// Without positions a text in another order has the same weights in that order.
TEST(AttentionReader, RowsAndColumnsAreInTheOrderOfTheTokens) {
  ModelOptions options = small_transformer();
  options.positions = PositionKind::none;
  SmallModel small(options);
  const std::vector<std::int32_t> words{5, 6, 7, 8, 9};
  const std::vector<std::size_t> order{3, 0, 4, 2, 1};
  std::vector<std::int32_t> other;
  for (std::size_t i : order) other.push_back(words[i]);
  const AttentionSelection encoder{AttentionKind::encoder, {}, {}};
  const auto straight = small.read({{words, {1}}}, encoder).front(),
             turned = small.read({{other, {1}}}, encoder).front();
  for (std::size_t m = 0; m < straight.size(); ++m)
    for (std::int64_t i = 0; i < 5; ++i)
      for (std::int64_t j = 0; j < 5; ++j)
        EXPECT_NEAR(turned[m](i, j),
                    straight[m](static_cast<std::int64_t>(order[static_cast<std::size_t>(i)]),
                                static_cast<std::int64_t>(order[static_cast<std::size_t>(j)])),
                    1e-5);
}

}  // namespace
}  // namespace heddle
