// Tape: the memory of one forward and backward pass, sized once and never freed in between.
//
// Layers push what their backward needs and pop it there in reverse order; work space that only lives within a call
// is scratch. Pushed tensors grow from one end of the arena and scratch from the other, so the two never fragment.
// A tape without memory measures: the same calls return null tensors and peak_bytes() tells how much a real one
// needs. That is how memory is known before step 0.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/device.h"
#include "kernels/tensor.h"

namespace heddle {

class Tape {
 public:
  // Measures only.
  Tape() = default;
  // Uses `memory`; throws Error if a pass needs more than it holds.
  explicit Tape(Memory memory);

  // Kept until popped. Contents are undefined.
  Tensor push(DType dtype, Shape shape);
  // Pushes a tensor that lives elsewhere (a layer's input, which its producer pushed): the layer pops it again.
  void keep(const Tensor& tensor);
  // The last tensor that was pushed or kept and not yet popped. Its memory stays valid until the outermost Scope ends.
  Tensor pop();

  // Valid until the innermost Scope ends. Contents are undefined.
  Tensor scratch(DType dtype, Shape shape);

  // Every layer opens one around its forward and its backward.
  class Scope {
   public:
    explicit Scope(Tape& tape);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Tape& tape_;
    std::size_t scratch_;
  };

  // Everything pushed since mark() is forgotten by rewind(): evaluation keeps nothing, recomputation keeps only
  // a block's input.
  std::size_t mark() const { return pushed_.size(); }
  void rewind(std::size_t mark);

  std::size_t peak_bytes() const { return peak_; }
  std::size_t capacity() const { return memory_.bytes(); }
  bool empty() const { return pushed_.empty() && scratch_ == 0; }

 private:
  void note_peak();
  void release_popped();

  Memory memory_;
  std::vector<Tensor> pushed_;
  std::vector<std::size_t> ends_;  // end of each pushed tensor, bytes from the start
  std::size_t bottom_ = 0;         // bytes held by pushed (and popped but not yet released) tensors
  std::size_t scratch_ = 0;        // bytes held by scratch, from the end
  std::size_t peak_ = 0;
  int depth_ = 0;
};

}  // namespace heddle
