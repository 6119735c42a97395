// CUDA's functions for threads that work together: barriers, warp functions, atomics, cached loads and
// stores. Each of them that waits names the caller's place in the source, as an argument that CUDA's does not
// have.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <type_traits>

#include "tests/emulator/device.h"

// --- barriers of the block ---

inline void __syncthreads(heddle::emulator::Where where = heddle::emulator::Where::current()) {
  heddle::emulator::block_barrier("__syncthreads", false, where);
}
// How many threads have a predicate other than 0.
inline int __syncthreads_count(int predicate,
                               heddle::emulator::Where where = heddle::emulator::Where::current()) {
  return static_cast<int>(heddle::emulator::block_barrier("__syncthreads_count", predicate != 0, where).yes);
}
inline int __syncthreads_or(int predicate,
                            heddle::emulator::Where where = heddle::emulator::Where::current()) {
  return heddle::emulator::block_barrier("__syncthreads_or", predicate != 0, where).yes != 0;
}
inline int __syncthreads_and(int predicate,
                             heddle::emulator::Where where = heddle::emulator::Where::current()) {
  const auto votes = heddle::emulator::block_barrier("__syncthreads_and", predicate != 0, where);
  return votes.yes == votes.threads;
}

// --- functions of the warp ---

inline void __syncwarp(unsigned mask = 0xffffffffu,
                       heddle::emulator::Where where = heddle::emulator::Where::current()) {
  heddle::emulator::check_full_mask("__syncwarp", mask, where);
  char nothing = 0;
  heddle::emulator::warp_operation("__syncwarp", nothing, where, [](char* const*) {});
}

namespace heddle::emulator {

template <typename T>
struct ShuffleSlot {
  T value;
  int argument;  // source lane, distance or mask
};

// source(lane, first, argument): the lane that `lane` reads from, in the segment of `width` lanes that begins
// at `first`; its own value where that is not in 0 to `last`, the segment's end.
template <typename T, typename Source>
T shuffle(const char* operation, unsigned mask, T value, int argument, int width, const Where& where,
          Source source) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "CUDA shuffles 4 or 8 bytes");
  check_full_mask(operation, mask, where);
  ShuffleSlot<T> slot{value, argument};
  warp_operation(operation, slot, where, [&](ShuffleSlot<T>* const* lanes) {
    T values[32];
    for (int lane = 0; lane < 32; ++lane) values[lane] = lanes[lane]->value;
    for (int lane = 0; lane < 32; ++lane) {
      const int first = lane & ~(width - 1);
      lanes[lane]->value = values[source(lane, first, lanes[lane]->argument)];
    }
  });
  return slot.value;
}

template <typename Result, typename Combine>
Result vote(const char* operation, unsigned mask, int predicate, const Where& where, Combine combine) {
  check_full_mask(operation, mask, where);
  struct Slot {
    bool yes;
    Result result;
  } slot{predicate != 0, {}};
  warp_operation(operation, slot, where, [&](Slot* const* lanes) {
    unsigned ballot = 0;
    for (int lane = 0; lane < 32; ++lane) ballot |= static_cast<unsigned>(lanes[lane]->yes) << lane;
    for (int lane = 0; lane < 32; ++lane) lanes[lane]->result = combine(ballot);
  });
  return slot.result;
}

}  // namespace heddle::emulator

template <typename T>
T __shfl_sync(unsigned mask, T value, int source_lane, int width = 32,
              heddle::emulator::Where where = heddle::emulator::Where::current()) {
  return heddle::emulator::shuffle(
      "__shfl_sync", mask, value, source_lane, width, where,
      [=](int, int first, int source) { return first + (source & (width - 1)); });
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32,
                 heddle::emulator::Where where = heddle::emulator::Where::current()) {
  return heddle::emulator::shuffle(
      "__shfl_up_sync", mask, value, static_cast<int>(distance), width, where,
      [](int lane, int first, int distance) { return lane - distance < first ? lane : lane - distance; });
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32,
                   heddle::emulator::Where where = heddle::emulator::Where::current()) {
  return heddle::emulator::shuffle("__shfl_down_sync", mask, value, static_cast<int>(distance), width, where,
                                   [=](int lane, int first, int distance) {
                                     return lane + distance < first + width ? lane + distance : lane;
                                   });
}
// A lane of an earlier segment may be read, one of a later segment may not.
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                  heddle::emulator::Where where = heddle::emulator::Where::current()) {
  return heddle::emulator::shuffle("__shfl_xor_sync", mask, value, lane_mask, width, where,
                                   [=](int lane, int first, int lane_mask) {
                                     const int source = lane ^ (lane_mask & 31);
                                     return source < first + width ? source : lane;
                                   });
}

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              heddle::emulator::Where where = heddle::emulator::Where::current()) {
  return heddle::emulator::vote<unsigned>("__ballot_sync", mask, predicate, where,
                                          [](unsigned ballot) { return ballot; });
}
inline int __any_sync(unsigned mask, int predicate,
                      heddle::emulator::Where where = heddle::emulator::Where::current()) {
  return heddle::emulator::vote<int>("__any_sync", mask, predicate, where,
                                     [](unsigned ballot) { return ballot != 0; });
}
inline int __all_sync(unsigned mask, int predicate,
                      heddle::emulator::Where where = heddle::emulator::Where::current()) {
  return heddle::emulator::vote<int>("__all_sync", mask, predicate, where,
                                     [](unsigned ballot) { return ballot == ~0u; });
}

// --- memory ---

inline void __threadfence() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
}
inline void __threadfence_block() {}

// Atomics on int, unsigned and unsigned long long; each returns what was there before. Grids of several
// streams may run at once on several OS threads, so these are the CPU's atomics.
namespace heddle::emulator {

template <typename T>
concept AtomicInteger =
    std::same_as<T, int> || std::same_as<T, unsigned> || std::same_as<T, unsigned long long>;

template <AtomicInteger T, typename Update>
T update_atomically(T* address, Update update) {
  const std::atomic_ref<T> target(*address);
  T old = target.load();
  while (!target.compare_exchange_weak(old, update(old))) {
  }
  return old;
}

}  // namespace heddle::emulator

template <heddle::emulator::AtomicInteger T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return std::atomic_ref<T>(*address).fetch_add(value);
}
template <heddle::emulator::AtomicInteger T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return std::atomic_ref<T>(*address).exchange(value);
}
template <heddle::emulator::AtomicInteger T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  std::atomic_ref<T>(*address).compare_exchange_strong(expected, value);
  return expected;
}
template <heddle::emulator::AtomicInteger T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  return heddle::emulator::update_atomically(address, [=](T old) { return old < value ? value : old; });
}
template <heddle::emulator::AtomicInteger T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  return heddle::emulator::update_atomically(address, [=](T old) { return value < old ? value : old; });
}
template <heddle::emulator::AtomicInteger T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  return heddle::emulator::update_atomically(address, [=](T old) { return old | value; });
}

// Caches do not matter here.
template <typename T>
T __ldg(const T* address) {
  return *address;
}
template <typename T>
T __ldcs(const T* address) {
  return *address;
}
template <typename T>
void __stcs(T* address, std::type_identity_t<T> value) {
  *address = value;
}
