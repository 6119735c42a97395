#include "trainer/metrics/resident_memory.h"

#include <fstream>
#include <string>

namespace heddle {

namespace {

// A field of /proc/self/status, which is in KiB; 0 if it is not there.
std::size_t status_field(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::size_t kib = 0;
    if (word == name && status >> kib) return kib * 1024;
  }
  return 0;
}

}  // namespace

std::size_t resident_bytes() { return status_field("VmRSS:"); }

std::size_t peak_resident_bytes() { return status_field("VmHWM:"); }

void reset_peak_resident() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace heddle
