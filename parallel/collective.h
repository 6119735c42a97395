// What one collective call is: the facts that all ranks of a group must agree on, and its cost.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/tensor.h"
#include "parallel/communicator.h"

namespace heddle {

enum class CollectiveKind : std::uint8_t { none, all_reduce, all_gather, reduce_scatter, broadcast, barrier };

const char* name_of(CollectiveKind kind);  // "all_reduce"

// Types that travel: the tensors' and, for values in host memory, f64 and i64.
enum class Element : std::uint8_t { f32, bf16, i32, u8, f64, i64 };

std::size_t size_of(Element element);
const char* name_of(Element element);
Element element_of(DType dtype);

// Plain data: compared between ranks and sent to the watchdog of another rank as bytes.
struct CollectiveCall {
  static constexpr int kLabelBytes = 48;

  CollectiveKind kind = CollectiveKind::none;
  Element element = Element::u8;
  Reduction reduction = Reduction::sum;
  std::int32_t root = 0;
  std::int64_t count = 0;        // elements of the larger buffer on one rank
  char label[kLabelBytes] = {};  // cut to fit, always terminated

  CollectiveCall() = default;
  CollectiveCall(CollectiveKind kind, Element element, std::int64_t count, const char* label,
                 Reduction reduction = Reduction::sum, int root = 0);

  bool operator==(const CollectiveCall& other) const;
  std::uint64_t hash() const;
  std::string to_string() const;  // all_reduce "gradients 3/7" of 1024 f32
};

// The calls of a group of `ranks` on tensors, after checking these: contiguous, counts and types that match, a type that
// can be reduced, a root that exists. Throw Error naming the collective and its label.
CollectiveCall all_reduce_call(const Tensor& x, Reduction reduction, const char* label);
CollectiveCall all_gather_call(const Tensor& in, const Tensor& out, int ranks, const char* label);
CollectiveCall reduce_scatter_call(const Tensor& in, const Tensor& out, int ranks, const char* label);
CollectiveCall broadcast_call(const Tensor& x, int root, int ranks, const char* label);

// Bytes that one rank sends when `bytes` is the size of the larger buffer, for groups of `ranks`. These are
// the lower bounds of Thakur et al. 2005, which the implementations here reach (broadcast: on average).
//   all_reduce      2 (ranks - 1) / ranks * bytes
//   all_gather        (ranks - 1) / ranks * bytes
//   reduce_scatter    (ranks - 1) / ranks * bytes
//   broadcast         (ranks - 1) / ranks * bytes
std::uint64_t bytes_sent(CollectiveKind kind, std::uint64_t bytes, int ranks);

}  // namespace heddle
