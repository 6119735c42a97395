#include "mpi_test.h"

#include <mpi.h>

#include <cstdio>
#include <cstring>

#include "parallel/gpu_communicator.h"

namespace heddle::test {

namespace {

MpiSession* g_session = nullptr;
bool g_messages_only = false, g_on_gpu = false, g_shares_gpu = false;

// Ranks other than the first print nothing but their failures.
class FailurePrinter : public ::testing::EmptyTestEventListener {
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "rank %d: %s:%d: %s\n", g_session->rank(),
                 result.file_name() ? result.file_name() : "?", result.line_number(), result.summary());
  }
};

}  // namespace

MpiSession& session() {
  return *g_session;
}
bool messages_only() {
  return g_messages_only;
}
bool on_gpu() {
  return g_on_gpu;
}
bool shares_gpu() {
  return g_shares_gpu;
}

std::unique_ptr<Device> make_test_device() {
  if (!on_gpu()) return make_cpu_device(1);
  std::vector<std::string> ids;
  for (const GpuDescription& gpu : cuda_devices()) ids.push_back(gpu.id);
  return make_cuda_device(session().assign_gpu(ids, ""));
}

}  // namespace heddle::test

int main(int argc, char** argv) {
  using namespace heddle;
  ::testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--messages") == 0) test::g_messages_only = true;
    if (std::strcmp(argv[i], "--share-gpu") == 0) test::g_shares_gpu = true;
    if (std::strcmp(argv[i], "--cuda") == 0 || test::g_shares_gpu) test::g_on_gpu = true;
  }
  MpiSession::Settings settings;
  settings.timeout = std::chrono::seconds(60);
  settings.shared_memory = !test::messages_only();
  settings.share_gpu = test::shares_gpu();
  settings.make_gpu_communicator = &make_nccl_communicator;
  MpiSession session(&argc, &argv, settings);
  test::g_session = &session;
  auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
  if (session.rank() != 0) {
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new test::FailurePrinter);
  }
  int failed = RUN_ALL_TESTS();
  MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  return failed;
}
