// Which token of a text looks at which, head by head: texts go through a model once, and the weights come
// out.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/device.h"
#include "parallel/mesh.h"
#include "trainer/models/model.h"
#include "trainer/tasks/attention_weights.h"

namespace heddle {

// One head's weights of one text: [rows, columns], and a row sums to 1.
struct AttentionMap {
  AttentionPlace place;
  std::int64_t head = 0;
  std::int64_t rows = 0, columns = 0;
  std::vector<double> weights;

  double operator()(std::int64_t row, std::int64_t column) const {
    return weights[static_cast<std::size_t>(row * columns + column)];
  }
  std::int64_t strongest_column(std::int64_t row) const;  // the first of equals
};

// Tokens as the model reads them, neither part longer than its context.
struct AttentionText {
  std::vector<std::int32_t>
      source;  // what the encoder reads, its end token included; empty: there is no encoder
  std::vector<std::int32_t>
      text;  // what the decoder reads: of an encoder-decoder, a begin token and the target
};

struct AttentionSelection {
  std::optional<AttentionKind> kind;
  std::optional<std::int64_t> layer, head;  // counted from 0

  bool includes(AttentionPlace place) const {
    return (!kind || *kind == place.kind) && (!layer || *layer == place.layer);
  }
};

class AttentionReader {
 public:
  AttentionReader(Model& model, Device& device, Mesh& mesh, DType act)
      : model_(model), device_(device), mesh_(mesh), act_(act) {}

  // The selected heads of each text, layer by layer as the model computes them. Collective over the tensor
  // group; every rank gets all heads.
  std::vector<std::vector<AttentionMap>> read(const std::vector<AttentionText>& texts,
                                              const AttentionSelection& selection);

 private:
  Model& model_;
  Device& device_;
  Mesh& mesh_;
  DType act_;
};

}  // namespace heddle
