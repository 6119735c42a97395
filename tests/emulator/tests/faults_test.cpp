// Kernels that a GPU would hang on, refuse, or compute nonsense with, and what the emulator says of them.
#include <cstring>

#include "tests/emulator/tests/emulated.h"

namespace heddle::cuda {
namespace {

using emulator::fault_of;
using emulator::for_seeds;

struct Bytes {
  unsigned char of[256];
};

// The fault of the kernel, which every seed must find; the text is the last seed's.
template <auto Kernel, typename... Arguments>
std::string fault_for_seeds(const LaunchShape& shape, Arguments... arguments) {
  return for_seeds(6, [&] { return fault_of([&] { launch<Kernel>(shape, nullptr, arguments...); }); }).back();
}

__global__ void half_a_warp_shuffles(int* out) {
  if (threadIdx.x % 32 < 16) out[threadIdx.x] = __shfl_xor_sync(kFullWarp, 1, 1);
}

TEST(EmulatorFault, HalfAWarpAtAShuffle) {
  std::vector<int> out(64);
  const std::string text = fault_for_seeds<&half_a_warp_shuffles>({dim3(1, 2), 64}, out.data());
  EXPECT_CONTAINS(text, "kernel heddle::cuda::(anonymous namespace)::half_a_warp_shuffles(int*), block (0, ");
  EXPECT_CONTAINS(text, "__shfl_xor_sync (faults_test.cpp:");
  EXPECT_CONTAINS(text, "of the block's 64 threads");
}

__global__ void lanes_meet_in_two_functions() {
  if (threadIdx.x == 3)
    __syncwarp();
  else
    __shfl_sync(kFullWarp, 1, 0);
}
__global__ void lanes_meet_in_two_places(int* out) {
  if (threadIdx.x == 3)
    out[3] = __shfl_sync(kFullWarp, 1, 0);
  else
    out[threadIdx.x] = __shfl_sync(kFullWarp, 1, 0);
}
__global__ void barrier_among_mma() {
  float d[4] = {};
  const std::uint32_t a[4] = {}, b[2] = {};
  if (threadIdx.x < 4)
    __syncthreads();
  else
    mma_m16n8k16(d, a, b);
}

TEST(EmulatorFault, LanesInDifferentFunctions) {
  std::string text = fault_for_seeds<&lanes_meet_in_two_functions>({1, 32});
  EXPECT_CONTAINS(text, "__syncwarp (faults_test.cpp:");
  EXPECT_CONTAINS(text, "__shfl_sync (faults_test.cpp:");
  EXPECT_CONTAINS(text, " of its warp wait");
  std::vector<int> out(32);
  EXPECT_CONTAINS(fault_for_seeds<&lanes_meet_in_two_places>({1, 32}, out.data()), "but lane");
  text = fault_for_seeds<&barrier_among_mma>({1, 32});
  EXPECT_CONTAINS(text, "__syncthreads (faults_test.cpp:");
  EXPECT_CONTAINS(text, "mma_m16n8k16 (faults_test.cpp:");
}

__global__ void barriers_in_branches(int* out) {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    out[threadIdx.x] = __syncthreads_or(1);
}
__global__ void barrier_in_a_branch() {
  if (threadIdx.x < 32) __syncthreads();
  __syncthreads();
}

TEST(EmulatorFault, BarriersInBranches) {
  std::vector<int> out(96);
  std::string text = fault_for_seeds<&barriers_in_branches>({1, 96}, out.data());
  EXPECT_CONTAINS(text, "__syncthreads_or (faults_test.cpp:");
  EXPECT_CONTAINS(text, "__syncthreads (faults_test.cpp:");
  EXPECT_CONTAINS(text, " threads of the block wait in ");
  EXPECT_CONTAINS(fault_for_seeds<&barrier_in_a_branch>({1, 96}), "__syncthreads (faults_test.cpp:");
}

__global__ void mask_of_half_a_warp() {
  __syncwarp(0xffffu);
}

TEST(EmulatorFault, MasksNameAllLanes) {
  EXPECT_CONTAINS(fault_for_seeds<&mask_of_half_a_warp>({1, 32}),
                  "mask 0x0000ffff, which is not all 32 lanes");
}

__global__ void write_shared(int offset) {
  if (threadIdx.x == 0) (&shared_memory<Bytes>().of[0])[offset] = 1;
}

TEST(EmulatorFault, WritesBesideSharedMemory) {
  for (int offset : {0, 255}) launch<&write_shared>({2, 32, sizeof(Bytes)}, nullptr, offset);
  EXPECT_CONTAINS(fault_for_seeds<&write_shared>({1, 32, sizeof(Bytes)}, 256),
                  "byte 256 of its 256 bytes of shared memory has been written");
  EXPECT_CONTAINS(fault_for_seeds<&write_shared>({1, 32, sizeof(Bytes)}, 4000), "byte 4000 of its 256 bytes");
  EXPECT_CONTAINS(fault_for_seeds<&write_shared>({1, 32, sizeof(Bytes)}, -1),
                  "bytes before its shared memory");
  launch<&write_shared>({1, 32, sizeof(Bytes)}, nullptr, 0);  // the guard is whole again
}

TEST(EmulatorFault, SharedMemoryThatTheLaunchDoesNotGive) {
  EXPECT_CONTAINS(fault_for_seeds<&write_shared>({1, 32, 255}, 0),
                  "needs 256 bytes, but the launch gives 255");
}

__global__ void nothing() {}

TEST(EmulatorFault, LaunchesThatCudaRefuses) {
  launch<&nothing>({dim3(1, 2, 3), dim3(8, 4, 32), 227 << 10}, nullptr);
  EXPECT_CONTAINS(fault_for_seeds<&nothing>({1, 48}), "not a multiple of 32");
  EXPECT_CONTAINS(fault_for_seeds<&nothing>({1, 1056}), "1056 x 1 x 1 threads");
  EXPECT_CONTAINS(fault_for_seeds<&nothing>({1, dim3(0, 32)}), "0 x 32 x 1 threads");
  EXPECT_CONTAINS(fault_for_seeds<&nothing>({dim3(1, 65536), 32}), "1 x 65536 x 1 blocks");
  EXPECT_CONTAINS(fault_of([] { emulator::run_grid("huge", 1, 32, (227 << 10) + 1, [] {}); }),
                  "kernel huge cannot be launched: 232449 bytes of shared memory");
  EXPECT_CONTAINS(fault_of([] { emulator::run_grid("empty", {1, 0}, 32, 0, [] {}); }), "1 x 0 x 1 blocks");
}

TEST(EmulatorFault, DeviceFunctionsOutsideOfKernels) {
  EXPECT_CONTAINS(fault_of([] { __syncthreads(); }), "__syncthreads was called outside of a kernel");
}

// Waiting threads of a broken block are given up; the next launches find everything as new.
__global__ void barrier_then_branch(int* out, bool broken) {
  __syncthreads();
  if (broken && threadIdx.x == 40) __syncwarp();
  __syncthreads();
  out[threadIdx.x] = static_cast<int>(threadIdx.x);
}

TEST(EmulatorFault, LaterKernelsAreNotDisturbed) {
  for (int round = 0; round < 20; ++round) {
    std::vector<int> out(512, -1);
    fault_of([&] { launch<&barrier_then_branch>({1, 512}, nullptr, out.data(), true); });
    EXPECT_EQ(out, std::vector<int>(512, -1));
    launch<&barrier_then_branch>({1, 512}, nullptr, out.data(), false);
    for (int i = 0; i < 512; ++i) ASSERT_EQ(out[i], i);
  }
}

struct Failure {};
__global__ void throw_something() {
  __syncthreads();
  if (threadIdx.x == 5) throw Failure{};
}

TEST(EmulatorFault, OtherExceptionsLeaveTheGridToo) {
  EXPECT_THROW(launch<&throw_something>({1, 64}, nullptr), Failure);
}

}  // namespace
}  // namespace heddle::cuda
