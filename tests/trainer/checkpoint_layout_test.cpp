// A checkpoint belongs to no layout: whatever wrote it, whatever reads it, every bit is in its place.
#include "tests/trainer/checkpoint_test_support.h"

namespace heddle::test {
namespace {

TEST(CheckpointLayout, RoundTripOfEverything) {
  TemporaryFolder folder;
  for (const std::string& failure : save(folder.path(), 1000, 1)) ASSERT_EQ(failure, "");
  const Checkpoint checkpoint = Checkpoint::open(folder / "step-00001000", nullptr);
  checkpoint.verify();
  EXPECT_EQ(checkpoint.step(), 1000);
  EXPECT_EQ(checkpoint.layout().tensor_parallel, 2);
  EXPECT_EQ(checkpoint.config(), kConfig);
  EXPECT_EQ(checkpoint.state(), state_of(1));
  EXPECT_EQ(checkpoint.tensors().size(), small_model().size());
  EXPECT_TRUE(holds_version(checkpoint, 1, 2));
  EXPECT_FALSE(holds_version(checkpoint, 2, 2));
}

// Writer layout, reader layout, bytes of staging: the smallest holds a few elements, so every slab is cut.
using Case = std::tuple<int, int, std::size_t>;
class CheckpointReshard : public testing::TestWithParam<Case> {};

TEST_P(CheckpointReshard, IsBitEqual) {
  const auto [writers, readers, staging] = GetParam();
  TemporaryFolder folder;
  for (const std::string& failure : save(folder.path(), 7, 3, {1, writers}, {0}, staging))
    ASSERT_EQ(failure, "");
  const Checkpoint checkpoint = Checkpoint::open(folder.path(), nullptr);
  checkpoint.verify();
  EXPECT_TRUE(holds_version(checkpoint, 3, readers, staging));
}

INSTANTIATE_TEST_SUITE_P(AllLayouts, CheckpointReshard,
                         testing::Combine(testing::Values(1, 2, 3, 4, 8), testing::Values(1, 2, 3, 4, 7),
                                          testing::Values(std::size_t{20}, kStagingBytes)));

TEST(CheckpointLayout, ReplicasWriteOnce) {
  TemporaryFolder folder;
  for (const std::string& failure : save(folder.path(), 1, 1, {3, 2})) ASSERT_EQ(failure, "");
  const Checkpoint checkpoint = Checkpoint::open(folder.path(), nullptr);
  std::set<std::string> names;
  for (const ManifestFile& file : checkpoint.manifest().files) names.insert(file.name);
  EXPECT_EQ(names, (std::set<std::string>{"config.cfg", "rank-00000.safetensors", "rank-00001.safetensors"}));
  EXPECT_TRUE(holds_version(checkpoint, 1, 2));
}

TEST(CheckpointLayout, TwoWritersOfOneReplicaAreRefusedOnAllRanks) {
  TemporaryFolder folder;
  const std::vector<std::string> failures = run_ranks(2, [&](Communicator& world) {
    RankModel model(small_model(), 0, 1);  // both are rank 0 of their own tensor group, and both write
    save_checkpoint(folder.path(), {1, {2, 1}, model.tensors, kConfig, state_of(1)}, model.device, world, {});
  });
  EXPECT_NE(failures[0].find("do not cover"), std::string::npos) << failures[0];
  EXPECT_EQ(failures[0], failures[1]);
  EXPECT_TRUE(list_checkpoints(folder.path()).empty());
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

// Optimizer state sharded as ranges of a flat buffer: a range of a matrix is up to three boxes.
TEST(CheckpointLayout, RangesOfFlatBuffers) {
  TemporaryFolder folder;
  constexpr std::int64_t kRows = 7, kColumns = 5;
  const std::vector<std::int64_t> cuts = {0, 3, 17, 17, 33, 35};
  const std::string name = "exp_avg.w";
  for (const std::string& failure : run_ranks(static_cast<int>(cuts.size()) - 1, [&](Communicator& world) {
         CpuDevice device(1);
         const std::int64_t begin = cuts[world.rank()], end = cuts[world.rank() + 1];
         Memory flat = device.allocate(static_cast<std::size_t>(end - begin) * 4 + 4);
         std::vector<CheckpointTensor> tensors;
         for (std::int64_t at = begin; at < end;) {
           const std::int64_t row = at / kColumns, column = at % kColumns;
           const bool rows = column == 0 && end - at >= kColumns;
           const Shape extent = rows ? Shape{(end - at) / kColumns, kColumns}
                                     : Shape{1, std::min(kColumns - column, end - at)};
           float* data = static_cast<float*>(flat.data()) + (at - begin);
           for (std::int64_t i = 0; i < extent.count(); ++i) data[i] = static_cast<float>(at + i);
           tensors.push_back({name,
                              {kRows, kColumns},
                              Tensor(data, DType::f32, extent),
                              {{{row, column}, {0, 0}, extent}}});
           at += extent.count();
         }
         save_checkpoint(folder.path(), {5, {5, 1}, tensors, kConfig, state_of(1)}, device, world, {});
       }))
    ASSERT_EQ(failure, "");
  const Checkpoint checkpoint = Checkpoint::open(folder.path(), nullptr);
  std::vector<float> all(kRows * kColumns), expected(all.size());
  std::iota(expected.begin(), expected.end(), 0.0f);
  checkpoint.read(name, {0, 0}, Tensor(all.data(), DType::f32, {kRows, kColumns}));
  EXPECT_EQ(all, expected);
}

TEST(CheckpointLayout, ReadsAnyBoxWithStridesAndConversion) {
  TemporaryFolder folder;
  for (const std::string& failure : save(folder.path(), 1, 1, {1, 4})) ASSERT_EQ(failure, "");
  const Checkpoint checkpoint = Checkpoint::open(folder.path(), nullptr);
  const std::string name = "h.0.attn.c_attn.weight";  // [36, 12], in 12 pieces

  std::vector<float> wide(10 * 20, -1.0f);
  Tensor view(wide.data(), DType::f32, {10, 5});
  view.stride = {20, 1};
  checkpoint.read(name, {7, 4}, view);
  std::vector<bfloat16> narrow(10 * 5);
  checkpoint.read(name, {7, 4}, Tensor(narrow.data(), DType::bf16, {10, 5}));
  for (std::int64_t r = 0; r < 10; ++r)
    for (std::int64_t c = 0; c < 20; ++c) {
      float value = -1.0f;
      if (c < 5) {
        const std::uint32_t bits = element_bits(name, (7 + r) * 12 + 4 + c, 1);
        std::memcpy(&value, &bits, 4);
        EXPECT_EQ(narrow[r * 5 + c].bits, bfloat16(value).bits);
      }
      EXPECT_EQ(std::memcmp(&wide[r * 20 + c], &value, 4), 0) << r << ' ' << c;
    }

  std::vector<float> exact(24 * 6);  // bf16 on disk
  checkpoint.read("h.0.half", {0, 0}, Tensor(exact.data(), DType::f32, {24, 6}));
  for (std::size_t i = 0; i < exact.size(); ++i) {
    const std::uint32_t bits = element_bits("h.0.half", static_cast<std::int64_t>(i), 1) << 16;
    EXPECT_EQ(std::memcmp(&exact[i], &bits, 4), 0);
  }

  EXPECT_NE(error_of([&] { checkpoint.read(name, {30, 0}, view); }).find("was asked for"), std::string::npos);
  EXPECT_NE(error_of([&] {
              std::vector<std::int32_t> integers(12);
              checkpoint.read("h.0.ln.weight", {0}, Tensor(integers.data(), DType::i32, {12}));
            }).find("cannot convert f32 to i32"),
            std::string::npos);
}

// Long runs are fetched by themselves, short ones with what lies between: both give the same elements.
TEST(CheckpointLayout, LargeTensorAcrossBuffers) {
  TemporaryFolder folder;
  const std::vector<Spec> specs = {{"rows", {6, 60000}, {1}}, {"columns", {60000, 40}, {1}}};
  for (const std::string& failure : save(folder.path(), 1, 1, {1, 2}, {0}, 1 << 16, specs))
    ASSERT_EQ(failure, "");
  const Checkpoint checkpoint = Checkpoint::open(folder.path(), nullptr);
  for (int rank = 0; rank < 3; ++rank) {
    RankModel expected(specs, rank, 3), loaded(specs, rank, 3);
    expected.fill(1);
    loaded.fill_with_junk();
    checkpoint.load(loaded.tensors, loaded.device);
    EXPECT_TRUE(loaded.equals(expected)) << rank;
  }
}

TEST(CheckpointLayout, MismatchesNameTheTensor) {
  TemporaryFolder folder;
  for (const std::string& failure : save(folder.path(), 1, 1)) ASSERT_EQ(failure, "");
  const Checkpoint checkpoint = Checkpoint::open(folder.path(), nullptr);
  const auto refusal = [&](Spec spec) {
    RankModel model({small_model()[5], std::move(spec)}, 0, 1);
    model.fill_with_junk();
    const std::string message = error_of([&] { checkpoint.load(model.tensors, model.device); });
    EXPECT_NE(message.find(folder.path().string()), std::string::npos) << message;
    // Nothing was copied before the refusal.
    EXPECT_EQ(static_cast<const unsigned char*>(model.tensors[0].local.data)[0], 0xab);
    return message;
  };
  EXPECT_NE(refusal({"h.9.ln.weight", {12}, {}}).find("no tensor 'h.9.ln.weight'"), std::string::npos);
  EXPECT_NE(refusal({"wte.weight", {51, 12}, {}}).find("'wte.weight' has shape [50, 12]"), std::string::npos);
  EXPECT_NE(refusal({"wte.weight", {50, 12}, {}, DType::bf16}).find("'wte.weight' has dtype f32"),
            std::string::npos);
}

TEST(CheckpointLayout, DescribesAFolder) {
  TemporaryFolder folder;
  save(folder.path(), 1, 1);
  save(folder.path(), 2, 2);
  mark_best(folder.path(), 1, {{"loss", 2.5}});
  overwrite(folder / "step-00000002/manifest.json", "{}");
  const std::vector<CheckpointSummary> all = describe(folder.path());
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].step, 1);
  EXPECT_TRUE(all[0].best);
  EXPECT_EQ(all[0].problem, "");
  EXPECT_EQ(all[0].manifest.tensors.size(), small_model().size());
  EXPECT_EQ(all[0].manifest.total_bytes(), [&] {
    std::uint64_t bytes = 0;
    for (const ManifestFile& file : all[0].manifest.files) bytes += fs::file_size(all[0].path / file.name);
    return bytes;
  }());
  EXPECT_EQ(all[1].step, 2);
  EXPECT_NE(all[1].problem.find("manifest.json"), std::string::npos);
}

}  // namespace
}  // namespace heddle::test
