// Element types of the emulated NCCL and their reductions.
#pragma once

#include <nccl.h>

#include <cstddef>
#include <vector>

namespace heddle::emulator {

// 0 for a type that is not emulated.
std::size_t size_of(ncclDataType_t type);
const char* name_of(ncclDataType_t type);
const char* name_of(ncclRedOp_t operation);
bool is_emulated(ncclRedOp_t operation);

// out[i] = parts[0][i] op parts[1][i] op ..., in this order; bf16 in f32, rounded once.
void reduce(ncclDataType_t type, ncclRedOp_t operation, const std::vector<const std::byte*>& parts,
            std::size_t count, std::byte* out);

}  // namespace heddle::emulator
