// ParameterTable: every parameter of a model as a named slice of flat buffers, with its place in the global model.
//
// Initialisation, buckets, clipping, the optimizer, checkpoints and counts all walk this one table. A model's
// constructor adds its parameters (no memory yet, so that any size can be counted); allocate() then gives them
// storage:
//   value      act  what the layers compute with (the master itself in fp32)
//   gradient   f32  accumulated over micro-batches and reduced over the data group
//   master, moment1, moment2  f32
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/ops.h"
#include "kernels/tensor.h"
#include "parallel/sharding.h"

namespace heddle {

struct Initializer {
  enum class Kind { zeros, ones, normal, uniform } kind = Kind::zeros;
  float scale = 0;

  static Initializer zeros() { return {Kind::zeros, 0}; }
  static Initializer ones() { return {Kind::ones, 0}; }
  static Initializer normal(float standard_deviation) { return {Kind::normal, standard_deviation}; }
  static Initializer uniform(float limit) { return {Kind::uniform, limit}; }  // in [-limit, limit]
};

struct ParameterSpec {
  std::string name;   // Hugging Face's, e.g. "h.0.attn.c_attn.weight"
  Shape shape;        // global
  Sharding sharding;
  Initializer initializer;
  bool decay = true;  // weight decay belongs on matrices, not on biases and norms
};

// A table that belongs to a model but is not learnt (sinusoidal positions).
struct Constant {
  std::string name;
  Shape shape;
  std::function<float(std::int64_t)> element;  // by index
  Tensor value;  // act, on every rank whole
};

struct Parameter {
  ParameterSpec spec;
  bool joined = false;  // begins where its predecessor in the table ends, without padding between them
  Shape local;              // this rank's shape, padding included
  std::int64_t offset = 0;  // in the flat buffers, elements
  Tensor value, gradient, master, moment1, moment2;

  std::int64_t count() const { return local.count(); }
};

class ParameterTable {
 public:
  // `ranks`, `rank`: of the tensor-parallel group.
  ParameterTable(int ranks, int rank) : ranks_(ranks), rank_(rank) {}

  // The reference stays valid. Names are unique.
  Parameter& add(ParameterSpec spec);
  // The specs one behind the other, so that equal rows of them are one matrix (Q, K and V of one projection).
  std::vector<Parameter*> add_joined(std::vector<ParameterSpec> specs);
  Constant& add_constant(std::string name, Shape shape, std::function<float(std::int64_t)> element);

  // Constants are filled at once, parameters hold nothing yet.
  enum class Purpose { training, inference };  // inference: values only
  void allocate(Device& device, DType act, Purpose purpose);
  // Of the flat buffers that allocate() would make, per rank.
  struct Bytes {
    std::size_t values = 0, gradients = 0, master = 0, moments = 0, constants = 0;
    std::size_t total() const { return values + gradients + master + moments + constants; }
  };
  Bytes bytes(DType act, Purpose purpose) const;

  // From here on, where values are bf16, they are the masters rounded stochastically, by (seed, name, number of the
  // update, global index), instead of to nearest. After allocate(), for training.
  void round_stochastically(Device& device, std::uint64_t seed);

  // Every element from (seed, name, global index): the same model on any layout. Writes master and value.
  void initialize(Device& device, std::uint64_t seed);
  // value = rounded master, after masters were loaded: those that update number `update` (0: none yet) has left. The
  // values are the ones that it has left as well. No work in fp32.
  void refresh_values(Device& device, std::int64_t update);
  // How an update rounds the values: null if to nearest, which AdamW does as it goes. Set `step` in a copy of it.
  const StochasticRounding* rounding() const { return rounding_.place_count > 0 ? &rounding_ : nullptr; }

  std::deque<Parameter>& parameters() { return parameters_; }
  const std::deque<Parameter>& parameters() const { return parameters_; }
  Parameter* find(const std::string& name);

  std::int64_t global_count() const;                    // exact number of parameters of the model
  std::int64_t flat_count() const { return flat_count_; }  // elements of a flat buffer on this rank
  // Whole buffers, [flat_count()]; absent where nothing is allocated. Padding between parameters stays 0.
  const Tensor& flat_gradients() const { return gradients_; }
  const Tensor& flat_masters() const { return masters_; }
  const Tensor& flat_moments1() const { return moments1_; }
  const Tensor& flat_moments2() const { return moments2_; }
  const Tensor& flat_values() const { return values_; }  // absent in fp32: the masters are the values
  int ranks() const { return ranks_; }
  int rank() const { return rank_; }

 private:
  int ranks_, rank_;
  Parameter& add_at(std::int64_t offset, bool joined, ParameterSpec spec);
  void fill_constants(Device& device);

  std::deque<Parameter> parameters_;
  std::deque<Constant> constants_;
  std::int64_t flat_count_ = 0, constant_count_ = 0;
  Memory constant_memory_, value_memory_, gradient_memory_, master_memory_, moment1_memory_, moment2_memory_;
  Tensor values_, gradients_, masters_, moments1_, moments2_;
  Memory rounding_memory_;  // an AdamWStep for refresh_values, the places of rounding_
  StochasticRounding rounding_;
};

}  // namespace heddle
