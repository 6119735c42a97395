// What the engine and the training loop take of data: batches in host memory, whatever they were made of.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <vector>

#include "trainer/config/period.h"

namespace heddle {

// The sizes of one rank's part of a batch. A step of one shape may be followed by one of another.
struct BatchShape {
  std::int64_t samples = 0;        // a multiple of micro_batch; what fills it up has no token that counts
  std::int64_t micro_batch = 0;    // samples per pass
  std::int64_t length = 0;         // tokens per sample, padding included
  std::int64_t source_length = 0;  // of the text that an encoder reads; 0: there is none

  std::int64_t tokens() const { return samples * length; }
  std::int64_t source_tokens() const { return samples * source_length; }
  auto operator<=>(const BatchShape&) const = default;
};

// One rank's part of a global batch, in host memory: samples [first_sample, first_sample + shape.samples) of it.
// Padding comes after a sample's tokens: there `targets` is negative, and `source` is any valid id.
struct HostBatch {
  BatchShape shape;
  const std::int32_t* inputs = nullptr;          // [samples, length]
  const std::int32_t* targets = nullptr;         // [samples, length]; negative: not counted
  const std::int32_t* source = nullptr;          // [samples, source_length]
  const std::int32_t* source_lengths = nullptr;  // [samples], 0 for a sample that only fills up
  std::int64_t first_sample = 0;
  std::int64_t valid_tokens = 0;  // targets that count, of the whole global batch
};

// Where batches come from; this rank's part of each. Which samples are in the global batch of a step, in which order
// and with which padding is the same on any layout.
class TrainingData {
 public:
  virtual ~TrainingData() = default;

  // Of a step in the mean; exact over an epoch.
  virtual PeriodContext periods() const = 0;
  // Targets that count in steps [0, step). The same on all ranks.
  virtual std::int64_t tokens_before(std::int64_t step) = 0;
  // Tokens of a sample in the mean, without padding: what FLOPs are counted for.
  struct MeanLengths {
    double length = 0, source_length = 0;
  };
  virtual MeanLengths mean_lengths() const = 0;

  // Shapes that need at least as much memory as any that batch() and validate() will give; samples, lengths and
  // micro-batches each bounded by one of them.
  virtual std::vector<BatchShape> largest_shapes() const = 0;

  // Valid until the next call. Asking for another step than the next is allowed (resume).
  virtual HostBatch batch(std::int64_t step) = 0;

  virtual bool has_validation() const = 0;
  // Calls `visit` with this rank's share of the held-back data, batch by batch in order; valid_tokens is of this share
  // alone. At most `batches` global batches of it, evenly spread; 0: all.
  virtual void validate(std::int64_t batches, const std::function<void(const HostBatch&)>& visit) = 0;
};

}  // namespace heddle
