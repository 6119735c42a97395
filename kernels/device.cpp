#include "kernels/device.h"

#include "kernels/error.h"

namespace heddle {

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
