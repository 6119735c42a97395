// Named ranges on a profiler's time line: NVTX where heddle is built for CUDA with its headers, nothing elsewhere.
#pragma once

namespace heddle {

// Set once by the backend that has a profiler, before any range is opened.
struct ProfilerHooks {
  void (*push)(const char* name) = nullptr;
  void (*pop)() = nullptr;
};
inline ProfilerHooks profiler_hooks;

// The time between construction and destruction on this thread. Costs a few nanoseconds where nobody looks.
class ProfilerRange {
 public:
  explicit ProfilerRange(const char* name) {
    if (profiler_hooks.push) profiler_hooks.push(name);
  }
  ~ProfilerRange() {
    if (profiler_hooks.pop) profiler_hooks.pop();
  }
  ProfilerRange(const ProfilerRange&) = delete;
  ProfilerRange& operator=(const ProfilerRange&) = delete;
};

}  // namespace heddle
