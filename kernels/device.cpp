#include "kernels/device.h"

#include <chrono>

#include "kernels/error.h"

namespace heddle {

namespace {

// For devices whose work is done when the call that asks for it returns.
class HostTimeMark final : public TimeMark {
 public:
  void record(Stream&) override { time_ = Clock::now(); }
  double seconds_since(const TimeMark& earlier) const override {
    return std::chrono::duration<double>(time_ - static_cast<const HostTimeMark&>(earlier).time_).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point time_;
};

}  // namespace

std::unique_ptr<TimeMark> Device::make_time_mark() { return std::make_unique<HostTimeMark>(); }

std::unique_ptr<Graph> Device::capture(const std::function<void()>&) {
  throw error("internal: the device {} has no graphs", name_of(kind()));
}

const char* name_of(DeviceKind kind) {
  switch (kind) {
    case DeviceKind::cpu:
      return "cpu";
    case DeviceKind::cuda:
      return "cuda";
    case DeviceKind::plan:
      return "plan";
  }
  return "?";
}

}  // namespace heddle
