// The CUDA backend: a GPU or, with HEDDLE_CUDA_EMULATOR, the kernels compiled for the CPU, whose threads run in an
// order that a seed gives.
#include "tests/kernels/op_test.h"

#ifdef HEDDLE_CUDA_EMULATOR
#include "tests/kernels/emulated_device.h"
#endif

namespace heddle::test {

#ifdef HEDDLE_CUDA_EMULATOR

const std::vector<Backend>& all_backends() {
  static const std::vector<Backend> backends = {
      {"emulated1", [] { return make_emulated_device(1); }},
      {"emulated2", [] { return make_emulated_device(2); }},
  };
  return backends;
}

const std::vector<Backend>& backends_of_equal_bits() {
  static const std::vector<Backend> backends = {
      {"emulated1", [] { return make_emulated_device(1); }},
      {"emulated2", [] { return make_emulated_device(2); }},
      {"emulated3", [] { return make_emulated_device(3); }},
  };
  return backends;
}

#else

const std::vector<Backend>& all_backends() {
  static const std::vector<Backend> backends = {{"cuda", [] { return make_cuda_device(0); }}};
  return backends;
}

const std::vector<Backend>& backends_of_equal_bits() { return all_backends(); }

#endif

}  // namespace heddle::test
