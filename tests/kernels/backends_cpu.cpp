#include "tests/kernels/op_test.h"

namespace heddle::test {

const std::vector<Backend>& all_backends() {
  static const std::vector<Backend> backends = {
      {"cpu1", [] { return make_cpu_device(1); }},
      {"cpu3", [] { return make_cpu_device(3); }},
  };
  return backends;
}

const std::vector<Backend>& backends_of_equal_bits() {
  static const std::vector<Backend> backends = {
      {"cpu1", [] { return make_cpu_device(1); }},
      {"cpu2", [] { return make_cpu_device(2); }},
      {"cpu3", [] { return make_cpu_device(3); }},
      {"cpu5", [] { return make_cpu_device(5); }},
  };
  return backends;
}

}  // namespace heddle::test
