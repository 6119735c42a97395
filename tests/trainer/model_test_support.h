// A small GPT on one rank of the CPU, for tests of models, engine and generation.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "kernels/device.h"
#include "parallel/mesh.h"
#include "trainer/training/engine.h"

namespace heddle {

inline std::unique_ptr<Mesh> single_rank_mesh(Device& device) {
  return std::make_unique<Mesh>(Layout{}, 0, make_self_communicator("world", device),
                                make_self_communicator("data", device), make_self_communicator("tensor", device));
}

inline ModelOptions small_gpt() {
  ModelOptions m;
  m.num_layers = 2;
  m.hidden_size = 24;
  m.num_heads = 3;
  m.context_length = 12;
  m.vocabulary_size = 37;
  return m;
}

inline EngineSettings small_engine(const ModelOptions& model) {
  EngineSettings s;
  s.model = model;
  s.seed = 7;
  s.shapes = {{4, 4, model.context_length}};
  return s;
}

// Random tokens of `samples` sequences; targets are the inputs moved by one.
struct RandomTokens {
  RandomTokens(std::int64_t samples, std::int64_t length, std::int64_t vocabulary, std::uint32_t seed = 1)
      : samples(samples), length(length), ids(static_cast<std::size_t>(samples * length + 1)) {
    std::mt19937 random(seed);
    for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % static_cast<std::uint32_t>(vocabulary));
  }
  // In passes of `micro_batch` samples; 0: one.
  HostBatch batch(std::int64_t micro_batch = 0) const {
    HostBatch batch;
    batch.shape = {samples, micro_batch > 0 ? micro_batch : samples, length};
    batch.inputs = ids.data();
    batch.targets = ids.data() + 1;
    batch.valid_tokens = samples * length;
    return batch;
  }

  std::int64_t samples, length;
  std::vector<std::int32_t> ids;
};

}  // namespace heddle
