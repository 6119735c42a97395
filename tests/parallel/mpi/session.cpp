#include <cstdlib>

#include "kernels/error.h"
#include "mpi_test.h"

namespace heddle::test {
namespace {

TEST(MpiSession, KnowsItsPlace) {
  EXPECT_EQ(session().rank(), environment_rank());
  EXPECT_EQ(session().size(), environment_size());
  EXPECT_EQ(session().local_size(), session().size());
  EXPECT_EQ(session().local_rank(), session().rank());
  EXPECT_FALSE(session().host().empty());
  const std::string version = session().library_version();
  EXPECT_EQ(version.find("Open MPI "), 0u) << version;
  EXPECT_EQ(version.find(','), std::string::npos) << version;
  EXPECT_EQ(version.find(" v"), std::string::npos) << version;
}

TEST(MpiSession, NamesTheLayoutsThatWork) {
  const auto device = make_cpu_device(1);
  for (const Layout layout : {Layout{3, 2}, Layout{0, 1}, Layout{-1, -4}, Layout{1 << 30, 1 << 30}}) {
    try {
      session().make_mesh(layout, *device);
      FAIL() << layout.data_parallel << "x" << layout.tensor_parallel;
    } catch (const Error& e) {
      const std::string text = e.what();
      const std::string expected =
          session().size() == 4 ? "4 ranks: possible are 4x1, 2x2, 1x4" : "1 rank: possible are 1x1";
      EXPECT_NE(text.find(expected), std::string::npos) << text;
      EXPECT_EQ(e.exit_code(), kExitUsage);
      EXPECT_TRUE(e.on_all_ranks());
    }
  }
}

TEST(MpiSession, ManyMeshesOneAfterTheOther) {
  const auto device = make_cpu_device(1);
  for (int i = 0; i < 20; ++i) {
    const auto mesh = session().make_mesh({session().size(), 1}, *device);
    std::int64_t one = 1;
    mesh->world().all_reduce_host(&one, 1, Reduction::sum, "ranks");
    EXPECT_EQ(one, session().size());
  }
}

}  // namespace
}  // namespace heddle::test
