#include "parallel/probe.h"

#include <gtest/gtest.h>

#include <cstring>

#include "parallel/thread_binding.h"

namespace heddle {
namespace {

cpu_set_t mask(int begin, int end) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int core = begin; core < end; ++core) CPU_SET(core, &set);
  return set;
}

std::vector<RankFacts> healthy(int ranks, int per_host, int threads) {
  std::vector<RankFacts> all(static_cast<std::size_t>(ranks));
  for (int r = 0; r < ranks; ++r) {
    RankFacts& f = all[static_cast<std::size_t>(r)];
    std::snprintf(f.host, sizeof f.host, "node%d", r / per_host);
    std::strcpy(f.mpi_library, "Open MPI 4.1.4");
    f.local_rank = r % per_host;
    f.local_size = per_host;
    f.host_cores = f.host_processors = per_host * threads;
    f.memory_nodes = 1;
    f.threads = threads;
    f.allowed = mask(0, per_host * threads);
    f.total_memory = f.available_memory = std::uint64_t{64} << 30;
    f.shared_memory_space = std::uint64_t{32} << 30;
  }
  return all;
}

bool mentions(const std::vector<Finding>& findings, Severity severity, const std::string& text) {
  for (const Finding& f : findings)
    if (f.severity == severity && f.what.find(text) != std::string::npos) return true;
  return false;
}

TEST(ExamineHosts, FindsNothingWhereNothingIs) {
  for (const Finding& f : examine_hosts(healthy(8, 4, 4))) ADD_FAILURE() << f.what;
  for (const Finding& f : examine_hosts(healthy(1, 1, 1))) ADD_FAILURE() << f.what;
}

TEST(ExamineHosts, OneCorePerRankStarvesThreads) {
  auto ranks = healthy(2, 2, 8);
  for (int r = 0; r < 2; ++r) ranks[static_cast<std::size_t>(r)].allowed = mask(r, r + 1);
  const auto findings = examine_hosts(ranks);
  EXPECT_TRUE(mentions(findings, Severity::failure, "local rank 0 may use 1 core but runs 8 threads"));
  EXPECT_NE(findings[0].remedy.find("PE=8"), std::string::npos);
}

TEST(ExamineHosts, OverlappingBindings) {
  auto ranks = healthy(2, 2, 4);
  for (RankFacts& r : ranks) r.allowed = mask(0, 4);
  EXPECT_TRUE(mentions(examine_hosts(ranks), Severity::failure, "bound to the same cores"));
}

TEST(ExamineHosts, MoreThreadsThanCores) {
  auto ranks = healthy(4, 4, 4);
  for (RankFacts& r : ranks) r.threads = 8;
  EXPECT_TRUE(mentions(examine_hosts(ranks), Severity::failure, "4 ranks run 32 threads in all on 16 cores"));
}

TEST(ExamineHosts, IdleCoresMixedLibrariesLittleMemoryAndUnevenHosts) {
  auto ranks = healthy(8, 4, 4);
  for (RankFacts& r : ranks) r.threads = 1;
  std::strcpy(ranks[7].mpi_library, "Open MPI 5.0.3");
  for (int r = 4; r < 8; ++r) ranks[static_cast<std::size_t>(r)].available_memory = std::uint64_t{1} << 30;
  for (RankFacts& r : ranks) r.shared_memory_space = std::uint64_t{1} << 20;
  ranks.pop_back();
  ranks.push_back(ranks[0]);
  std::strcpy(ranks[7].mpi_library, "Open MPI 5.0.3");
  const auto findings = examine_hosts(ranks);
  EXPECT_TRUE(mentions(findings, Severity::failure, "Open MPI 5.0.3"));
  EXPECT_TRUE(mentions(findings, Severity::warning, "of 16 processors are used"));
  EXPECT_TRUE(mentions(findings, Severity::warning, "host node1: only 1.0 of 64.0 GiB"));
  EXPECT_TRUE(mentions(findings, Severity::warning, "/dev/shm has 1024 KiB"));
  EXPECT_TRUE(mentions(findings, Severity::warning, "hosts run between 3 and 5 ranks"));
  EXPECT_EQ(findings[0].severity, Severity::failure);
}

TEST(ExamineLinks, NamesTheSlowPair) {
  const auto ranks = healthy(4, 1, 4);
  std::vector<Link> links;
  for (int a = 0; a < 4; ++a)
    for (int b = a + 1; b < 4; ++b) links.push_back({a, b, 10, 12.0});
  EXPECT_TRUE(examine_links(ranks, links).empty());
  links[4].gigabytes_per_second = 1.1;  // 1 and 3
  const auto findings = examine_links(ranks, links);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_TRUE(
      mentions(findings, Severity::warning, "ranks 1 (host node1) and 3 (host node3) reach 1.10 GB/s"));
}

TEST(ShareOfCores, EqualMasksAreSharedAndOwnOnesRespected) {
  using Cores = std::vector<int>;
  const std::vector<cpu_set_t> unbound(3, mask(2, 10));
  EXPECT_EQ(share_of_cores(unbound, 0), (Cores{2, 3}));
  EXPECT_EQ(share_of_cores(unbound, 1), (Cores{4, 5, 6}));
  EXPECT_EQ(share_of_cores(unbound, 2), (Cores{7, 8, 9}));
  const std::vector<cpu_set_t> bound = {mask(0, 2), mask(2, 4), mask(2, 4)};
  EXPECT_EQ(share_of_cores(bound, 0), (Cores{0, 1}));
  EXPECT_EQ(share_of_cores(bound, 2), (Cores{3}));
  const std::vector<cpu_set_t> crowded(4, mask(0, 2));
  EXPECT_EQ(share_of_cores(crowded, 3), (Cores{1}));
}

}  // namespace
}  // namespace heddle
