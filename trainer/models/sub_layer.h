// SubLayer: what a block is made of - attention or feed-forward - with the last projection's bias left to the
// residual connection around it.
#pragma once

#include <cstdint>

#include "parallel/context.h"
#include "parallel/linear.h"

namespace heddle {

// Keys and values of the tokens seen so far, for decoding: act [B, capacity, local heads, D], any stride in front.
struct KeyValueCache {
  Tensor keys, values;
};

// What a decoder block remembers.
struct BlockCache {
  KeyValueCache tokens;  // of the text that grows
  KeyValueCache memory;  // of the encoder's output, one for all rows of a source; empty without an encoder
};

// What an encoder left for the decoder's cross-attention.
struct EncoderMemory {
  Tensor value;                           // act [sources * length, C]
  Tensor gradient;                        // the same, summed over the blocks and over the tensor group's parts; none
                                          // where no backward follows
  std::int64_t length = 0;                // padding included
  const std::int32_t* lengths = nullptr;  // device, [sources]
};

// What flows through a stack of blocks beside the tokens' activations.
struct Flow {
  std::int64_t samples = 0;               // the activations are [samples * length, C]
  const std::int32_t* lengths = nullptr;  // device, [samples]: tokens from there on are padding that no query sees
  const EncoderMemory* memory = nullptr;  // of an encoder-decoder
  // Decoding: the tokens are those at positions [first, first + length) of each row.
  const BlockCache* cache = nullptr;  // of this block
  std::int64_t first = 0;
  std::int64_t sources = 0;  // rows of one source follow one another (a beam)
};

class SubLayer {
 public:
  virtual ~SubLayer() = default;

  // x [N, C] -> y [N, C], without the bias of output(). When training, what the backward needs is on the tape.
  virtual void forward(Context& context, const Flow& flow, const Tensor& x, const Tensor& y) const = 0;
  virtual void backward(Context& context, const Flow& flow, const Tensor& dy, const Tensor& dx) const = 0;
  virtual const RowParallelLinear& output() const = 0;
};

// Kept on the tape for the backward, or scratch where none follows.
inline Tensor keep_for_backward(Context& context, DType dtype, Shape shape) {
  return context.training ? context.tape.push(dtype, shape) : context.tape.scratch(dtype, shape);
}

}  // namespace heddle
