#include "parallel/gpu_assignment.h"

#include <gtest/gtest.h>

#include "kernels/error.h"

namespace heddle {
namespace {

using Indices = std::vector<int>;

void expect_refused(const std::vector<VisibleGpus>& ranks, bool share,
                    const std::vector<std::string>& parts) {
  try {
    assign_gpus(ranks, share);
    FAIL() << parts[0];
  } catch (const Error& e) {
    for (const std::string& part : parts)
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    EXPECT_EQ(e.exit_code(), kExitUsage);
    EXPECT_TRUE(e.on_all_ranks());
  }
}

TEST(GpuAssignment, RanksThatSeeAllGpusTakeOneEachInOrder) {
  const VisibleGpus a{"a", {"0", "1", "2"}, ""}, b{"b", {"0", "1"}, ""};
  EXPECT_EQ(assign_gpus({a, a, a, b, b}, false), (Indices{0, 1, 2, 0, 1}));
  EXPECT_EQ(assign_gpus({a, b, a, b}, false), (Indices{0, 0, 1, 1})) << "ranks dealt to hosts in turn";
}

TEST(GpuAssignment, ARankThatIsShownOneGpuTakesIt) {
  EXPECT_EQ(assign_gpus({{"a", {"x"}, ""}, {"a", {"y"}, ""}, {"a", {"z"}, ""}}, false), (Indices{0, 0, 0}));
}

TEST(GpuAssignment, ARankThatIsShownSomeTakesAFreeOne) {
  EXPECT_EQ(assign_gpus({{"a", {"x", "y"}, ""}, {"a", {"x", "y"}, ""}, {"a", {"y", "z"}, ""}}, false),
            (Indices{0, 1, 1}));
}

TEST(GpuAssignment, SharingIsRefusedUnlessAllowed) {
  const VisibleGpus one{"a", {"x"}, ""}, two{"a", {"x", "y"}, ""};
  expect_refused({one, one}, false, {"host a has 2 ranks but 1 GPU for them", "--share-gpu"});
  expect_refused({two, two, two}, false, {"3 ranks but 2 GPUs"});
  EXPECT_EQ(assign_gpus({one, one}, true), (Indices{0, 0}));
  EXPECT_EQ(assign_gpus({two, two, two, two, two}, true), (Indices{0, 1, 0, 1, 0}));
  EXPECT_EQ(assign_gpus({one, {"b", {"x"}, ""}}, false), (Indices{0, 0})) << "ids are of a host";
}

TEST(GpuAssignment, SaysWhichRankHasNone) {
  const VisibleGpus good{"a", {"x"}, ""}, none{"b", {}, ""}, broken{"c", {}, "no driver"};
  expect_refused({good, none}, true, {"rank 1 (host b): ", "no GPU is visible", "CUDA_VISIBLE_DEVICES"});
  expect_refused({good, broken}, false, {"rank 1 (host c): no driver"});
  expect_refused({broken}, false, {"no driver"});
}

TEST(GpuAssignment, TravelsAsBytes) {
  for (const VisibleGpus& gpus : {VisibleGpus{"host", {"0000:3b:00.0 ab", "0000:5e:00.0 cd"}, ""},
                                  VisibleGpus{"b", {}, ""}, VisibleGpus{"c", {}, "CUDA cannot be used"}}) {
    const VisibleGpus back = visible_gpus_from(to_bytes(gpus));
    EXPECT_EQ(back.host, gpus.host);
    EXPECT_EQ(back.ids, gpus.ids);
    EXPECT_EQ(back.problem, gpus.problem);
  }
}

}  // namespace
}  // namespace heddle
