// Numbers as people read them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace heddle {

std::string with_commas(std::int64_t value);        // 124,439,808
std::string as_bytes(double bytes);                 // 1.85 GiB
std::string with_si_prefix(double value);           // 12.3 k, 1.21 M, 744 G
std::string as_duration(double seconds);            // 4.2 s, 3 min 05 s, 2 h 10 min, 3 d 4 h

}  // namespace heddle
