// Token files of every format: reading, borders between files, and damage of all kinds.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "tests/trainer/data_testing.h"
#include "trainer/data/token_dataset.h"

namespace heddle {
namespace {

using namespace data_testing;
using Ids = std::vector<std::int32_t>;

const std::string kTokenizerHash = "0123456789abcdef0123456789abcdef";

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}
template <typename T>
std::string bytes_of(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

void write_shard(const std::string& path, const Ids& ids, std::int64_t vocabulary,
                 const std::string& hash = kTokenizerHash) {
  ShardWriter writer(path, vocabulary, hash);
  writer.append(ids);
  EXPECT_EQ(writer.commit().tokens, static_cast<std::int64_t>(ids.size()));
}

Ids counting(std::int32_t count, std::int32_t first = 0) {
  Ids ids(static_cast<std::size_t>(count));
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

Ids read_all(const TokenDataset& data) {
  Ids ids(static_cast<std::size_t>(data.size()));
  data.read(0, data.size(), ids.data());
  return ids;
}

// Opens and reads everything.
std::string failure(const std::vector<std::string>& paths, std::int64_t vocabulary = 0) {
  return message_of([&] {
    TokenDataset data = TokenDataset::open(paths);
    if (vocabulary) data.require_vocabulary(vocabulary);
    read_all(data);
  });
}

TEST(Shard, KeepsIdsOfBothWidths) {
  const TemporaryFolder folder;
  for (const std::int64_t vocabulary : {100, 65536, 65537, 200000}) {
    const Ids ids{0, 99, 5, static_cast<std::int32_t>(vocabulary - 1)};
    write_shard(folder / "a.heddle", ids, vocabulary);
    EXPECT_EQ(std::filesystem::file_size(folder / "a.heddle"), 128u + (vocabulary <= 65536 ? 8 : 16));
    const TokenDataset data = TokenDataset::open({folder / "a.heddle"});
    EXPECT_EQ(read_all(data), ids);
    EXPECT_EQ(data.vocabulary_size(), vocabulary);
    EXPECT_EQ(data.tokenizer_hash(), kTokenizerHash);
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "a.heddle.tmp"));
}

TEST(Shard, LongShardIsReadBack) {
  const TemporaryFolder folder;
  const Ids ids = counting(700000);
  write_shard(folder / "a.heddle", ids, 700000);
  EXPECT_EQ(read_all(TokenDataset::open({folder / "a.heddle"})), ids);
}

TEST(Shard, RefusesIdsOutsideTheVocabularyAndLeavesNothing) {
  const TemporaryFolder folder;
  for (const std::int32_t id : {-1, 100}) {
    EXPECT_NE(message_of([&] {
                ShardWriter writer(folder / "a.heddle", 100, kTokenizerHash);
                writer.append(Ids{1, id});
              }).find("outside the vocabulary"),
              std::string::npos);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Shard, EveryTruncationIsFound) {
  const TemporaryFolder folder;
  write_shard(folder / "a.heddle", counting(20), 100);
  const std::string whole = read_bytes(folder / "a.heddle");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const std::string path = folder.write("b.heddle", whole.substr(0, length));
    EXPECT_NE(failure({path}).find(path), std::string::npos) << length;
  }
  EXPECT_NE(failure({folder.write("b.heddle", whole + "x")}), "");
  EXPECT_NE(failure({folder.write("b.heddle", whole + "xx")}), "");
}

TEST(Shard, FlippedBitsAreFoundInEveryByte) {
  const TemporaryFolder folder;
  write_shard(folder / "a.heddle", counting(20), 100);
  const std::string whole = read_bytes(folder / "a.heddle");
  for (std::size_t bit = 0; bit < 8 * whole.size(); bit += 7) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    EXPECT_NE(failure({folder.write("b.heddle", damaged)}), "") << "bit " << bit;
  }
}

// A header with a valid hash and numbers that lie.
TEST(Shard, ForgedHeadersAreRefused) {
  const TemporaryFolder folder;
  write_shard(folder / "a.heddle", counting(20), 100);
  const std::string whole = read_bytes(folder / "a.heddle");
  const auto forged = [&](std::size_t offset, const std::string& value) {
    std::string bytes = whole;
    bytes.replace(offset, value.size(), value);
    bytes.replace(96, 32, digest_of(std::string_view(bytes).substr(0, 96)));
    return failure({folder.write("b.heddle", bytes)});
  };
  EXPECT_EQ(forged(0, ""), "");
  EXPECT_NE(forged(16, bytes_of(std::uint64_t{21})).find("truncated"), std::string::npos);
  EXPECT_NE(forged(16, bytes_of(std::uint64_t{1} << 63)), "");
  EXPECT_NE(forged(16, bytes_of((std::uint64_t{1} << 63) + 20)), "");
  EXPECT_NE(forged(12, bytes_of(std::uint32_t{0})), "");
  EXPECT_NE(forged(12, bytes_of(std::uint32_t{3})), "");
  EXPECT_NE(forged(8, bytes_of(std::uint32_t{2})).find("version 2"), std::string::npos);
  EXPECT_NE(forged(24, bytes_of(std::uint64_t{10})).find("has the id 10"), std::string::npos);
  EXPECT_NE(forged(24, bytes_of(UINT64_MAX)), "");
}

TEST(TokenDataset, ReadsAcrossFiles) {
  const TemporaryFolder folder;
  write_shard(folder / "0", counting(7), 1000);
  write_shard(folder / "1", {}, 1000);
  write_shard(folder / "2", counting(1, 7), 1000);
  write_shard(folder / "3", counting(92, 8), 1000);
  const TokenDataset data = TokenDataset::open({folder / "0", folder / "1", folder / "2", folder / "3"});
  ASSERT_EQ(data.size(), 100);
  for (std::int32_t begin = 0; begin <= 100; ++begin) {
    for (std::int32_t count = 0; begin + count <= 100; ++count) {
      Ids ids(static_cast<std::size_t>(count));
      data.read(begin, count, ids.data());
      ASSERT_EQ(ids, counting(count, begin));
    }
  }
  Ids room(200);
  EXPECT_NE(message_of([&] { data.read(95, 6, room.data()); }), "");
  EXPECT_NE(message_of([&] { data.read(-1, 2, room.data()); }), "");
  EXPECT_NE(message_of([&] { data.read(INT64_MAX, 1, room.data()); }), "");
  EXPECT_EQ(TokenDataset::open({}).size(), 0);
}

TEST(TokenDataset, RefusesAVocabularyLargerThanTheModels) {
  const TemporaryFolder folder;
  write_shard(folder / "a", counting(7), 1000);
  TokenDataset data = TokenDataset::open({folder / "a"});
  EXPECT_NE(message_of([&] { data.require_vocabulary(999); }).find("1000"), std::string::npos);
  EXPECT_EQ(message_of([&] { data.require_vocabulary(1024); }), "");
}

TEST(TokenDataset, RefusesShardsOfDifferentTokenizers) {
  const TemporaryFolder folder;
  write_shard(folder / "a", counting(7), 1000);
  write_shard(folder / "b", counting(7), 1000, std::string(32, 'f'));
  write_shard(folder / "c", counting(7), 1001);
  EXPECT_NE(failure({folder / "a", folder / "b"}).find("different tokenizers"), std::string::npos);
  EXPECT_NE(failure({folder / "a", folder / "c"}).find("different tokenizers"), std::string::npos);
}

TEST(TokenDataset, NoticesAFileThatShrinksWhileInUse) {
  const TemporaryFolder folder;
  write_shard(folder / "a", counting(100), 1000);
  const TokenDataset data = TokenDataset::open({folder / "a"});
  std::filesystem::resize_file(folder / "a", 150);
  EXPECT_NE(message_of([&] { read_all(data); }).find("/a"), std::string::npos);
}

std::string llmc(std::int32_t magic, std::int32_t version, std::int32_t count, const std::string& payload) {
  std::vector<std::int32_t> header(256);
  header[0] = magic;
  header[1] = version;
  header[2] = count;
  return bytes_of(header) + payload;
}

TEST(Llmc, ReadsBothFormats) {
  const TemporaryFolder folder;
  const std::string gpt2 =
      folder.write("gpt2.bin", llmc(20240520, 1, 3, bytes_of(std::vector<std::uint16_t>{1, 50256, 65535})));
  const std::string llama =
      folder.write("llama.bin", llmc(20240801, 7, 2, bytes_of(std::vector<std::uint32_t>{128000, 7})));
  EXPECT_EQ(read_all(TokenDataset::open({gpt2})), (Ids{1, 50256, 65535}));
  EXPECT_EQ(read_all(TokenDataset::open({llama})), (Ids{128000, 7}));
  EXPECT_EQ(read_all(TokenDataset::open({llama, gpt2})), (Ids{128000, 7, 1, 50256, 65535}));
  EXPECT_EQ(failure({gpt2}, 65536), "");
  EXPECT_NE(failure({gpt2}, 50257).find("gpt2.bin: token 2 has the id 65535"), std::string::npos);
}

TEST(Llmc, RefusesDamage) {
  const TemporaryFolder folder;
  const auto of = [&](const std::string& bytes) { return failure({folder.write("a.bin", bytes)}); };
  const std::string good = llmc(20240520, 1, 3, "aabbcc");
  EXPECT_EQ(of(good), "");
  for (const std::size_t length : {0, 3, 4, 11, 1000, 1023, 1024, 1026, 1029})
    EXPECT_NE(of(good.substr(0, length)), "") << length;
  EXPECT_NE(of(good + "d"), "");
  EXPECT_NE(of(llmc(20240520, 7, 3, "aabbcc")).find("version 7"), std::string::npos);
  EXPECT_NE(of(llmc(20240801, 1, 3, "aaaabbbbcccc")), "");
  EXPECT_NE(of(llmc(20240522, 1, 3, "aabbcc")), "");
  EXPECT_NE(of(llmc(20240520, 1, -1, "aabbcc")), "");
  EXPECT_NE(of(llmc(20240801, 7, 1, std::string("\xFF\xFF\xFF\xFF", 4))).find("4294967295"),
            std::string::npos);
}

struct Megatron {
  std::uint64_t version = 1;
  std::uint8_t type = 8;
  std::uint64_t sequences = 2, documents = 3;
  std::vector<std::int32_t> lengths{3, 2};
  std::vector<std::int64_t> offsets{0, 6};
  std::vector<std::int64_t> document_starts{0, 1, 2};
  std::string modes, data = bytes_of(std::vector<std::uint16_t>{10, 11, 12, 13, 65000});

  std::string index() const {
    return std::string("MMIDIDX\0\0", 9) + bytes_of(version) + bytes_of(type) + bytes_of(sequences) +
           bytes_of(documents) + bytes_of(lengths) + bytes_of(offsets) + bytes_of(document_starts) + modes;
  }
  std::string write(const TemporaryFolder& folder) const {
    folder.write("m.idx", index());
    return folder.write("m.bin", data);
  }
};

TEST(Megatron, ReadsEveryIntegerType) {
  const TemporaryFolder folder;
  Megatron file;
  EXPECT_EQ(read_all(TokenDataset::open({file.write(folder)})), (Ids{10, 11, 12, 13, 65000}));
  EXPECT_EQ(read_all(TokenDataset::open({folder / "m.idx"})), (Ids{10, 11, 12, 13, 65000}));
  const auto read_as = [&]<typename T>(std::uint8_t type, T) {
    file.type = type;
    file.offsets = {0, 3 * sizeof(T)};
    file.data = bytes_of(std::vector<T>{1, 2, 3, 4, 100});
    return read_all(TokenDataset::open({file.write(folder)}));
  };
  const Ids expected{1, 2, 3, 4, 100};
  EXPECT_EQ(read_as(1, std::uint8_t{}), expected);
  EXPECT_EQ(read_as(2, std::int8_t{}), expected);
  EXPECT_EQ(read_as(3, std::int16_t{}), expected);
  EXPECT_EQ(read_as(4, std::int32_t{}), expected);
  EXPECT_EQ(read_as(5, std::int64_t{}), expected);
  EXPECT_EQ(read_as(8, std::uint16_t{}), expected);
  file.modes = std::string("\0\1", 2);
  EXPECT_EQ(read_as(8, std::uint16_t{}), expected);
  file.data = bytes_of(std::vector<std::int64_t>{1, 2, -3, 4, std::int64_t{1} << 40});
  file.type = 5;
  file.offsets = {0, 24};
  EXPECT_NE(failure({file.write(folder)}).find("id -3"), std::string::npos);
}

TEST(Megatron, RefusesDamage) {
  const TemporaryFolder folder;
  const Megatron good;
  const auto of = [&](auto change) {
    Megatron file;
    change(file);
    return failure({file.write(folder)});
  };
  EXPECT_EQ(of([](Megatron&) {}), "");
  EXPECT_NE(of([](Megatron& m) { m.version = 2; }).find("version 2"), std::string::npos);
  for (const int type : {0, 6, 7, 9, 255})
    EXPECT_NE(of([&](Megatron& m) { m.type = static_cast<std::uint8_t>(type); }), "");
  EXPECT_NE(of([](Megatron& m) { m.sequences = 3; }), "");
  EXPECT_NE(of([](Megatron& m) { m.sequences = UINT64_MAX; }), "");
  EXPECT_NE(of([](Megatron& m) { m.sequences = UINT64_MAX / 12 + 1; }), "");
  EXPECT_NE(of([](Megatron& m) { m.documents = 4; }), "");
  EXPECT_NE(of([](Megatron& m) { m.documents = std::uint64_t{1} << 61; }), "");
  EXPECT_NE(of([](Megatron& m) { m.lengths[1] = 3; }).find("m.bin is truncated"), std::string::npos);
  EXPECT_NE(of([](Megatron& m) { m.lengths[1] = 1; }), "");
  EXPECT_NE(of([](Megatron& m) { m.lengths[0] = -1; }), "");
  EXPECT_NE(of([](Megatron& m) { m.lengths[0] = INT32_MAX; }), "");
  EXPECT_NE(of([](Megatron& m) { m.offsets[1] = 4; }).find("does not follow"), std::string::npos);
  EXPECT_NE(of([](Megatron& m) { m.offsets[0] = -6; }), "");
  EXPECT_NE(of([](Megatron& m) { m.data.pop_back(); }), "");
  EXPECT_NE(of([](Megatron& m) { m.modes = "x"; }), "");
  good.write(folder);
  for (std::size_t length = 0; length < good.index().size(); ++length) {
    folder.write("m.idx", good.index().substr(0, length));
    EXPECT_NE(failure({folder / "m.bin"}).find("m.idx"), std::string::npos) << length;
  }
}

TEST(TokenFile, NamesWhatItIsNot) {
  const TemporaryFolder folder;
  EXPECT_NE(failure({folder.write("a.bin", std::string(4000, 'x'))}).find("a.bin is no heddle token shard"),
            std::string::npos);
  EXPECT_NE(failure({folder.write("empty", "")}), "");
  EXPECT_NE(failure({folder / "absent"}).find("absent"), std::string::npos);
  EXPECT_NE(failure({folder / "absent.idx"}).find("absent.idx"), std::string::npos);
  EXPECT_NE(failure({folder.path()}), "");
}

}  // namespace
}  // namespace heddle
