// One batch of texts that grow token by token with a model: its memory, and the logits on the host.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/device.h"
#include "parallel/mesh.h"
#include "parallel/tape.h"
#include "trainer/models/model.h"

namespace heddle {

class DecodingSession {
 public:
  // longest_feed: tokens per row of one feed().
  DecodingSession(Model& model, Device& device, Mesh& mesh, DType act, const DecodingSize& size,
                  std::int64_t longest_feed);
  ~DecodingSession();

  // Of models that read a source: size.sources of them, at most size.source_length tokens each.
  void read(const std::vector<std::vector<std::int32_t>>& sources);

  // Tokens [first, first + length) of every text; those before have been fed, or first is 0.
  void feed(const std::vector<std::vector<std::int32_t>>& texts, std::int64_t first, std::int64_t length);
  // Of the token that follows the last feed(): [vocabulary].
  std::span<const float> logits(std::int64_t row) const;
  const std::vector<float>& all_logits() const { return logits_; }  // [rows, vocabulary]

  // Row r goes on as row parents[r], of whose tokens `used` have been fed.
  void reorder(const std::vector<std::int32_t>& parents, std::int64_t used);

 private:
  Context context();

  Model& model_;
  Device& device_;
  Mesh& mesh_;
  DType act_;
  DecodingSize size_;
  Tape tape_;
  Memory ids_, positions_, source_ids_, source_positions_, source_lengths_, device_logits_;
  std::unique_ptr<DecodingState> state_;
  std::vector<float> logits_, slices_;
};

}  // namespace heddle
