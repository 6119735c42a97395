// The keys and values that a decoder's blocks remember while a text grows, and their reordering in a beam search.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/models/model.h"
#include "trainer/models/sub_layer.h"

namespace heddle {

class DecodingCache {
 public:
  // The text's part lies by position ([capacity, rows, H, D]): its used beginning is one piece, and reordering rows
  // is a gather.
  DecodingCache(Context& context, const DecodingSize& size, std::int64_t layers, std::int64_t local_heads,
                std::int64_t head_size);

  const std::vector<BlockCache>& blocks() const { return blocks_; }

  // Row r of the first `used` positions becomes what row parents[r] was.
  void reorder(Context& context, const std::vector<std::int32_t>& parents, std::int64_t used);

 private:
  void show();

  DecodingSize size_;
  std::int64_t layers_, heads_, head_size_;
  Tensor tokens_, spare_;  // [2 * layers, capacity, rows, H, D]: keys, values of each block; exchanged by reorder()
  Tensor memory_;          // [2 * layers, sources, source length, H, D]
  Memory token_memory_, spare_memory_, source_memory_, places_;
  std::vector<std::int32_t> host_places_;
  std::vector<BlockCache> blocks_;
};

}  // namespace heddle
