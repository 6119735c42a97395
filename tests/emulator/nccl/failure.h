// HEDDLE_EMULATOR_NCCL_FAIL: see nccl.h.
#pragma once

namespace heddle::emulator {

enum class Injected { nothing, failure, hang };

// What is to happen to the operation that this process starts now, counted from 0.
Injected next_injected();

}  // namespace heddle::emulator
