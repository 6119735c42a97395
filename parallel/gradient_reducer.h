// GradientReducer: sums the gradients of the data group in buckets while the backward goes on.
//
// The flat gradient buffer is cut into buckets of whole parameters (joined ones together), from its end, because the backward finishes the
// last layers first. When the last micro-batch has made all gradients of a bucket final, its all-reduce starts on
// the communication stream beside the rest of the backward. Bytes per rank: 2 (D-1)/D of the buffer in the wire
// type, in each direction.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "parallel/communicator.h"
#include "parallel/parameters.h"

namespace heddle {

class GradientReducer {
 public:
  struct Settings {
    std::size_t bucket_bytes = 25u << 20;
    DType wire = DType::f32;  // bf16: half the traffic; still summed in f32 and accumulated in f32
  };

  GradientReducer(ParameterTable& parameters, Communicator& data, Device& device, Settings settings);

  // Before the backward of a micro-batch. Only in the last one do ready() calls start the communication.
  void begin(bool last_micro_batch);
  // The gradient of this parameter is final for this micro-batch (all its uses have been added).
  void ready(const Parameter& parameter);
  // After the backward of the last micro-batch: later work on the compute stream sees the sums.
  void finish();

  std::size_t wire_bytes() const;  // of the buffers for a wire type other than f32
  int bucket_count() const { return static_cast<int>(buckets_.size()); }

 private:
  struct Bucket {
    Tensor gradients;
    Tensor wire;
    int parameters = 0;
    int missing = 0;
    std::string label;
    std::unique_ptr<Event> computed, reduced;
  };
  void start(Bucket& bucket);

  ParameterTable& parameters_;
  Communicator& data_;
  Device& device_;
  Memory wire_memory_;
  std::vector<Bucket> buckets_;
  std::vector<int> bucket_of_;  // by the parameter's place in the table
  std::vector<std::int64_t> offsets_;
  bool last_ = false;
};

}  // namespace heddle
