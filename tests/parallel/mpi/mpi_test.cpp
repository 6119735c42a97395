#include "mpi_test.h"

#include <mpi.h>

#include <cstdio>
#include <cstring>

namespace heddle::test {

namespace {

MpiSession* g_session = nullptr;
bool g_messages_only = false;

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

}  // namespace heddle::test

int main(int argc, char** argv) {
  using namespace heddle;
  ::testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i)
    if (std::strcmp(argv[i], "--messages") == 0) test::g_messages_only = true;
  MpiSession::Settings settings;
  settings.timeout = std::chrono::seconds(60);
  settings.shared_memory = !test::messages_only();
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
