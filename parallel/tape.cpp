#include "parallel/tape.h"

#include <algorithm>
#include <cassert>

#include "kernels/error.h"

namespace heddle {

namespace {

// Rows of vector registers and cache lines start at a cache line.
std::size_t aligned(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

Tape::Tape(Memory memory) : memory_(std::move(memory)) {}

void Tape::note_peak() {
  peak_ = std::max(peak_, bottom_ + scratch_);
  if (memory_.bytes() != 0 && bottom_ + scratch_ > memory_.bytes())
    throw error("the activations need {} bytes but {} were planned: the pass differs from the one that was measured",
                bottom_ + scratch_, memory_.bytes());
}

Tensor Tape::push(DType dtype, Shape shape) {
  Tensor tensor(nullptr, dtype, shape);
  const std::size_t begin = bottom_;
  bottom_ += aligned(tensor.bytes());
  note_peak();
  if (memory_.data()) tensor.data = static_cast<char*>(memory_.data()) + begin;
  pushed_.push_back(tensor);
  ends_.push_back(bottom_);
  return tensor;
}

void Tape::keep(const Tensor& tensor) {
  pushed_.push_back(tensor);
  ends_.push_back(bottom_);
}

Tensor Tape::pop() {
  assert(!pushed_.empty());
  const Tensor tensor = pushed_.back();
  pushed_.pop_back();
  ends_.pop_back();
  if (depth_ == 0) release_popped();
  return tensor;
}

Tensor Tape::scratch(DType dtype, Shape shape) {
  assert(depth_ > 0);
  Tensor tensor(nullptr, dtype, shape);
  scratch_ += aligned(tensor.bytes());
  note_peak();
  if (memory_.data()) tensor.data = static_cast<char*>(memory_.data()) + memory_.bytes() / 64 * 64 - scratch_;
  return tensor;
}

void Tape::rewind(std::size_t mark) {
  assert(mark <= pushed_.size());
  pushed_.resize(mark);
  ends_.resize(mark);
  release_popped();
}

void Tape::release_popped() { bottom_ = ends_.empty() ? 0 : ends_.back(); }

Tape::Scope::Scope(Tape& tape) : tape_(tape), scratch_(tape.scratch_) { ++tape_.depth_; }

Tape::Scope::~Scope() {
  tape_.scratch_ = scratch_;
  if (--tape_.depth_ == 0) tape_.release_popped();
}

}  // namespace heddle
