// The weights of a model's attention heads. The attention kernels never hold them as a whole, so they are
// computed again from what a layer's forward had:
//   weights = softmax(scale q k^T + mask), in double, with 0 where a query does not see a key
// and compared with the log-sum-exp of the forward, so that what is shown is what the model has used.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "parallel/attention_observer.h"
#include "parallel/context.h"
#include "trainer/config/value.h"

namespace heddle {

enum class AttentionKind : std::uint8_t {
  encoder,  // self-attention of an encoder: the source looks at itself
  decoder,  // self-attention of a decoder: the text so far
  cross,    // the target looks at the source
};

template <>
struct Choices<AttentionKind> {
  static constexpr std::array<std::string_view, 3> names{"encoder", "decoder", "cross"};
};

const char* name_of(AttentionKind kind);

// The place of an attention layer in its model by its name: "h.3.attn" is layer 3 of a decoder,
// "model.decoder.layers.0.encoder_attn" cross-attention. Throws Error for a name of another form.
struct AttentionPlace {
  AttentionKind kind = AttentionKind::decoder;
  std::int64_t layer = 0;
};
AttentionPlace attention_place(const std::string& layer);

// One layer's weights for a batch.
struct AttentionLayer {
  AttentionPlace place;
  std::int64_t samples = 0, heads = 0, rows = 0, columns = 0;  // rows are queries, columns keys
  std::vector<double> weights;                                 // [samples, heads, rows, columns]

  const double* row(std::int64_t sample, std::int64_t head, std::int64_t row) const {
    return weights.data() + ((sample * heads + head) * rows + row) * columns;
  }
};

class AttentionRecorder final : public AttentionObserver {
 public:
  // Layers of another kind or number are passed over.
  explicit AttentionRecorder(std::optional<AttentionKind> kind = {}, std::optional<std::int64_t> layer = {})
      : kind_(kind), layer_(layer) {}

  // Throws Error if the weights do not belong to the forward's log_sum_exp.
  void observe(Context& context, const std::string& layer, std::int64_t heads, const Attention& a) override;

  // The layers observed since the last take(), in order, with the heads of all ranks of the group.
  // Collective.
  std::vector<AttentionLayer> take(Communicator& tensor_group);

 private:
  std::optional<AttentionKind> kind_;
  std::optional<std::int64_t> layer_;
  std::vector<AttentionLayer> layers_;  // of this rank's heads
};

}  // namespace heddle
