#include "tests/emulator/grid.h"

#include <fmt/format.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <numeric>

#include "tests/emulator/block.h"

namespace heddle::emulator {
namespace {

std::uint64_t initial_seed() {
  const char* text = std::getenv("HEDDLE_EMULATOR_SEED");
  return text == nullptr ? 0 : std::strtoull(text, nullptr, 0);
}

struct Seed {
  std::atomic<std::uint64_t> value = initial_seed();
  std::atomic<std::uint64_t> launches = 0;  // since the seed was set
};

Seed& the_seed() {
  static Seed seed;
  return seed;
}

// Each launch draws from its own sequence.
Random next_launch_random() {
  Seed& seed = the_seed();
  return Random(Random(seed.value).next() + 0xd1342543de82ef95ull * seed.launches++);
}

void check_launch(const char* kernel_name, dim3 grid, dim3 block, std::size_t shared_bytes) {
  const auto refuse = [&](const std::string& what) {
    throw Fault(fmt::format("kernel {} cannot be launched: {}", kernel_name, what));
  };
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > kMaxThreadsPerBlock || block.z > 64)
    refuse(
        fmt::format("a block of {} x {} x {} threads; 1 to 1024, z at most 64", block.x, block.y, block.z));
  if (threads % kLanes != 0)
    refuse(fmt::format("a block of {} threads, which is not a multiple of 32", threads));
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > kMaxGridYZ ||
      grid.z > kMaxGridYZ)
    refuse(fmt::format("a grid of {} x {} x {} blocks; at least 1, at most 2^31 - 1 x 65535 x 65535", grid.x,
                       grid.y, grid.z));
  if (shared_bytes > kMaxSharedBytes)
    refuse(fmt::format("{} bytes of shared memory; at most {}", shared_bytes, kMaxSharedBytes));
}

// A random order of n blocks, each once: position -> (start + position * stride) mod n. Needs no
// table, and of any two either comes first about as often.
class Permutation {
 public:
  Permutation(std::uint64_t n, Random& random) : n_(n), start_(random.below(n)) {
    do stride_ = 1 + random.below(n);
    while (std::gcd(stride_, n) != 1);
  }
  std::uint64_t operator[](std::uint64_t position) const {
    return static_cast<std::uint64_t>((start_ + static_cast<unsigned __int128>(position) * stride_) % n_);
  }

 private:
  std::uint64_t n_, start_, stride_;
};

}  // namespace

void set_seed(std::uint64_t seed) {
  the_seed().value = seed;
  the_seed().launches = 0;
}

std::uint64_t seed() {
  return the_seed().value;
}

void run_grid(const char* kernel_name, dim3 grid, dim3 block, std::size_t shared_bytes,
              const std::function<void()>& thread_body) {
  check_launch(kernel_name, grid, block, shared_bytes);
  thread_local const auto machine = std::make_unique<Block>();
  if (current_block != nullptr) throw Fault(fmt::format("kernel {} is launched by a kernel", kernel_name));

  const LaunchedGrid launched{kernel_name, grid, block, shared_bytes, &thread_body};
  Random random = next_launch_random();
  const std::uint64_t count = std::uint64_t{grid.x} * grid.y * grid.z;
  const Permutation order(count, random);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t number = order[i], row = number / grid.x;
    machine->run(launched,
                 {static_cast<unsigned>(number % grid.x), static_cast<unsigned>(row % grid.y),
                  static_cast<unsigned>(row / grid.y)},
                 random);
  }
}

}  // namespace heddle::emulator
