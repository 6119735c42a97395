// The CUDA backend: a GPU or, with HEDDLE_CUDA_EMULATOR, the emulated one, whose threads run in an order that
// a seed gives.
#include "tests/kernels/op_test.h"

#ifdef HEDDLE_CUDA_EMULATOR
#include "tests/emulator/grid.h"
#endif

namespace heddle::test {

#ifdef HEDDLE_CUDA_EMULATOR

namespace {

template <int kSeed>
std::unique_ptr<Device> make_emulated_device() {
  emulator::set_seed(kSeed);
  return make_cuda_device(0);
}

}  // namespace

const std::vector<Backend>& all_backends() {
  static const std::vector<Backend> backends = {
      {"emulated1", make_emulated_device<1>},
      {"emulated2", make_emulated_device<2>},
  };
  return backends;
}

const std::vector<Backend>& backends_of_equal_bits() {
  static const std::vector<Backend> backends = {
      {"emulated1", make_emulated_device<1>},
      {"emulated2", make_emulated_device<2>},
      {"emulated3", make_emulated_device<3>},
  };
  return backends;
}

#else

const std::vector<Backend>& all_backends() {
  static const std::vector<Backend> backends = {{"cuda", [] { return make_cuda_device(0); }}};
  return backends;
}

const std::vector<Backend>& backends_of_equal_bits() {
  static const std::vector<Backend> backends = {all_backends()[0], all_backends()[0]};  // run twice
  return backends;
}

#endif

}  // namespace heddle::test
