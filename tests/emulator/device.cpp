#include "tests/emulator/device.h"

#include <fmt/format.h>

#include <string>

#include "tests/emulator/block.h"

namespace heddle::emulator {
namespace {

Block& block(const char* operation) {
  if (current_block == nullptr) throw Fault(std::string(operation) + " was called outside of a kernel");
  return *current_block;
}

bool aligned(const void* address, std::size_t alignment) {
  return reinterpret_cast<std::uintptr_t>(address) % alignment == 0;
}

}  // namespace

void* const* meet_lanes(const char* operation, void* slot, const Where& where) {
  return block(operation).meet(operation, slot, where);
}

void dismiss_lanes() {
  current_block->dismiss();
}

void check_full_mask(const char* operation, unsigned mask, const Where& where) {
  if (mask != 0xffffffffu)
    block(operation).fault_in(operation, where,
                              fmt::format("mask {:#010x}, which is not all 32 lanes", mask));
}

BarrierVotes block_barrier(const char* operation, bool vote, const Where& where) {
  const Block::Votes votes = block(operation).barrier(operation, vote, where);
  return {votes.yes, votes.threads};
}

void* shared_memory_for(std::size_t size, std::size_t alignment, const Where& where) {
  Block& block = emulator::block("shared_memory");
  const SharedMemory& shared = block.shared();
  if (size > shared.bytes())
    block.fault_in("shared_memory", where,
                   fmt::format("it needs {} bytes, but the launch gives {}", size, shared.bytes()));
  if (alignment > kSharedAlignment)
    block.fault_in("shared_memory", where,
                   fmt::format("alignment {} is more than {}", alignment, kSharedAlignment));
  return shared.data();
}

void check_shared(const char* operation, const void* address, std::size_t bytes, std::size_t alignment,
                  const Where& where) {
  Block& block = emulator::block(operation);
  const SharedMemory& shared = block.shared();
  const auto offset =
      reinterpret_cast<std::intptr_t>(address) - reinterpret_cast<std::intptr_t>(shared.data());
  if (!shared.contains(address, bytes))
    block.fault_in(operation, where,
                   fmt::format("{} bytes at offset {} do not lie in the block's {} bytes of shared memory",
                               bytes, offset, shared.bytes()));
  if (!aligned(address, alignment))
    block.fault_in(operation, where,
                   fmt::format("offset {} in shared memory is not aligned to {} bytes", offset, alignment));
}

void issue_copy(const char* operation, void* shared, const void* global, std::size_t size, int bytes,
                const Where& where) {
  check_shared(operation, shared, size, size, where);
  Block& block = *current_block;
  if (bytes < 0 || static_cast<std::size_t>(bytes) > size)
    block.fault_in(operation, where, fmt::format("{} bytes of {}", bytes, size));
  if (!aligned(global, size))
    block.fault_in(operation, where,
                   fmt::format("the address in global memory is not aligned to {} bytes", size));
  if (block.shared().contains(global, 1))
    block.fault_in(operation, where, "the source lies in shared memory");
  block.copies().issue(shared, global, size, static_cast<std::size_t>(bytes), where);
}

void commit_copy_group() {
  Block& block = emulator::block("commit_copies");
  block.copies().commit();
  block.copies().pass(block.random());
}

void wait_copy_groups(unsigned pending) {
  Block& block = emulator::block("wait_copies");
  block.copies().wait(pending);
  block.copies().pass(block.random());
}

}  // namespace heddle::emulator
