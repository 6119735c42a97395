#include "trainer/models/decoding_cache.h"

#include <utility>

namespace heddle {

namespace {

Memory allocate(Context& context, const Shape& shape) {
  return context.device.allocate(static_cast<std::size_t>(shape.count()) * size_of(context.act));
}

}  // namespace

DecodingCache::DecodingCache(Context& context, const DecodingSize& size, std::int64_t layers, std::int64_t local_heads,
                             std::int64_t head_size)
    : size_(size), layers_(layers), heads_(local_heads), head_size_(head_size) {
  const Shape tokens{2 * layers, size.length, size.rows, local_heads, head_size};
  token_memory_ = allocate(context, tokens);
  tokens_ = Tensor(token_memory_.data(), context.act, tokens);
  if (size.reorders) {
    spare_memory_ = allocate(context, tokens);
    spare_ = Tensor(spare_memory_.data(), context.act, tokens);
    places_ = context.device.allocate(static_cast<std::size_t>(size.length * size.rows) * sizeof(std::int32_t));
  }
  if (size.source_length > 0) {
    const Shape memory{2 * layers, size.sources, size.source_length, local_heads, head_size};
    source_memory_ = allocate(context, memory);
    memory_ = Tensor(source_memory_.data(), context.act, memory);
  }
  show();
}

void DecodingCache::show() {
  const auto by_row = [&](const Tensor& by_position) {
    Tensor view = by_position;
    std::swap(view.shape[0], view.shape[1]);
    std::swap(view.stride[0], view.stride[1]);
    return view;
  };
  blocks_.clear();
  for (std::int64_t i = 0; i < layers_; ++i) {
    BlockCache block;
    block.tokens = {by_row(tokens_[2 * i]), by_row(tokens_[2 * i + 1])};
    if (memory_) block.memory = {memory_[2 * i], memory_[2 * i + 1]};
    blocks_.push_back(block);
  }
}

void DecodingCache::reorder(Context& context, const std::vector<std::int32_t>& parents, std::int64_t used) {
  const auto rows = static_cast<std::int32_t>(size_.rows);
  host_places_.clear();
  for (std::int32_t t = 0; t < static_cast<std::int32_t>(used); ++t)
    for (std::int32_t parent : parents) host_places_.push_back(t * rows + parent);
  const Tensor places(places_.data(), DType::i32, {used * size_.rows});
  context.device.copy_to_device(context.stream(), places, host_places_.data());
  const std::int64_t width = heads_ * head_size_;
  const auto used_part = [&](const Tensor& all, std::int64_t i) {
    return all[i].slice(0, 0, used).view({used * size_.rows, width});
  };
  for (std::int64_t i = 0; i < 2 * layers_; ++i)
    context.ops.embedding_forward(places, used_part(tokens_, i), 0, /*accumulate=*/false, used_part(spare_, i));
  context.stream().synchronize();  // the host's list of places is filled again
  std::swap(tokens_, spare_);
  show();
}

}  // namespace heddle
