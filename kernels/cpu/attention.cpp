// The family "attention": tiles of 64 queries by 64 keys, softmax on line (Milakov & Gimelshein 2018; Dao et
// al. 2022), probabilities made again in the backward from log_sum_exp.
//
// Scores are kept transposed, [key, query]: vectors run along the queries, so the softmax is elementwise and
// every query has a lane of its own. Key tiles start at key 0, and a masked key adds an exact 0. The bits of
// a query's output therefore depend neither on the other queries nor on keys that it does not see, which is
// what decoding with a cache relies on.
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/checks.h"
#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/dropout_mask.h"
#include "kernels/cpu/vector_math.h"

namespace heddle {

using namespace cpu;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.693147180559945309f;

struct Sizes {
  std::int64_t batch, queries, keys, heads, kv_heads, head_size;

  explicit Sizes(const Attention& a)
      : batch(a.q.size(0)),
        queries(a.q.size(1)),
        keys(a.k.size(1)),
        heads(a.q.size(2)),
        kv_heads(a.k.size(2)),
        head_size(a.q.size(3)) {}

  std::int64_t group() const { return heads / kv_heads; }
  std::int64_t query_tiles() const { return (queries + kTile - 1) / kTile; }
};

// Keys that exist in batch entry b, and how many of them query i sees: always the first ones.
std::int64_t keys_of(const Attention& a, std::int64_t b) {
  const std::int64_t keys = a.k.size(1);
  return a.key_lengths ? std::clamp<std::int64_t>(a.key_lengths[b], 0, keys) : keys;
}
std::int64_t visible_keys(const Attention& a, std::int64_t keys, std::int64_t i) {
  return a.causal ? std::clamp<std::int64_t>(i + 1 + a.k.size(1) - a.q.size(1), 0, keys) : keys;
}

template <typename T>
Head<const T> head_of(const Tensor& t, std::int64_t b, std::int64_t h) {
  return {t.as<T>() + b * t.stride[0] + h * t.stride[2], t.stride[1]};
}
template <typename T>
Head<T> output_head(const Tensor& t, std::int64_t b, std::int64_t h) {
  return {t.as<T>() + b * t.stride[0] + h * t.stride[2], t.stride[1]};
}

// Cuts working memory into 64-byte aligned pieces of 4-byte elements; without memory it only counts.
class Carver {
 public:
  explicit Carver(float* base) : base_(base) {}

  template <typename T>
  void take(T*& piece, std::int64_t count) {
    static_assert(sizeof(T) == 4);
    piece = base_ ? reinterpret_cast<T*>(base_ + used_) : nullptr;
    used_ += round_up(count, 16);
  }
  std::int64_t used() const { return used_; }

 private:
  float* base_;
  std::int64_t used_ = 0;
};

// The queries of one tile and what they see.
struct QueryTile {
  std::int64_t first, count;  // query numbers
  std::int64_t vectors;       // of kLanes queries that hold them
  std::int64_t most_keys = 0, fewest_keys;
  alignas(64) std::int32_t visible[kTile];  // lanes past `count` see most_keys, of queries that are 0

  QueryTile(const Attention& a, std::int64_t keys, std::int64_t tile)
      : first(tile * kTile),
        count(std::min<std::int64_t>(kTile, a.q.size(1) - first)),
        vectors((count + kLanes - 1) / kLanes),
        fewest_keys(keys) {
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t sees = visible_keys(a, keys, first + i);
      visible[i] = static_cast<std::int32_t>(sees);
      most_keys = std::max(most_keys, sees);
      fewest_keys = std::min(fewest_keys, sees);
    }
    std::fill(visible + count, visible + kTile, static_cast<std::int32_t>(most_keys));
  }

  // Scores [count, kTile] of the keys from `first_key` on: -infinity where a query does not see the key.
  void mask(float* scores, std::int64_t first_key, std::int64_t key_count) const {
    if (first_key + key_count <= fewest_keys) return;
    for (std::int64_t v = 0; v < vectors; ++v) {
      IntVector sees;
      std::memcpy(&sees, visible + v * kLanes, sizeof sees);
      sees -= static_cast<std::int32_t>(first_key);
      for (std::int32_t key = 0; key < key_count; ++key) {
        float* score = scores + key * kTile + v * kLanes;
        store(score, sees > key ? load(score) : broadcast(-kInfinity));
      }
    }
  }
};

// [rows of the tile, D] as right operand with the queries as columns: [steps_of(D), kTile] words. `rows` is
// room for [kTile, round_up(steps, kLanes)].
template <typename Words, typename T>
void load_columns(const Head<const T>& head, const QueryTile& tile, std::int64_t head_size,
                  std::uint32_t* rows, std::uint32_t* columns) {
  const std::int64_t stride = round_up(steps_of<Words>(head_size), kLanes);
  copy_rows<Words>(head.from_row(tile.first), tile.count, head_size, rows, stride);
  const std::int64_t padded = tile.vectors * kLanes;
  std::fill(rows + tile.count * stride, rows + padded * stride, 0u);
  transpose_words(rows, stride, padded, stride, columns, kTile);
}

// The dropout factors of a tile, [key, query] like the scores.
class TileDropout {
 public:
  TileDropout(const Attention& a, Carver& carver) : a_(a), mask_(readable(a.dropout)) {
    if (!enabled()) return;
    carver.take(rows_, kTile * kTile);
    carver.take(factors_, kTile * kTile);
  }

  // Null where nothing is dropped.
  const float* factors(std::int64_t b, std::int64_t h, const QueryTile& tile, std::int64_t first_key,
                       std::int64_t key_count) {
    if (!enabled()) return nullptr;
    const std::uint32_t sample = a_.dropout.first_sample + static_cast<std::uint32_t>(b);
    const std::int64_t first_query = (a_.first_head + h) * a_.q.size(1) + tile.first;
    const std::int64_t columns = round_up(key_count, kLanes);
    for (std::int64_t i = 0; i < tile.vectors * kLanes; ++i) {
      float* row = reinterpret_cast<float*>(rows_) + i * kTile;
      const std::int64_t count = i < tile.count ? key_count : 0;
      if (count > 0)
        mask_.factors(sample, static_cast<std::uint64_t>(first_query + i) * a_.k.size(1) + first_key, count,
                      row);
      std::fill(row + count, row + columns, 0.0f);  // 0 times what the memory held would not be 0 for a NaN
    }
    transpose_words(rows_, kTile, tile.vectors * kLanes, columns, factors_, kTile);
    return reinterpret_cast<const float*>(factors_);
  }

 private:
  bool enabled() const { return a_.dropout.probability > 0; }
  static Dropout readable(Dropout dropout) {
    static constexpr std::uint32_t kNoStep = 0;
    if (dropout.step == nullptr) dropout.step = &kNoStep;
    return dropout;
  }

  const Attention& a_;
  const DropoutMask mask_;
  std::uint32_t *rows_ = nullptr, *factors_ = nullptr;
};

// Rows [count, D] of a head from columns [D, kTile], times a factor.
template <typename T>
void store_columns(const float* columns, std::int64_t count, std::int64_t head_size, float factor,
                   float* rows, const Head<T>& to) {
  const std::int64_t stride = round_up(head_size, kLanes);
  transpose_words(reinterpret_cast<const std::uint32_t*>(columns), kTile, stride, round_up(count, kLanes),
                  reinterpret_cast<std::uint32_t*>(rows), stride);
  for (std::int64_t i = 0; i < count; ++i)
    for_each_vector(0, head_size, [&](std::int64_t d, auto extent) {
      // Adding 0 turns -0, which a masked tile may or may not have passed through, into 0.
      store(to.data + i * to.stride + d, load(rows + i * stride + d) * factor + 0.0f, extent);
    });
}

// --- forward ---

template <typename T>
class Forward {
  using Words = WordsOf<T>;

 public:
  // Working memory of one thread.
  Forward(const Attention& a, Carver& carver) : a_(a), sizes_(a), dropout_(a, carver) {
    const std::int64_t D = sizes_.head_size, width = round_up(D, kLanes), steps = steps_of<Words>(D);
    if (!rows_are_words<Words, T>(D)) carver.take(key_room_, sizes_.keys * steps);
    carver.take(value_room_, steps_of<Words>(sizes_.keys) * width);
    carver.take(query_rows_, kTile * round_up(steps, kLanes));
    carver.take(queries_, round_up(steps, kLanes) * kTile);
    carver.take(scores_, kTile * kTile);
    carver.take(probabilities_, kTile * kTile / Words::kDepth);
    carver.take(output_, width * kTile);
    carver.take(rows_, kTile * width);
    carver.take(maximum_, kTile);
    carver.take(sum_, kTile);
    carver.take(rescale_, kTile);
  }

  void set_keys(std::int64_t b, std::int64_t kv_head) {
    keys_ = keys_of(a_, b);
    key_operand_ = rows_operand<Words>(head_of<T>(a_.k, b, kv_head), keys_, sizes_.head_size, key_room_);
    value_operand_ =
        columns_operand<Words>(head_of<T>(a_.v, b, kv_head), keys_, sizes_.head_size, value_room_);
  }

  void run(std::int64_t b, std::int64_t h, std::int64_t tile_number) {
    const QueryTile tile(a_, keys_, tile_number);
    load_columns<Words>(head_of<T>(a_.q, b, h), tile, sizes_.head_size, query_rows_, queries_);
    std::fill(output_, output_ + sizes_.head_size * kTile, 0.0f);
    std::fill(maximum_, maximum_ + kTile, -kInfinity);
    std::fill(sum_, sum_ + kTile, 0.0f);
    for (std::int64_t key = 0; key < tile.most_keys; key += kTile)
      add_keys(b, h, tile, key, std::min<std::int64_t>(kTile, tile.most_keys - key));
    finish(b, h, tile);
  }

 private:
  void add_keys(std::int64_t b, std::int64_t h, const QueryTile& tile, std::int64_t first,
                std::int64_t count) {
    const float scale = a_.scale * kLog2E;  // probabilities are powers of 2 here
    multiply<Words, Store::scaled>(key_operand_.from_row(first), count, queries_, tile.vectors,
                                   steps_of<Words>(sizes_.head_size), &scale, scores_, kTile);
    tile.mask(scores_, first, count);
    const std::int64_t padded = round_up(count, Words::kDepth);
    std::fill(scores_ + count * kTile, scores_ + padded * kTile, -kInfinity);
    const float* factors = dropout_.factors(b, h, tile, first, count);
    for (std::int64_t v = 0; v < tile.vectors; ++v) soften(v * kLanes, padded, factors);
    multiply<Words, Store::rescaled_add>(value_operand_.from_step(first / Words::kDepth), sizes_.head_size,
                                         probabilities_, tile.vectors, padded / Words::kDepth, rescale_,
                                         output_, kTile);
  }

  // Scores of the queries of one vector to probabilities relative to the largest score so far.
  void soften(std::int64_t column, std::int64_t count, const float* factors) {
    const float* scores = scores_ + column;
    const FloatVector maximum_before = load(maximum_ + column);
    FloatVector maximum = maximum_before;
    for (std::int64_t key = 0; key < count; ++key) maximum = max(maximum, load(scores + key * kTile));
    // Where a query has seen no key yet, any reference does: all its powers are 0.
    const FloatVector reference = maximum == -kInfinity ? FloatVector{} : maximum;
    const FloatVector rescale = exp2(maximum_before - reference);
    FloatVector sum = {};
    for (std::int64_t key = 0; key < count; key += Words::kDepth) {
      FloatVector p[Words::kDepth];
      for (int i = 0; i < Words::kDepth; ++i) {
        p[i] = exp2(load(scores + (key + i) * kTile) - reference);
        sum += p[i];
        if (factors) p[i] *= load(factors + (key + i) * kTile + column);
      }
      Words::store_interleaved(probabilities_ + key / Words::kDepth * kTile + column, p);
    }
    store(maximum_ + column, maximum);
    store(sum_ + column, load(sum_ + column) * rescale + sum);
    store(rescale_ + column, rescale);
  }

  void finish(std::int64_t b, std::int64_t h, const QueryTile& tile) {
    for (std::int64_t v = 0; v < tile.vectors; ++v) {
      const FloatVector sum = load(sum_ + v * kLanes);
      const FloatVector inverse = sum == 0.0f ? FloatVector{} : 1.0f / sum;
      for (std::int64_t d = 0; d < sizes_.head_size; ++d) {
        float* o = output_ + d * kTile + v * kLanes;
        store(o, load(o) * inverse);
      }
    }
    store_columns(output_, tile.count, sizes_.head_size, 1.0f, rows_,
                  output_head<T>(a_.o, b, h).from_row(tile.first));
    float* log_sum_exp = a_.log_sum_exp.as<float>() + (b * sizes_.heads + h) * sizes_.queries + tile.first;
    for (std::int64_t i = 0; i < tile.count; ++i)
      log_sum_exp[i] = sum_[i] == 0 ? -kInfinity : maximum_[i] * kLn2 + std::log(sum_[i]);
  }

  const Attention& a_;
  const Sizes sizes_;
  TileDropout dropout_;
  std::int64_t keys_ = 0;
  LeftOperand key_operand_{}, value_operand_{};
  std::uint32_t *key_room_ = nullptr, *value_room_ = nullptr;  // the head's keys and values as words
  std::uint32_t *query_rows_, *queries_;                       // [kTile, steps of D], [steps of D, kTile]
  float* scores_;                                              // [key, query]
  std::uint32_t* probabilities_;                               // [steps of keys, query]
  float *output_, *rows_;                                      // [D, query], [query, D]
  float *maximum_, *sum_, *rescale_;                           // [query]
};

// --- backward ---

template <typename T>
class Backward {
  using Words = WordsOf<T>;

 public:
  // Working memory of one thread.
  Backward(const Attention& a, const AttentionGradients& g, Carver& carver)
      : a_(a), g_(g), sizes_(a), dropout_(a, carver), width_(round_up(sizes_.head_size, kLanes)) {
    const std::int64_t D = sizes_.head_size, steps = steps_of<Words>(D),
                       padded_steps = round_up(steps, kLanes);
    if (!rows_are_words<Words, T>(D)) {
      carver.take(key_rows_, sizes_.keys * steps);
      carver.take(value_rows_, sizes_.keys * steps);
    }
    carver.take(key_columns_, steps_of<Words>(sizes_.keys) * width_);
    carver.take(d_keys_, sizes_.keys * width_);
    carver.take(d_values_, sizes_.keys * width_);
    carver.take(rows_, kTile * std::max(padded_steps, width_));
    carver.take(query_columns_, padded_steps * kTile);
    carver.take(d_output_columns_, padded_steps * kTile);
    carver.take(query_steps_, steps_of<Words>(kTile) * width_);
    carver.take(d_output_steps_, steps_of<Words>(kTile) * width_);
    carver.take(scores_, kTile * kTile);
    carver.take(d_probabilities_, kTile * kTile);
    carver.take(probability_rows_, kTile * kTile / Words::kDepth);
    carver.take(d_score_rows_, kTile * kTile / Words::kDepth);
    carver.take(d_score_steps_, kTile * kTile / Words::kDepth);
    carver.take(d_queries_, width_ * kTile);
    carver.take(log2_sum_, kTile);
    carver.take(delta_, kTile);
  }

  // Everything of one key/value head.
  void run(std::int64_t b, std::int64_t kv_head) {
    const std::int64_t D = sizes_.head_size;
    keys_ = keys_of(a_, b);
    const auto k = head_of<T>(a_.k, b, kv_head), v = head_of<T>(a_.v, b, kv_head);
    keys_as_rows_ = rows_operand<Words>(k, keys_, D, key_rows_);
    values_as_rows_ = rows_operand<Words>(v, keys_, D, value_rows_);
    keys_as_columns_ = columns_operand<Words>(k, keys_, D, key_columns_);
    std::fill(d_keys_, d_keys_ + keys_ * width_, 0.0f);
    std::fill(d_values_, d_values_ + keys_ * width_, 0.0f);
    for (std::int64_t h = kv_head * sizes_.group(); h < (kv_head + 1) * sizes_.group(); ++h)
      for (std::int64_t tile = 0; tile < sizes_.query_tiles(); ++tile) add_queries(b, h, tile);
    store_rows(d_keys_, a_.scale, output_head<T>(g_.dk, b, kv_head));
    store_rows(d_values_, 1.0f, output_head<T>(g_.dv, b, kv_head));
  }

 private:
  void add_queries(std::int64_t b, std::int64_t h, std::int64_t tile_number) {
    const QueryTile tile(a_, keys_, tile_number);
    const std::int64_t D = sizes_.head_size;
    const auto q = head_of<T>(a_.q, b, h), d_o = head_of<T>(g_.d_o, b, h);
    load_columns<Words>(q, tile, D, rows_, query_columns_);
    load_columns<Words>(d_o, tile, D, rows_, d_output_columns_);
    interleave_rows<Words>(q.from_row(tile.first), tile.count, D, query_steps_, width_);
    interleave_rows<Words>(d_o.from_row(tile.first), tile.count, D, d_output_steps_, width_);
    load_statistics(b, h, tile, head_of<T>(a_.o, b, h), d_o);
    std::fill(d_queries_, d_queries_ + D * kTile, 0.0f);
    for (std::int64_t key = 0; key < tile.most_keys; key += kTile)
      add_keys(b, h, tile, key, std::min<std::int64_t>(kTile, tile.most_keys - key));
    store_columns(d_queries_, tile.count, D, a_.scale, reinterpret_cast<float*>(rows_),
                  output_head<T>(g_.dq, b, h).from_row(tile.first));
  }

  // log2 sum exp of each query, and delta = sum_j P_j dP_j = o . d_o.
  void load_statistics(std::int64_t b, std::int64_t h, const QueryTile& tile, const Head<const T>& o,
                       const Head<const T>& d_o) {
    const float* log_sum_exp =
        a_.log_sum_exp.as<float>() + (b * sizes_.heads + h) * sizes_.queries + tile.first;
    std::fill(log2_sum_, log2_sum_ + kTile, 0.0f);
    std::fill(delta_, delta_ + kTile, 0.0f);
    for (std::int64_t i = 0; i < tile.count; ++i) {
      if (tile.visible[i] > 0) log2_sum_[i] = log_sum_exp[i] * kLog2E;
      const T *o_row = o.data + (tile.first + i) * o.stride,
              *d_row = d_o.data + (tile.first + i) * d_o.stride;
      VectorSum sum;
      for_each_vector(0, sizes_.head_size, [&](std::int64_t d, auto extent) {
        sum.add(load(o_row + d, extent) * load(d_row + d, extent));
      });
      delta_[i] = sum.total();
    }
  }

  void add_keys(std::int64_t b, std::int64_t h, const QueryTile& tile, std::int64_t first,
                std::int64_t count) {
    const float scale = a_.scale * kLog2E, one = 1;
    const std::int64_t D = sizes_.head_size, steps = steps_of<Words>(D);
    multiply<Words, Store::scaled>(keys_as_rows_.from_row(first), count, query_columns_, tile.vectors, steps,
                                   &scale, scores_, kTile);
    multiply<Words, Store::scaled>(values_as_rows_.from_row(first), count, d_output_columns_, tile.vectors,
                                   steps, &one, d_probabilities_, kTile);
    tile.mask(scores_, first, count);
    const std::int64_t padded = round_up(count, Words::kDepth);
    std::fill(scores_ + count * kTile, scores_ + padded * kTile, -kInfinity);
    std::fill(d_probabilities_ + count * kTile, d_probabilities_ + padded * kTile, 0.0f);
    const float* factors = dropout_.factors(b, h, tile, first, count);
    for (std::int64_t v = 0; v < tile.vectors; ++v) differentiate(v * kLanes, padded, factors);

    const std::int64_t query_words = kTile / Words::kDepth, query_steps = steps_of<Words>(tile.count);
    const std::int64_t vectors = width_ / kLanes;
    multiply<Words, Store::add>(left_operand(probability_rows_, query_words, 1), count, d_output_steps_,
                                vectors, query_steps, nullptr, d_values_ + first * width_, width_);
    multiply<Words, Store::add>(left_operand(d_score_rows_, query_words, 1), count, query_steps_, vectors,
                                query_steps, nullptr, d_keys_ + first * width_, width_);
    multiply<Words, Store::add>(keys_as_columns_.from_step(first / Words::kDepth), D, d_score_steps_,
                                tile.vectors, padded / Words::kDepth, nullptr, d_queries_, kTile);
  }

  // Of the queries of one vector: P = 2^(score - log2 sum), dS = P (F dP - delta), and F P for dv, with the
  // factors F of dropout.
  void differentiate(std::int64_t column, std::int64_t count, const float* factors) {
    const FloatVector log2_sum = load(log2_sum_ + column), delta = load(delta_ + column);
    const std::int64_t word = column / Words::kDepth, query_words = kTile / Words::kDepth;
    for (std::int64_t key = 0; key < count; key += Words::kDepth) {
      FloatVector d_scores[Words::kDepth];
      for (int i = 0; i < Words::kDepth; ++i) {
        const std::int64_t at = (key + i) * kTile + column;
        FloatVector p = exp2(load(scores_ + at) - log2_sum), d_p = load(d_probabilities_ + at);
        if (factors) d_p *= load(factors + at);
        d_scores[i] = p * (d_p - delta);
        if (factors) p *= load(factors + at);
        Words::store_row(probability_rows_ + (key + i) * query_words + word, p);
        Words::store_row(d_score_rows_ + (key + i) * query_words + word, d_scores[i]);
      }
      Words::store_interleaved(d_score_steps_ + key / Words::kDepth * kTile + column, d_scores);
    }
  }

  // Gradients [keys_, width_] of a head; keys that no query may see get 0.
  void store_rows(const float* rows, float factor, const Head<T>& to) {
    for (std::int64_t key = 0; key < sizes_.keys; ++key)
      for_each_vector(0, sizes_.head_size, [&](std::int64_t d, auto extent) {
        const FloatVector value = key < keys_ ? load(rows + key * width_ + d) * factor : FloatVector{};
        store(to.data + key * to.stride + d, value, extent);
      });
  }

  const Attention& a_;
  const AttentionGradients& g_;
  const Sizes sizes_;
  TileDropout dropout_;
  const std::int64_t width_;  // D in whole vectors
  std::int64_t keys_ = 0;
  LeftOperand keys_as_rows_{}, values_as_rows_{}, keys_as_columns_{};
  std::uint32_t *key_rows_ = nullptr, *value_rows_ = nullptr, *key_columns_ = nullptr;
  float *d_keys_, *d_values_;                         // [key, D]
  std::uint32_t* rows_;                               // [query, D], on the way
  std::uint32_t *query_columns_, *d_output_columns_;  // [steps of D, query]
  std::uint32_t *query_steps_, *d_output_steps_;      // [steps of queries, D]
  float *scores_, *d_probabilities_;                  // [key, query]
  std::uint32_t *probability_rows_, *d_score_rows_,
      *d_score_steps_;        // [key, steps of queries], [steps of keys, query]
  float* d_queries_;          // [D, query]
  float *log2_sum_, *delta_;  // [query]
};

}  // namespace

void CpuOps::attention_forward(const Attention& a) {
  checks::attention_forward(a);
  if (a.q.count() == 0) return;
  const Sizes sizes(a);
  // A task is some of the query tiles of a key/value head's queries: as many tasks as keep all threads busy,
  // as few as possible because each rearranges the head's values.
  const std::int64_t tiles = sizes.group() * sizes.query_tiles(), kv_heads = sizes.batch * sizes.kv_heads;
  const std::int64_t parts = std::clamp<std::int64_t>((4 * threads_ + kv_heads - 1) / kv_heads, 1, tiles);
  with_act_type(a.q.dtype, [&](auto type) {
    using T = decltype(type);
    Carver counter(nullptr);
    Forward<T>(a, counter);
    const std::int64_t room = counter.used();
    float* memory = scratch_.reserve<float>(threads_ * room);
#pragma omp parallel num_threads(threads_)
    {
      Carver carver(memory + omp_get_thread_num() * room);
      Forward<T> forward(a, carver);
#pragma omp for schedule(dynamic, 1)
      for (std::int64_t task = 0; task < kv_heads * parts; ++task) {
        const std::int64_t b = task / parts / sizes.kv_heads, kv_head = task / parts % sizes.kv_heads;
        forward.set_keys(b, kv_head);
        for (std::int64_t tile = task % parts; tile < tiles; tile += parts)
          forward.run(b, kv_head * sizes.group() + tile % sizes.group(), tile / sizes.group());
      }
    }
  });
}

namespace {

template <typename T>
std::int64_t backward_room(const Attention& a) {
  Carver counter(nullptr);
  Backward<T>(a, {}, counter);
  return counter.used();
}

constexpr std::int64_t kAlignment = 16;  // elements that may be needed to start at 64 bytes

}  // namespace

std::int64_t CpuOps::attention_backward_scratch(std::int64_t batch, std::int64_t query_length,
                                                std::int64_t key_length, std::int64_t num_heads,
                                                std::int64_t head_size) {
  Attention a;
  a.q = Tensor(nullptr, DType::f32, {batch, query_length, num_heads, head_size});
  a.k = Tensor(nullptr, DType::f32, {batch, key_length, num_heads, head_size});
  const std::uint32_t step = 0;
  a.dropout.probability = 0.5f;
  a.dropout.step = &step;
  return threads_ * std::max(backward_room<float>(a), backward_room<bfloat16>(a)) + kAlignment;
}

void CpuOps::attention_backward(const Attention& a, const AttentionGradients& g) {
  const Sizes sizes(a);
  checks::attention_backward(
      a, g, attention_backward_scratch(sizes.batch, sizes.queries, sizes.keys, sizes.heads, sizes.head_size));
  if (a.k.count() == 0 && a.q.count() == 0) return;
  void* start = g.scratch.data;
  std::size_t space = g.scratch.bytes();
  std::align(64, 0, start, space);
  with_act_type(a.q.dtype, [&](auto type) {
    using T = decltype(type);
    const std::int64_t room = backward_room<T>(a);
    // One task per key/value head: its dk and dv are sums over all queries, added in one order.
#pragma omp parallel num_threads(threads_)
    {
      Carver carver(static_cast<float*>(start) + omp_get_thread_num() * room);
      Backward<T> backward(a, g, carver);
#pragma omp for schedule(dynamic, 1)
      for (std::int64_t task = 0; task < sizes.batch * sizes.kv_heads; ++task)
        backward.run(task / sizes.kv_heads, task % sizes.kv_heads);
    }
  });
}

}  // namespace heddle
