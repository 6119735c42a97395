// How much memory this process may still take: what the host has, within the limits of its control group.
#pragma once

#include <cstdint>

namespace heddle {

// Bytes that can be allocated and touched without swapping or being killed: the smallest of MemAvailable of
// /proc/meminfo and what the control groups (v2 and v1) leave. UINT64_MAX when the system does not say.
std::uint64_t available_memory();

// Bytes of memory in this host.
std::uint64_t total_memory();

}  // namespace heddle
