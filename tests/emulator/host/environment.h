// What the environment says of the emulated machine.
#pragma once

#include <cstddef>

namespace heddle::emulator {

int emulated_gpus();            // HEDDLE_EMULATOR_GPUS, 8
std::size_t emulated_memory();  // HEDDLE_EMULATOR_MEMORY, 4 GiB; bytes per GPU

}  // namespace heddle::emulator
