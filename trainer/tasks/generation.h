// Text generation with a decoder language model, on any tensor-parallel layout.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "kernels/device.h"
#include "parallel/mesh.h"
#include "trainer/models/model.h"
#include "trainer/tasks/decoding_session.h"
#include "trainer/tasks/sampling.h"

namespace heddle {

struct GenerationSettings {
  std::int64_t max_tokens = 200;
  SamplingSettings sampling;
  std::int64_t samples = 1;       // continuations of the same prompt, generated together
  std::int64_t first_sample = 0;  // number of the first one, for the random generator
  bool cache = true;              // keep keys and values; without, every token recomputes the whole text: same bits
  std::int32_t end_of_text = -1;  // a continuation ends after this token; -1: never
};

class Generator {
 public:
  // `parameters` holds the model's values. Allocates for up to model.context_length() tokens of `samples` texts.
  Generator(Model& model, Device& device, Mesh& mesh, DType act, std::int64_t samples);

  // Called with each chosen token as soon as it is known: (sample, token).
  using OnToken = std::function<void(std::int64_t, std::int32_t)>;

  // The continuations, without the prompt. A text that outgrows the context goes on from its last half. `prompt`
  // must not be empty.
  std::vector<std::vector<std::int32_t>> generate(const std::vector<std::int32_t>& prompt,
                                                  const GenerationSettings& settings, const OnToken& on_token = {});

  // Logits [samples, vocabulary] of the last generated position: for tests of the cache.
  const std::vector<float>& last_logits() const { return session_.all_logits(); }

 private:
  Model& model_;
  std::int64_t samples_;
  DecodingSession session_;
};

}  // namespace heddle
