// From what a person set to what the engine takes.
#pragma once

#include "parallel/mesh.h"
#include "trainer/config/options.h"
#include "trainer/training/engine.h"

namespace heddle {

// Samples of a rank in one pass: train.micro_batch, or all of the rank's samples. check() has seen to it that the
// global batch divides.
std::int64_t micro_batch_of(const Options& options, Layout layout);

// A step whose samples all fill the context: what a text model trains on, and the most that an encoder-decoder meets.
BatchShape full_shape(const Options& options, Layout layout);

// With the full shape as the only one.
EngineSettings engine_settings(const Options& options, Layout layout);

inline DType act_of(Precision precision) { return precision == Precision::bf16 ? DType::bf16 : DType::f32; }

}  // namespace heddle
