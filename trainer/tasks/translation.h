// Translation with an encoder-decoder: batches of sources in, hypotheses out.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/device.h"
#include "parallel/mesh.h"
#include "trainer/models/model.h"
#include "trainer/tasks/beam_search.h"

namespace heddle {

struct TranslationSettings {
  BeamSettings search;
  std::int64_t extra_tokens = 50;    // a text ends at the latest so many tokens after its source's length
  std::int64_t batch_tokens = 4096;  // rows x tokens of a batch on the longer side, about
  bool cache = true;                 // keep keys and values; without, every token recomputes the whole text
};

class Translator {
 public:
  Translator(Model& model, Device& device, Mesh& mesh, DType act)
      : model_(model), device_(device), mesh_(mesh), act_(act) {}

  // sources: tokens with the end token, each at most model.context_length(). The hypotheses of each, best first, on
  // every rank. Collective: batches of like lengths, the same on any layout, are dealt to the data ranks.
  std::vector<std::vector<Hypothesis>> translate(const std::vector<std::vector<std::int32_t>>& sources,
                                                 const TranslationSettings& settings);

 private:
  std::vector<std::vector<Hypothesis>> translate_batch(const std::vector<std::vector<std::int32_t>>& sources,
                                                       const TranslationSettings& settings);

  Model& model_;
  Device& device_;
  Mesh& mesh_;
  DType act_;
};

}  // namespace heddle
