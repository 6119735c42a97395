// What a training step of any model on any layout needs and does, found by running it on a device that computes
// nothing: memory by category, FLOPs and traffic. Used to size the tape, to print the memory table before step 0 and
// by `heddle inspect`, which needs neither the memory nor the ranks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "parallel/mesh.h"
#include "trainer/training/engine.h"

namespace heddle {

struct StepPlan {
  ParameterTable::Bytes parameters;
  std::size_t activation_bytes = 0;  // peak of the tape in training and evaluation
  std::size_t workspace_bytes = 0;   // of the matrix products
  std::size_t wire_bytes = 0;        // gradient buckets in a wire type other than f32
  std::size_t batch_bytes = 0;       // tokens of a step, losses of a micro-batch
  double flops = 0;                  // of one micro-batch of the largest shape on this rank, recomputation included

  struct Row {
    std::string category;
    std::size_t bytes;
  };
  std::vector<Row> rows() const;
  std::size_t total() const;
};

// `device`: the one that will run the step.
StepPlan plan_step(const EngineSettings& settings, Layout layout, int rank, Device& device);

}  // namespace heddle
