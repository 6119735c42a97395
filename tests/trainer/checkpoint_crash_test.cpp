// Death and disk errors at every system call of a save: what is found afterwards is the old or the new
// checkpoint, bit by bit, never anything else.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>

#include "tests/trainer/checkpoint_test_support.h"

namespace heddle::test {
namespace {

// Installs a hook for as long as it lives.
class ScopedHook {
 public:
  explicit ScopedHook(FileCallHook hook) { set_file_call_hook(std::move(hook)); }
  ~ScopedHook() { set_file_call_hook(nullptr); }
};

// A run's folder before the save under test, and what that save does.
struct Scenario {
  const char* name;
  std::int64_t step;  // that is saved, as version 9
  Layout layout;
  Retention retention;
};

// Steps 10 and 20 hold versions 1 and 2, with the leftovers of an earlier crash beside them.
void prepare(const fs::path& folder) {
  for (const std::string& failure : save(folder, 10, 1, {1, 1})) ASSERT_EQ(failure, "");
  for (const std::string& failure : save(folder, 20, 2, {1, 1})) ASSERT_EQ(failure, "");
  fs::create_directory(folder / "step-00000015.tmp");
  overwrite(folder / "step-00000015.tmp/rank-00000.safetensors", "half");
}

int version_of(const Scenario& scenario, std::int64_t step, bool replaced) {
  if (step == scenario.step && (replaced || scenario.step > 20)) return 9;
  return step == 10 ? 1 : 2;
}

// What a restarted run resumes from must be whole, and old or new.
void expect_old_or_new(const fs::path& folder, const Scenario& scenario, const std::string& when) {
  try {
    std::vector<std::string> warnings;
    const Checkpoint checkpoint =
        Checkpoint::open(folder, [&](const std::string& line) { warnings.push_back(line); });
    EXPECT_TRUE(warnings.empty()) << when << ": " << warnings[0];
    checkpoint.verify();
    const std::int64_t step = checkpoint.step();
    EXPECT_TRUE(step == 20 || step == scenario.step) << when << ": step " << step;
    EXPECT_TRUE(holds_version(checkpoint, version_of(scenario, step, false)) ||
                holds_version(checkpoint, version_of(scenario, step, true)))
        << when;
  } catch (const std::exception& reason) {
    ADD_FAILURE() << when << ": " << reason.what();
  }
}

// And the run goes on: the next save works and leaves nothing but checkpoints.
void expect_next_save_cleans_up(const fs::path& folder, const std::string& when) {
  for (const std::string& failure : save(folder, 40, 4)) ASSERT_EQ(failure, "") << when;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    EXPECT_TRUE(entry.path().extension().empty()) << when << ": " << entry.path();
  EXPECT_TRUE(holds_version(Checkpoint::open(folder, nullptr), 4)) << when;
}

class CheckpointCrash : public testing::TestWithParam<Scenario> {};

TEST_P(CheckpointCrash, KilledAtEveryCall) {
  const Scenario scenario = GetParam();
  int killed = 0;
  for (int k = 1;; ++k) {
    TemporaryFolder folder;
    prepare(folder.path());
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      std::atomic<int> calls = 0;
      set_file_call_hook([&](std::string_view, const fs::path&) {
        if (++calls == k) kill(getpid(), SIGKILL);
        return 0;
      });
      for (const std::string& failure :
           save(folder.path(), scenario.step, 9, scenario.layout, scenario.retention))
        if (!failure.empty()) _exit(1);
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    const std::string when = fmt::format("{}, killed at call {}", scenario.name, k);
    expect_old_or_new(folder.path(), scenario, when);
    if (WIFEXITED(status)) {
      EXPECT_EQ(WEXITSTATUS(status), 0);
      EXPECT_EQ(Checkpoint::open(folder.path(), nullptr).step(), scenario.step);
      break;
    }
    ++killed;
    expect_next_save_cleans_up(folder.path(), when);
  }
  EXPECT_GT(killed, 15);  // the save really makes that many calls
}

// One failing call at a time, then all calls from one on.
TEST_P(CheckpointCrash, ErrorAtEveryCall) {
  const Scenario scenario = GetParam();
  for (const bool lasting : {false, true}) {
    int failed_saves = 0;
    for (int k = 1;; ++k) {
      TemporaryFolder folder;
      prepare(folder.path());
      std::atomic<int> calls = 0;
      std::vector<std::string> failures;
      {
        const ScopedHook hook([&](std::string_view, const fs::path&) {
          const int call = ++calls;
          return call == k || (lasting && call > k) ? (lasting ? EIO : ENOSPC) : 0;
        });
        failures = save(folder.path(), scenario.step, 9, scenario.layout, scenario.retention);
      }
      const std::string when = fmt::format("{}, {} at call {}", scenario.name, lasting ? "EIO" : "ENOSPC", k);
      for (const std::string& failure : failures) EXPECT_EQ(failure, failures[0]) << when;
      expect_old_or_new(folder.path(), scenario, when);
      if (calls < k) {
        EXPECT_EQ(failures[0], "");
        break;
      }
      if (!failures[0].empty()) {
        ++failed_saves;
        EXPECT_NE(failures[0].find("rank "), std::string::npos) << failures[0];
        EXPECT_NE(failures[0].find(checkpoint_name(scenario.step)), std::string::npos) << failures[0];
        EXPECT_NE(failures[0].find(lasting ? "Input/output error" : "No space left"), std::string::npos)
            << failures[0];
        const bool removed = !fs::exists(folder.path() / (checkpoint_name(scenario.step) + ".tmp"));
        EXPECT_TRUE(removed || lasting) << when;
        EXPECT_TRUE(fs::exists(folder / "step-00000020") || lasting) << when;  // under its own name
        EXPECT_TRUE(holds_version(Checkpoint::open(folder / "step-00000010", nullptr), 1)) << when;
      } else {
        EXPECT_TRUE(holds_version(Checkpoint::open(folder / checkpoint_name(scenario.step), nullptr), 9))
            << when;
      }
      expect_next_save_cleans_up(folder.path(), when);
    }
    EXPECT_GT(failed_saves, 10);
  }
}

INSTANTIATE_TEST_SUITE_P(Saves, CheckpointCrash,
                         testing::Values(Scenario{"NewStep", 30, {1, 1}, {2}},
                                         Scenario{"TwoRanksDeleteOlder", 30, {1, 2}, {1}},
                                         Scenario{"SameStepAgain", 20, {1, 2}, {2}}),
                         [](const testing::TestParamInfo<Scenario>& info) { return info.param.name; });

TEST(CheckpointSave, SyncsBeforeItRenamesAndRenamesBeforeItDeletes) {
  TemporaryFolder folder;
  prepare(folder.path());
  std::vector<std::string> calls;
  std::mutex mutex;
  {
    const ScopedHook hook([&](std::string_view call, const fs::path& path) {
      const std::lock_guard lock(mutex);
      calls.push_back(fmt::format("{} {}", call, path.lexically_relative(folder.path()).string()));
      return 0;
    });
    for (const std::string& failure : save(folder.path(), 30, 9, {1, 2}, {1})) ASSERT_EQ(failure, "");
  }
  const auto position = [&](const std::string& call, bool last = false) {
    const auto found = last ? std::find(calls.rbegin(), calls.rend(), call).base() - 1
                            : std::find(calls.begin(), calls.end(), call);
    EXPECT_NE(found, calls.end()) << call;
    return found - calls.begin();
  };
  const auto manifest = position("create step-00000030.tmp/manifest.json");
  const auto sync_directory = position("fsyncdir step-00000030.tmp");
  const auto rename = position("rename step-00000030.tmp");
  const auto sync_folder = position("fsyncdir .");
  for (const std::string file :
       {"config.cfg", "manifest.json", "rank-00000.safetensors", "rank-00001.safetensors"}) {
    EXPECT_LT(position("write step-00000030.tmp/" + file, true), position("fsync step-00000030.tmp/" + file));
    EXPECT_LT(position("fsync step-00000030.tmp/" + file), sync_directory);
    if (file.starts_with("rank")) {
      EXPECT_LT(position("fsync step-00000030.tmp/" + file), manifest);
    }
  }
  EXPECT_LT(sync_directory, rename);
  EXPECT_LT(rename, sync_folder);
  EXPECT_LT(sync_folder, position("rename step-00000010"));  // out of sight, then deleted
  EXPECT_LT(position("rename step-00000010"), position("unlink step-00000010.tmp/manifest.json"));
  EXPECT_LT(sync_folder, position("rename step-00000020"));
}

// The limit of file sizes stands for a full disk: a real error of a real write.
TEST(CheckpointSave, FileThatCannotGrow) {
  TemporaryFolder folder;
  prepare(folder.path());
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{6000, 6000};
    setrlimit(RLIMIT_FSIZE, &limit);
    const std::vector<std::string> failures = save(folder.path(), 30, 9, {1, 2});
    const bool named = failures[0].find("rank-00000.safetensors: File too large") != std::string::npos;
    _exit(named && failures[0] == failures[1] && !fs::exists(folder / "step-00000030.tmp") ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(Checkpoint::open(folder.path(), nullptr).step(), 20);
}

TEST(CheckpointSave, FailureOnOneRankIsTheErrorOfAll) {
  TemporaryFolder folder;
  std::vector<std::string> failures;
  {
    const ScopedHook hook([](std::string_view call, const fs::path& path) {
      return call == "fsync" && path.filename() == "rank-00002.safetensors" ? EIO : 0;
    });
    failures = save(folder.path(), 30, 9, {1, 3});
  }
  EXPECT_EQ(failures[0], fmt::format("cannot save checkpoint {0}/step-00000030: rank 2: cannot fsync "
                                     "{0}/step-00000030.tmp/rank-00002.safetensors: Input/output error",
                                     folder.path().string()));
  EXPECT_EQ(failures[1], failures[0]);
  EXPECT_EQ(failures[2], failures[0]);
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(CheckpointSave, MakesItsFolder) {
  TemporaryFolder folder;
  for (const std::string& failure : save(folder / "runs/one/checkpoints/", 1, 1)) EXPECT_EQ(failure, "");
  EXPECT_EQ(Checkpoint::open(folder / "runs/one", nullptr).step(), 1);  // a run's folder is enough
  overwrite(folder / "file", "x");
  const std::vector<std::string> failures = save(folder / "file/checkpoints", 1, 1);
  EXPECT_NE(failures[1].find("rank 0: "), std::string::npos) << failures[1];
}

TEST(CheckpointSave, StateThatJsonCannotHold) {
  TemporaryFolder folder;
  for (const nlohmann::json& state : {nlohmann::json::array(), nlohmann::json{{"text", "\xff"}}}) {
    const std::vector<std::string> failures = run_ranks(2, [&](Communicator& world) {
      RankModel model(small_model(), world.rank(), 2);
      save_checkpoint(folder.path(), {1, {1, 2}, model.tensors, kConfig, state}, model.device, world, {});
    });
    EXPECT_NE(failures[0].find("state"), std::string::npos) << failures[0];
    EXPECT_EQ(failures[0], failures[1]);
    EXPECT_TRUE(fs::is_empty(folder.path()));
  }
}

std::vector<std::int64_t> steps_in(const fs::path& folder) {
  std::vector<std::int64_t> steps;
  for (const CheckpointPath& checkpoint : list_checkpoints(folder)) steps.push_back(checkpoint.step);
  return steps;
}

using Steps = std::vector<std::int64_t>;

TEST(CheckpointFolder, RetentionKeepsTheNewestAndTheBest) {
  TemporaryFolder folder;
  for (std::int64_t step = 1; step <= 6; ++step) {
    for (const std::string& failure : save(folder.path(), step, 1, {1, 1}, {2})) ASSERT_EQ(failure, "");
    if (step == 2) mark_best(folder.path(), 2, {{"metric", "loss"}, {"value", 1.25}});
  }
  EXPECT_EQ(steps_in(folder.path()), (Steps{2, 5, 6}));
  EXPECT_EQ(best_checkpoint(folder.path())->step, 2);
  EXPECT_EQ(newest_checkpoint(folder.path())->step, 6);
  mark_best(folder.path(), 5, {});
  save(folder.path(), 7, 1, {1, 1}, {2});
  EXPECT_EQ(steps_in(folder.path()), (Steps{5, 6, 7}));  // 2 is no longer the best
  save(folder.path(), 8, 1, {1, 1}, {1});
  EXPECT_EQ(steps_in(folder.path()), (Steps{5, 8}));
  save(folder.path(), 9, 1, {1, 1}, {0});
  EXPECT_EQ(steps_in(folder.path()), (Steps{5, 8, 9}));
}

TEST(CheckpointFolder, GoingBackKeepsWhatWasJustSaved) {
  TemporaryFolder folder;
  for (const std::int64_t step : {10, 20, 30}) save(folder.path(), step, 1, {1, 1});
  save(folder.path(), 15, 2, {1, 1}, {2});  // resumed from 10
  EXPECT_EQ(steps_in(folder.path()), (Steps{15, 30}));
  EXPECT_TRUE(discard_newer_than(folder.path(), 15).empty());
  EXPECT_EQ(steps_in(folder.path()), (Steps{15}));
  EXPECT_TRUE(holds_version(Checkpoint::open(folder.path(), nullptr), 2));
}

TEST(CheckpointFolder, DamagedBestMarkerDeletesNothing) {
  TemporaryFolder folder;
  for (const std::int64_t step : {1, 2, 3}) save(folder.path(), step, 1, {1, 1});
  overwrite(folder / "best.json", "{\"step\": 1");
  std::vector<std::string> warnings;
  run_ranks(1, [&](Communicator& world) {
    RankModel model(small_model(), 0, 1);
    const nlohmann::json state = state_of(1);
    warnings =
        save_checkpoint(folder.path(), {4, {}, model.tensors, kConfig, state}, model.device, world, {1})
            .warnings;
  });
  EXPECT_EQ(steps_in(folder.path()), (Steps{1, 2, 3, 4}));
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("best.json"), std::string::npos);
}

TEST(CheckpointFolder, OnlyItsOwnNamesCount) {
  TemporaryFolder folder;
  save(folder.path(), 5, 1, {1, 1});
  for (const std::string name : {"step-5", "step-000000005", "step-", "step-0000000a", "step--0000005",
                                 "other", "step-00000006.tmp", "step-00000007"})
    fs::create_directory(folder / name);
  for (const std::string name : {"step-5", "step-000000005", "other", "step-00000006.tmp"})
    overwrite(folder / name / "manifest.json", "{}");
  EXPECT_EQ(steps_in(folder.path()), (Steps{5}));
  EXPECT_TRUE(list_checkpoints(folder / "absent").empty());
  EXPECT_EQ(step_of_name(checkpoint_name(123456789012)), 123456789012);
  save(folder.path(), 8, 1, {1, 1});
  EXPECT_FALSE(fs::exists(folder / "step-00000006.tmp"));
  EXPECT_TRUE(fs::exists(folder / "other/manifest.json"));  // what is not ours is left alone
}

TEST(CheckpointFolder, InterruptedReplacementIsPutBack) {
  TemporaryFolder folder;
  save(folder.path(), 5, 1, {1, 1});
  fs::rename(folder / "step-00000005", folder / "step-00000005.previous");
  EXPECT_TRUE(holds_version(Checkpoint::open(folder.path(), nullptr), 1));
  EXPECT_TRUE(clean_up(folder.path()).empty());
  EXPECT_TRUE(fs::exists(folder / "step-00000005/manifest.json"));
}

// A deletion follows no link out of the folder.
TEST(CheckpointFolder, LinksAreNotFollowed) {
  TemporaryFolder folder, elsewhere;
  save(elsewhere.path(), 1, 1, {1, 1});
  fs::create_directory(folder.path() / "step-00000009.tmp");
  fs::create_directory_symlink(elsewhere / "step-00000001", folder / "step-00000001");
  fs::create_directory_symlink(elsewhere.path(), folder / "step-00000009.tmp/link");
  save(folder.path(), 10, 1, {1, 1}, {1});
  EXPECT_EQ(steps_in(folder.path()), (Steps{10}));
  EXPECT_EQ(steps_in(elsewhere.path()), (Steps{1}));
}

}  // namespace
}  // namespace heddle::test
