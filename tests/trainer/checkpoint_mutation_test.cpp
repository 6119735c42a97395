// A few thousand mutations of valid files through the functions that the fuzzers call, so that every run of
// the tests exercises them. A failure aborts the program.
#include <algorithm>
#include <cstring>
#include <random>

#include "tests/fuzz/checkpoint_targets.h"
#include "tests/trainer/checkpoint_test_support.h"

namespace heddle::test {
namespace {

// One to four edits: flips, inserted and removed spans, copied spans, interesting numbers.
std::string mutate(std::string bytes, std::mt19937& random) {
  static const std::string kTokens[] = {"18446744073709551615",
                                        "9223372036854775807",
                                        "-1",
                                        "0",
                                        "1e308",
                                        "[",
                                        "]",
                                        "{",
                                        "}",
                                        "\"",
                                        ",",
                                        "null",
                                        "\"dtype\":\"F4\"",
                                        "[0,0]",
                                        "../",
                                        "\n"};
  for (unsigned edits = 1 + random() % 4; edits > 0; --edits) {
    const std::size_t at = random() % (bytes.size() + 1);
    const std::size_t length = std::min<std::size_t>(random() % 40, bytes.size() - at);
    switch (random() % 5) {
      case 0:
        if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
        break;
      case 1: bytes.erase(at, length); break;
      case 2: bytes.insert(at, bytes.substr(random() % (bytes.size() + 1), length)); break;
      case 3: bytes.insert(at, kTokens[random() % std::size(kTokens)]); break;
      case 4: bytes.replace(at, length, kTokens[random() % std::size(kTokens)]); break;
    }
  }
  return bytes;
}

const std::uint8_t* bytes_of(const std::string& text) {
  return reinterpret_cast<const std::uint8_t*>(text.data());
}

TEST(Mutations, SafetensorsFilesAreAcceptedByTheRulesOrRefused) {
  const SafetensorsHeader header = SafetensorsHeader::plan({{"a", SafetensorsType::F32, {2, 3}, 0, 0},
                                                            {"b", SafetensorsType::BF16, {1}, 0, 0},
                                                            {"c", SafetensorsType::F4, {4}, 0, 0},
                                                            {"empty", SafetensorsType::U8, {0}, 0, 0}},
                                                           {{"format", "pt"}});
  const std::string sound = header.to_bytes() + std::string(header.data_bytes(), 'x');
  EXPECT_TRUE(fuzz::safetensors_file(bytes_of(sound), sound.size()));
  std::mt19937 random(1);
  int accepted = 0;
  for (int i = 0; i < 5000; ++i) {
    std::string bytes = mutate(sound, random);
    if (bytes.size() >= 8 && i % 2 == 0) {  // a length that fits, so that the JSON is reached
      const std::uint64_t length = std::min<std::uint64_t>(bytes.size() - 8, header.to_bytes().size() - 8);
      std::memcpy(bytes.data(), &length, 8);
    }
    accepted += fuzz::safetensors_file(bytes_of(bytes), bytes.size());
  }
  EXPECT_GT(accepted, 10);  // flips in the data and in names
  EXPECT_LT(accepted, 3000);
}

TEST(Mutations, ManifestsAreAcceptedByTheRulesOrRefused) {
  TemporaryFolder folder;
  for (const std::string& failure : save(folder.path(), 1, 1)) ASSERT_EQ(failure, "");
  std::string body = content_of(folder / "step-00000001/manifest.json");
  body.resize(body.rfind(",\n\"manifest_xxh3_128\""));
  EXPECT_TRUE(fuzz::manifest(bytes_of(body), body.size()));
  std::mt19937 random(2);
  int accepted = 0;
  for (int i = 0; i < 5000; ++i) {
    const std::string bytes = mutate(body, random);
    accepted += fuzz::manifest(bytes_of(bytes), bytes.size());
  }
  EXPECT_GT(accepted, 10);
  EXPECT_LT(accepted, 3000);
}

}  // namespace
}  // namespace heddle::test
