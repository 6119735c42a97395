#include "kernels/device.h"

namespace heddle {

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
