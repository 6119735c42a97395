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

inline ModelOptions small_transformer() {
  ModelOptions m;
  m.family = "transformer";
  m.num_layers = 2;
  m.hidden_size = 24;
  m.num_heads = 3;
  m.ffn_size = 40;
  m.context_length = 12;
  m.vocabulary_size = 37;
  m.norm_position = NormPosition::post;
  m.positions = PositionKind::sinusoidal;
  m.activation = FeedForwardKind::relu;
  m.embedding_scale = true;
  m.initialization = Initialization::xavier;
  return m;
}

// Random pairs of random lengths, padded to the batch's; the last `fillers` samples only fill up.
struct RandomPairs {
  RandomPairs(std::int64_t samples, std::int64_t length, std::int64_t source_length, const ModelOptions& model,
              std::int64_t fillers = 0, std::uint32_t seed = 1)
      : shape{samples, samples, length, source_length} {
    std::mt19937 random(seed);
    const auto below = [&](std::int64_t n) {
      return static_cast<std::int32_t>(random() % static_cast<std::uint32_t>(n));
    };
    const std::int64_t source_vocabulary =
        model.source_vocabulary_size > 0 ? model.source_vocabulary_size : model.vocabulary_size;
    for (std::int64_t s = 0; s < samples; ++s) {
      const bool fills = s >= samples - fillers;
      const std::int64_t words = fills    ? 0
                                 : s == 0 ? length
                                          : 1 + below(length),
                         source_words = fills    ? 0
                                        : s == 0 ? source_length
                                                 : 1 + below(source_length);
      for (std::int64_t t = 0; t < length; ++t) {
        inputs.push_back(below(model.vocabulary_size));
        targets.push_back(t < words ? below(model.vocabulary_size) : -1);
      }
      for (std::int64_t t = 0; t < source_length; ++t) source.push_back(below(source_vocabulary));
      source_lengths.push_back(static_cast<std::int32_t>(source_words));
      valid_tokens += words;
    }
  }
  HostBatch batch(std::int64_t micro_batch = 0) const {
    HostBatch batch;
    batch.shape = shape;
    if (micro_batch > 0) batch.shape.micro_batch = micro_batch;
    batch.inputs = inputs.data();
    batch.targets = targets.data();
    batch.source = source.data();
    batch.source_lengths = source_lengths.data();
    batch.valid_tokens = valid_tokens;
    return batch;
  }

  BatchShape shape;
  std::vector<std::int32_t> inputs, targets, source, source_lengths;
  std::int64_t valid_tokens = 0;
};

inline EngineSettings small_pair_engine(const ModelOptions& model, const BatchShape& shape) {
  EngineSettings s;
  s.model = model;
  s.seed = 7;
  s.shapes = {shape};
  return s;
}

}  // namespace heddle
