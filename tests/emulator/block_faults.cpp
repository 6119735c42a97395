// What a Fault says.
#include <fmt/format.h>

#include <bit>
#include <string_view>

#include "tests/emulator/block.h"

namespace heddle::emulator {
namespace {

// "lane 3", "lanes 0-15, 17"
std::string name_lanes(std::uint32_t lanes) {
  std::string text = std::has_single_bit(lanes) ? "lane " : "lanes ";
  for (unsigned first = 0; first < kLanes; ++first) {
    if (!(lanes >> first & 1)) continue;
    unsigned last = first;
    while (last + 1 < kLanes && (lanes >> (last + 1) & 1)) ++last;
    if (!text.ends_with(' ')) text += ", ";
    text += first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last);
    first = last;
  }
  return text;
}

// "__syncthreads (norm.cu:53)"
std::string name_place(const char* operation, const Where& where) {
  const std::string_view path = where.file_name();
  return fmt::format("{} ({}:{})", operation, path.substr(path.rfind('/') + 1), where.line());
}

const char* wait_in(unsigned count) {
  return count == 1 ? "waits in" : "wait in";
}

}  // namespace

void Block::fault(const std::string& what) const {
  throw Fault(fmt::format("kernel {}, block ({}, {}, {}): {}", grid_->kernel_name, index_.x, index_.y,
                          index_.z, what));
}

void Block::fault_in(const char* operation, const Where& where, const std::string& what) const {
  fault(fmt::format("{} in {}: {}", name_running_lane(), name_place(operation, where), what));
}

std::string Block::name_running_lane() const {
  return fmt::format("lane {} of warp {} (thread {})", running_->number % kLanes, running_->number / kLanes,
                     running_->number);
}

void Block::fault_cannot_meet(const char* operation, const Where& where) const {
  std::string text = name_running_lane();
  text += operation == nullptr ? " has returned" : " has come to " + name_place(operation, where);
  const Warp& warp = this->warp();
  if (warp.meeting != 0)
    text += fmt::format(", but {} of its warp {} {}", name_lanes(warp.meeting),
                        wait_in(std::popcount(warp.meeting)), name_place(warp.operation, warp.where));
  if (warp.returned != 0)
    text += fmt::format(", but {} of its warp returned before", name_lanes(warp.returned));
  if (warp.at_barrier != 0)
    text +=
        fmt::format(", but {} of its warp {} {}", name_lanes(warp.at_barrier),
                    wait_in(std::popcount(warp.at_barrier)), name_place(barrier_operation_, barrier_where_));
  else if (arrived_.threads > 0)
    text += fmt::format(", but {} threads of the block wait in {}", arrived_.threads,
                        name_place(barrier_operation_, barrier_where_));
  fault(text + "; " + describe_threads());
}

void Block::fault_unwaited_copies() const {
  const auto& copies = running_->copies.waiting();
  fault(fmt::format("{} has returned without waiting for {} of its asynchronous copies, the first from {}",
                    name_running_lane(), copies.size(), name_place("copy_async", copies.front().where)));
}

std::string Block::describe_threads() const {
  unsigned in_warp_functions = 0;
  for (unsigned w = 0; w < num_warps_; ++w) in_warp_functions += std::popcount(warps_[w].meeting);
  return fmt::format(
      "of the block's {} threads {} wait at the barrier, {} in warp functions, and {} have returned",
      num_threads_, arrived_.threads, in_warp_functions, returned_);
}

}  // namespace heddle::emulator
