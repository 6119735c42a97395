// Memory of this process that is in RAM, as the kernel counts it.
#pragma once

#include <cstddef>

namespace heddle {

std::size_t resident_bytes();       // now (VmRSS)
std::size_t peak_resident_bytes();  // the most since the start or the last reset (VmHWM)
// Forgets the peak so far. Does nothing where the kernel does not allow it.
void reset_peak_resident();

}  // namespace heddle
