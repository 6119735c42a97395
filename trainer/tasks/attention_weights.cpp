#include "trainer/tasks/attention_weights.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/error.h"

namespace heddle {

namespace {

// Values of a tensor of any strides in device memory.
std::vector<double> values_of(Context& context, const Tensor& tensor) {
  const std::int64_t count = tensor.count();
  const Memory memory = context.device.allocate(static_cast<std::size_t>(count) * sizeof(float));
  const Tensor packed(memory.data(), DType::f32, tensor.shape);
  context.ops.copy(tensor, packed);
  std::vector<float> values(static_cast<std::size_t>(count));
  context.device.copy_to_host(context.stream(), values.data(), packed);
  context.stream().synchronize();
  return {values.begin(), values.end()};
}

// Keys that each sample has.
std::vector<std::int64_t> key_lengths_of(Context& context, const Attention& a) {
  const std::int64_t samples = a.q.size(0);
  if (!a.key_lengths) return std::vector<std::int64_t>(static_cast<std::size_t>(samples), a.k.size(1));
  std::vector<std::int32_t> lengths(static_cast<std::size_t>(samples));
  const Tensor device(const_cast<std::int32_t*>(a.key_lengths), DType::i32, {samples});
  context.device.copy_to_host(context.stream(), lengths.data(), device);
  context.stream().synchronize();
  return {lengths.begin(), lengths.end()};
}

// scores[0, count) -> their softmax; returns ln sum exp, -inf for no score at all.
double softmax(double* scores, std::int64_t count) {
  if (count == 0) return -std::numeric_limits<double>::infinity();
  const double largest = *std::max_element(scores, scores + count);
  double sum = 0;
  for (std::int64_t j = 0; j < count; ++j) sum += scores[j] = std::exp(scores[j] - largest);
  for (std::int64_t j = 0; j < count; ++j) scores[j] /= sum;
  return largest + std::log(sum);
}

// The forward computes in fp32, in another order.
bool is_close(double log_sum_exp, double of_forward) {
  if (std::isinf(log_sum_exp)) return of_forward == log_sum_exp;
  return std::abs(log_sum_exp - of_forward) <= 1e-3 * std::max(1.0, std::abs(log_sum_exp));
}

}  // namespace

const char* name_of(AttentionKind kind) {
  return Choices<AttentionKind>::names[static_cast<std::size_t>(kind)].data();
}

AttentionPlace attention_place(const std::string& layer) {
  AttentionPlace place;
  if (layer.ends_with(".encoder_attn")) {
    place.kind = AttentionKind::cross;
  } else if (layer.find(".encoder.") != std::string::npos) {
    place.kind = AttentionKind::encoder;
  }
  const std::size_t end = layer.rfind('.');
  const std::size_t begin =
      end == std::string::npos || end == 0 ? std::string::npos : layer.rfind('.', end - 1);
  if (begin != std::string::npos) {
    const char* const last = layer.data() + end;
    const auto [stop, problem] = std::from_chars(layer.data() + begin + 1, last, place.layer);
    if (problem == std::errc() && stop == last && place.layer >= 0) return place;
  }
  throw error("the attention layer {} has no number in its name", layer);
}

void AttentionRecorder::observe(Context& context, const std::string& name, std::int64_t /*heads*/,
                                const Attention& a) {
  const AttentionPlace place = attention_place(name);
  if ((kind_ && *kind_ != place.kind) || (layer_ && *layer_ != place.layer)) return;
  const std::int64_t samples = a.q.size(0), rows = a.q.size(1), here = a.q.size(2), size = a.q.size(3),
                     columns = a.k.size(1), kv_heads = a.k.size(2);
  const std::vector<double> q = values_of(context, a.q), k = values_of(context, a.k),
                            log_sum_exp = values_of(context, a.log_sum_exp);
  const std::vector<std::int64_t> key_lengths = key_lengths_of(context, a);

  AttentionLayer layer{place, samples, here, rows, columns, {}};
  layer.weights.assign(static_cast<std::size_t>(samples * here * rows * columns), 0.0);
  for (std::int64_t b = 0; b < samples; ++b)
    for (std::int64_t h = 0; h < here; ++h)
      for (std::int64_t i = 0; i < rows; ++i) {
        const std::int64_t last = a.causal ? i + columns - rows + 1 : columns;
        const std::int64_t seen = std::clamp<std::int64_t>(last, 0, key_lengths[static_cast<std::size_t>(b)]);
        double* const row = layer.weights.data() + ((b * here + h) * rows + i) * columns;
        const double* const query = q.data() + ((b * rows + i) * here + h) * size;
        const std::int64_t kv = h / (here / kv_heads);
        for (std::int64_t j = 0; j < seen; ++j) {
          const double* const key = k.data() + ((b * columns + j) * kv_heads + kv) * size;
          double product = 0;
          for (std::int64_t d = 0; d < size; ++d) product += query[d] * key[d];
          row[j] = static_cast<double>(a.scale) * product;
        }
        const double own = softmax(row, seen),
                     theirs = log_sum_exp[static_cast<std::size_t>((b * here + h) * rows + i)];
        if (!is_close(own, theirs))
          throw error(
              "{}: head {}, row {}: the attention used other weights than its queries and keys give (ln sum "
              "exp "
              "{} instead of {})",
              name, a.first_head + h, i, theirs, own);
      }
  layers_.push_back(std::move(layer));
}

std::vector<AttentionLayer> AttentionRecorder::take(Communicator& tensor_group) {
  std::vector<AttentionLayer> layers;
  for (AttentionLayer& mine : layers_) {
    std::string bytes(mine.weights.size() * sizeof(double), '\0');
    std::memcpy(bytes.data(), mine.weights.data(), bytes.size());
    const std::vector<std::string> parts = tensor_group.all_gather_host(bytes, "attention weights");
    // [rank, sample, heads of the rank, ...] -> [sample, head, ...]
    const std::size_t of_sample = bytes.size() / static_cast<std::size_t>(mine.samples);
    AttentionLayer all{mine.place, mine.samples, mine.heads * static_cast<std::int64_t>(parts.size()),
                       mine.rows,  mine.columns, {}};
    all.weights.resize(mine.weights.size() * parts.size());
    char* to = reinterpret_cast<char*>(all.weights.data());
    for (std::int64_t sample = 0; sample < mine.samples; ++sample)
      for (const std::string& part : parts) {
        std::memcpy(to, part.data() + static_cast<std::size_t>(sample) * of_sample, of_sample);
        to += of_sample;
      }
    layers.push_back(std::move(all));
  }
  layers_.clear();
  return layers;
}

}  // namespace heddle
