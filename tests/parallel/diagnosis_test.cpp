#include "parallel/diagnosis.h"

#include <gtest/gtest.h>

#include <cstring>

namespace heddle {
namespace {

GroupState group(const char* name, int number, RankRange ranks, std::int64_t calls, const char* label,
                 bool active) {
  GroupState g;
  std::strcpy(g.name, name);
  g.number = number;
  g.ranks = ranks;
  g.calls = calls;
  g.active = active;
  g.waited_seconds = active ? 20.2 : 0;
  g.call = CollectiveCall(CollectiveKind::all_reduce, Element::f32, 1000, label);
  return g;
}

struct Job {
  explicit Job(int ranks) {
    for (int r = 0; r < ranks; ++r) {
      survey.hosts.push_back(std::string(1, static_cast<char>('a' + r)));
      survey.states.emplace_back(RankState());
      survey.states.back()->rank = r;
      survey.states.back()->progress = Progress(12, "backward");
    }
  }
  RankState& at(int rank) { return *survey.states[static_cast<std::size_t>(rank)]; }
  void add(int rank, const GroupState& g) { at(rank).groups[at(rank).group_count++] = g; }
  void lose(int rank) { survey.states[static_cast<std::size_t>(rank)].reset(); }
  Survey survey;
};

TEST(Diagnosis, RankThatDoesNotAnswer) {
  Job job(4);
  for (int r = 0; r < 4; ++r) job.add(r, group("data", 0, {0, 1, 4}, 88, "gradients 3/7", true));
  job.lose(3);
  job.at(0).neighbour = Progress(11, "forward");  // the rank after the lost one knows
  EXPECT_EQ(diagnose(job.survey, 1, 0),
            "no progress for 20 s in all_reduce \"gradients 3/7\" of group data (step 12, call 88): rank 3 "
            "(host d) "
            "does not answer; last seen in step 11 \"forward\"");
}

TEST(Diagnosis, RankThatHasNotArrived) {
  Job job(3);
  for (int r = 0; r < 3; ++r) job.add(r, group("data", 0, {0, 1, 3}, r == 2 ? 87 : 88, "gradients", r != 2));
  job.at(2).progress = Progress(12, "saving checkpoint");
  EXPECT_EQ(diagnose(job.survey, 0, 0),
            "no progress for 20 s in all_reduce \"gradients\" of group data (step 12, call 88): rank 2 (host "
            "c) answers "
            "but has not arrived: it is in step 12 \"saving checkpoint\"");
}

// Rank 0 waits for 1 in group tensor, 1 waits for 3 in group data, 3 is busy elsewhere.
TEST(Diagnosis, FollowsWaitsToTheRoot) {
  Job job(4);
  job.add(0, group("tensor", 0, {0, 1, 2}, 5, "activations", true));
  job.add(1, group("tensor", 0, {0, 1, 2}, 4, "activations", false));
  job.add(1, group("data", 1, {1, 2, 2}, 9, "gradients", true));
  job.add(3, group("data", 1, {1, 2, 2}, 8, "gradients", false));
  const std::string text = diagnose(job.survey, 0, 0);
  EXPECT_NE(text.find("\"gradients\" of group data"), std::string::npos) << text;
  EXPECT_NE(text.find("rank 3 (host d) answers but has not arrived"), std::string::npos) << text;
  EXPECT_EQ(text.find("rank 1"), std::string::npos) << text;
}

TEST(Diagnosis, RanksThatWaitForEachOtherEnd) {
  Job job(2);
  for (int r = 0; r < 2; ++r) {
    job.add(r, group("data", 0, {0, 1, 2}, r == 0 ? 5 : 4, "gradients", r == 0));
    job.add(r, group("tensor", 1, {0, 1, 2}, r == 1 ? 5 : 4, "activations", r == 1));
  }
  const std::string text = diagnose(job.survey, 0, 0);
  EXPECT_NE(text.find("has not arrived"), std::string::npos) << text;
  EXPECT_NE(text.find(", waiting in all_reduce"), std::string::npos) << text;
}

TEST(Diagnosis, CallsThatDiffer) {
  Job job(2);
  job.add(0, group("data", 0, {0, 1, 2}, 7, "gradients", true));
  job.add(1, group("data", 0, {0, 1, 2}, 7, "loss", true));
  const std::string text = diagnose(job.survey, 0, 0);
  EXPECT_NE(
      text.find(
          "rank 1 (host b) calls all_reduce \"loss\" of 1000 f32 where rank 0 (host a) calls all_reduce "
          "\"gradients\" of 1000 f32"),
      std::string::npos)
      << text;
}

TEST(Diagnosis, EverybodyIsThere) {
  Job job(2);
  for (int r = 0; r < 2; ++r) job.add(r, group("data", 0, {0, 1, 2}, 7, "gradients", true));
  EXPECT_NE(diagnose(job.survey, 0, 0).find("all 2 ranks have arrived"), std::string::npos);
}

// GPUs queue calls: rank 1's in group tensor stands behind one in group data, for which rank 3 has not come.
TEST(Diagnosis, FollowsACallThatIsQueuedBehindAnother) {
  Job job(4);
  job.add(0, group("tensor", 0, {0, 1, 2}, 5, "activations", true));
  job.add(1, group("tensor", 0, {0, 1, 2}, 5, "activations", true));
  job.add(1, group("data", 1, {1, 2, 2}, 7, "gradients", true));
  job.add(3, group("data", 1, {1, 2, 2}, 6, "gradients", false));
  EXPECT_EQ(diagnose(job.survey, 0, 0),
            "no progress for 20 s in all_reduce \"gradients\" of group data (step 12, call 7): rank 3 (host d) "
            "answers but has not arrived: it is in step 12 \"backward\"");
}

TEST(Diagnosis, ManyLostRanksFitOneLine) {
  Job job(100);
  for (int r = 0; r < 100; ++r) job.add(r, group("world", 0, {0, 1, 100}, 7, "loss", true));
  for (int r = 1; r < 100; ++r) job.lose(r);
  const std::string text = diagnose(job.survey, 0, 0);
  EXPECT_NE(text.find("; and 95 more ranks"), std::string::npos) << text;
  EXPECT_LT(text.size(), 500u);
}

}  // namespace
}  // namespace heddle
