// Damaged, foreign and hostile checkpoints: always refused, with the file named, and passed over where there
// is an older one.
#include <random>

#include "tests/trainer/checkpoint_test_support.h"

namespace heddle::test {
namespace {

class CheckpointDamage : public testing::Test {
 protected:
  void SetUp() override {
    for (const std::string& failure : save(folder_.path(), 10, 1, {1, 3})) ASSERT_EQ(failure, "");
    for (const std::string& failure : save(folder_.path(), 20, 2, {1, 3})) ASSERT_EQ(failure, "");
  }
  fs::path directory(int step) const { return folder_.path() / checkpoint_name(step); }

  // What a run that resumes from the newest checkpoint itself is told; empty if it is accepted.
  std::string refusal() const {
    try {
      const Checkpoint checkpoint = Checkpoint::open(directory(20), nullptr);
      checkpoint.verify();
      holds_version(checkpoint, 2);
    } catch (const Error& reason) {
      return reason.what();
    }
    return "";
  }
  void expect_refused(const std::string& file, const std::string& what = "") const {
    const std::string message = refusal();
    EXPECT_NE(message.find(file), std::string::npos) << file << " " << what << " -> " << message;
  }
  // A run that resumes from the folder gets step 10, and is told why not 20.
  void expect_fallback(const std::string& file) const {
    std::vector<std::string> warnings;
    const std::vector<std::string> failures = run_ranks(2, [&](Communicator& world) {
      const Checkpoint checkpoint = Checkpoint::open_verified(
          folder_.path(), world, [&](const std::string& line) { warnings.push_back(line); });
      EXPECT_EQ(checkpoint.step(), 10);
      EXPECT_TRUE(holds_version(checkpoint, 1));
    });
    EXPECT_EQ(failures, std::vector<std::string>(2));
    ASSERT_EQ(warnings.size(), 1u);
    EXPECT_NE(warnings[0].find((directory(20) / file).string()), std::string::npos) << warnings[0];
  }
  // A manifest changed at will, with a seal that fits: what a deceiver would write.
  void forge_manifest(const std::function<void(nlohmann::json&)>& change) const {
    nlohmann::json manifest = nlohmann::json::parse(content_of(directory(20) / kManifestName));
    manifest.erase("manifest_xxh3_128");
    change(manifest);
    std::string body = manifest.dump();
    body.pop_back();
    overwrite(directory(20) / kManifestName, seal_manifest(body));
  }

  TemporaryFolder folder_;
};

TEST_F(CheckpointDamage, SoundOnesAreAccepted) {
  EXPECT_EQ(refusal(), "");
  EXPECT_EQ(Checkpoint::open(folder_.path(), nullptr).step(), 20);
  EXPECT_EQ(Checkpoint::open(folder_.path().string() + "/", nullptr).step(), 20);
  EXPECT_EQ(Checkpoint::open(directory(10).string() + "/", nullptr).step(), 10);
}

TEST_F(CheckpointDamage, OneFlippedBitAnywhere) {
  std::mt19937 random(1);
  for (const fs::directory_entry& entry : fs::directory_iterator(directory(20))) {
    const std::string sound = content_of(entry.path());
    for (int i = 0; i < 300; ++i) {
      std::string damaged = sound;
      const std::size_t bit = random() % (8 * sound.size());
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
      overwrite(entry.path(), damaged);
      expect_refused(entry.path().filename(), "bit " + std::to_string(bit));
    }
    overwrite(entry.path(), sound);
  }
  EXPECT_EQ(refusal(), "");
}

TEST_F(CheckpointDamage, EveryByteOfTheManifestMatters) {
  const fs::path path = directory(20) / kManifestName;
  const std::string sound = content_of(path);
  for (std::size_t i = 0; i < sound.size(); ++i) {
    std::string damaged = sound;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x20);  // also the case of a letter, also a space
    EXPECT_THROW(parse_manifest(damaged, "m"), Error) << i;
    EXPECT_THROW(parse_manifest(sound.substr(0, i), "m"), Error) << i;
  }
  EXPECT_NO_THROW(parse_manifest(sound, "m"));
  EXPECT_THROW(parse_manifest(sound + "\n", "m"), Error);
}

TEST_F(CheckpointDamage, TruncatedAndLonger) {
  for (const fs::directory_entry& entry : fs::directory_iterator(directory(20))) {
    const std::string sound = content_of(entry.path());
    std::set<std::size_t> sizes = {0, 1, 7, 8, 9, sound.size() / 2, sound.size() - 1};
    if (entry.path().extension() == ".safetensors") {
      std::uint64_t header = 0;
      std::memcpy(&header, sound.data(), 8);
      sizes.insert({8 + header - 1, 8 + header, 8 + header + 1});
    }
    for (const std::size_t size : sizes) {
      overwrite(entry.path(), sound.substr(0, size));
      expect_refused(entry.path().filename(), "size " + std::to_string(size));
    }
    overwrite(entry.path(), sound + '\0');
    expect_refused(entry.path().filename(), "longer");
    overwrite(entry.path(), sound);
  }
}

TEST_F(CheckpointDamage, EachFileMissingFallsBack) {
  for (const std::string file :
       {"manifest.json", "config.cfg", "rank-00000.safetensors", "rank-00002.safetensors"}) {
    fs::rename(directory(20) / file, folder_ / "aside");
    if (file == "manifest.json")
      EXPECT_EQ(Checkpoint::open(folder_.path(), nullptr).step(),
                10);  // without a manifest it is no checkpoint
    else
      expect_fallback(file);
    expect_refused(file);
    fs::create_directory(directory(20) / file);  // and a directory is no substitute
    expect_refused(file);
    fs::remove(directory(20) / file);
    fs::rename(folder_ / "aside", directory(20) / file);
  }
}

TEST_F(CheckpointDamage, SilentDamageFallsBack) {
  const fs::path file = directory(20) / "rank-00001.safetensors";
  std::string content = content_of(file);
  content.back() = static_cast<char>(content.back() ^ 1);  // in the data: only the hash can tell
  overwrite(file, content);
  EXPECT_EQ(Checkpoint::open(folder_.path(), nullptr).step(), 20);
  expect_fallback("rank-00001.safetensors");

  // When all are damaged, every rank has the same error, of the oldest.
  overwrite(directory(10) / "config.cfg", "x");
  const std::vector<std::string> failures = run_ranks(3, [&](Communicator& world) {
    Checkpoint::open_verified(folder_.path(), world, [](const std::string&) {});
  });
  EXPECT_NE(failures[0].find((directory(10) / "config.cfg").string()), std::string::npos) << failures[0];
  EXPECT_EQ(failures[1], failures[0]);
  EXPECT_EQ(failures[2], failures[0]);
}

TEST_F(CheckpointDamage, ConfigIsVerifiedWheneverItIsRead) {
  std::string other = kConfig;
  other[10] = '#';
  overwrite(directory(20) / kConfigName, other);
  const Checkpoint checkpoint = Checkpoint::open(directory(20), nullptr);
  EXPECT_NE(error_of([&] { checkpoint.config(); }).find("config.cfg"), std::string::npos);
}

TEST_F(CheckpointDamage, SwappedAndMixedFiles) {
  const fs::path zero = directory(20) / "rank-00000.safetensors",
                 one = directory(20) / "rank-00001.safetensors";
  const std::string of_zero = content_of(zero), of_one = content_of(one);
  overwrite(zero, of_one);
  expect_refused("rank-00000");
  overwrite(zero, of_zero);

  overwrite(one, content_of(directory(10) / "rank-00001.safetensors"));  // same layout, other step
  expect_refused("rank-00001");
  overwrite(one, of_one);

  const std::string manifest = content_of(directory(20) / kManifestName);
  overwrite(directory(20) / kManifestName, content_of(directory(10) / kManifestName));
  expect_refused("manifest.json", "older manifest");
  overwrite(directory(20) / kManifestName, manifest);

  overwrite(one, "foreign");
  expect_refused("rank-00001");
  overwrite(one, of_one);
  overwrite(directory(20) / "notes.txt", "a file more does no harm");
  EXPECT_EQ(refusal(), "");
}

TEST_F(CheckpointDamage, RenamedCheckpointOpens) {
  fs::rename(directory(20), folder_ / "final");
  EXPECT_EQ(Checkpoint::open(folder_ / "final", nullptr).step(), 20);
  fs::rename(folder_ / "final", folder_ / "step-00000021");
  EXPECT_NE(error_of([&] { Checkpoint::open(folder_ / "step-00000021", nullptr); }).find("step 20"),
            std::string::npos);
}

TEST_F(CheckpointDamage, NothingThere) {
  TemporaryFolder empty;
  for (const fs::path& path : {empty.path(), empty / "absent", directory(20) / kManifestName})
    EXPECT_NE(error_of([&] { Checkpoint::open(path, nullptr); }).find(path.string()), std::string::npos);
}

TEST_F(CheckpointDamage, ForgedManifests) {
  using nlohmann::json;
  const std::string sound = content_of(directory(20) / kManifestName);
  const auto forged = [&](const std::string& reason, const std::function<void(json&)>& change) {
    forge_manifest(change);
    const std::string message = refusal();
    EXPECT_NE(message.find(reason), std::string::npos) << reason << " -> " << message;
    EXPECT_NE(message.find("manifest.json"), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos);
    overwrite(directory(20) / kManifestName, sound);
  };
  forge_manifest([](json&) {});
  EXPECT_EQ(refusal(), "");  // the forger's seal is good: what follows is refused for its content
  overwrite(directory(20) / kManifestName, sound);

  const auto piece = [](json& m, std::size_t tensor, std::size_t i) -> json& {
    return m["tensors"][tensor]["pieces"][i];
  };
  forged("not the manifest", [](json& m) { m["format"] = "another"; });
  forged("format version 2", [](json& m) { m["version"] = 2; });
  forged("'step' is missing", [](json& m) {
    m.erase("step");
    m["other"] = 1;
  });
  forged("fields", [](json& m) { m["other"] = 1; });
  forged("step", [](json& m) { m["step"] = -20; });
  forged("step", [](json& m) { m["step"] = 1e300; });
  forged("step", [](json& m) { m["step"] = 21; });
  forged("state", [](json& m) { m["state"] = json::array(); });
  forged("layout", [](json& m) { m["layout"]["data_parallel"] = 0; });
  forged("layout", [](json& m) { m["layout"]["tensor_parallel"] = 1ull << 40; });
  forged("files", [](json& m) { m["files"] = json::object(); });
  for (const char* name :
       {"../step-00000010/rank-00000.safetensors", "/etc/passwd", "", ".hidden", "a/b", "..", "a\nb"})
    forged("plain file name", [&](json& m) { m["files"][1]["name"] = name; });
  forged("there twice", [](json& m) { m["files"].push_back(m["files"][1]); });
  forged("config.cfg is not among", [](json& m) { m["files"].erase(0); });
  forged("digest", [](json& m) { m["files"][1]["xxh3_128"] = "0"; });
  forged("fields", [](json& m) { m["files"][1]["mode"] = "0777"; });
  forged("there twice", [](json& m) { m["tensors"].push_back(m["tensors"][0]); });
  forged("unknown dtype", [](json& m) { m["tensors"][0]["dtype"] = "F16"; });
  forged("dimensions", [](json& m) { m["tensors"][0]["shape"] = {1, 1, 1, 1, 1, 1}; });
  forged("out of range", [](json& m) { m["tensors"][0]["shape"] = {1ull << 40, 1ull << 40}; });
  forged("out of range", [](json& m) { m["tensors"][0]["shape"] = {0, 1ull << 40, 1ull << 40}; });
  forged("do not cover", [](json& m) { m["tensors"][0]["pieces"].erase(0); });
  forged("do not cover", [](json& m) { m["tensors"][0]["pieces"].push_back(m["tensors"][0]["pieces"][0]); });
  forged("do not cover", [](json& m) { m["tensors"][0]["pieces"] = json::array(); });
  forged("outside of shape", [&](json& m) { piece(m, 0, 0)["offset"][0] = 1ull << 62; });
  forged("outside of shape", [&](json& m) { piece(m, 0, 0)["extent"][0] = 0; });
  forged("outside of shape", [&](json& m) { piece(m, 0, 0)["extent"] = {1}; });
  forged("not a tensor file", [&](json& m) { piece(m, 0, 0)["file"] = "config.cfg"; });
  forged("not a tensor file", [&](json& m) { piece(m, 0, 0)["file"] = "rank-00009.safetensors"; });
  // A kilobyte that stands for a terabyte.
  forged("too small", [&](json& m) {
    m["tensors"][0]["shape"] = {1ull << 38};
    m["tensors"][0]["pieces"] = {
        {{"file", "rank-00000.safetensors"}, {"key", "x"}, {"offset", {0}}, {"extent", {1ull << 38}}}};
  });
  forged("nested deeper", [](json& m) {
    json deep;
    for (int i = 0; i < 100; ++i) deep = json::array({deep});
    m["state"]["deep"] = deep;
  });

  // Sizes that tile and fit, but are not those of the file: found when the tensor is read, even without
  // verify().
  forge_manifest([&](json& m) { piece(m, 0, 0)["key"] = "absent"; });
  const std::string message = error_of([&] { holds_version(Checkpoint::open(directory(20), nullptr), 2); });
  EXPECT_NE(message.find("rank-00000.safetensors: tensor 'absent'"), std::string::npos) << message;
  forge_manifest([&](json& m) { std::swap(piece(m, 0, 0)["key"], piece(m, 2, 0)["key"]); });
  EXPECT_NE(
      error_of([&] { holds_version(Checkpoint::open(directory(20), nullptr), 2); }).find("in the manifest"),
      std::string::npos);
}

TEST_F(CheckpointDamage, DuplicateKeysInAManifest) {
  std::string body = R"({"format": "heddle checkpoint", "format": "heddle checkpoint", "version": 1)";
  EXPECT_NE(error_of([&] { parse_manifest(seal_manifest(body), "m"); }).find("duplicate JSON key 'format'"),
            std::string::npos);
  std::string deep = "{\"a\":";
  for (int i = 0; i < 200000; ++i) deep += '[';
  EXPECT_NE(error_of([&] { parse_manifest(seal_manifest(deep), "m"); }).find("nested deeper"),
            std::string::npos);
}

}  // namespace
}  // namespace heddle::test
