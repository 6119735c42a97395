// The safetensors format: what is written is read back, and every rule of the format is enforced.
#include "trainer/checkpoint/safetensors.h"

#include <sys/stat.h>

#include "tests/trainer/checkpoint_test_support.h"

namespace heddle::test {
namespace {

std::string with_length(const std::string& json, std::uint64_t length) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + json;
}

std::string file_bytes(const std::string& json, const std::string& data) {
  return with_length(json, json.size()) + data;
}

class SafetensorsFile : public testing::Test {
 protected:
  fs::path put(const std::string& bytes) {
    overwrite(folder_ / "x.safetensors", bytes);
    return folder_ / "x.safetensors";
  }
  // Why the file is refused; the message always names it.
  std::string refusal(const std::string& bytes) {
    const fs::path path = put(bytes);
    const std::string message = error_of([&] { SafetensorsReader reader(path); });
    EXPECT_NE(message.find(path.string()), std::string::npos) << message;
    return message;
  }
  void expect_refused(const std::string& json, const std::string& data, const std::string& reason) {
    const std::string message = refusal(file_bytes(json, data));
    EXPECT_NE(message.find(reason), std::string::npos) << json.substr(0, 200) << "\n-> " << message;
  }
  TemporaryFolder folder_;
};

TEST_F(SafetensorsFile, RoundTrip) {
  const SafetensorsHeader planned =
      SafetensorsHeader::plan({{"b", SafetensorsType::BF16, {3}, 0, 0},
                               {"\"quotes\" \xc3\xa4", SafetensorsType::F32, {2, 2}, 0, 0},
                               {"scalar", SafetensorsType::I64, {}, 0, 0},
                               {"none", SafetensorsType::F32, {0, 5}, 0, 0}},
                              {{"format", "pt"}});
  EXPECT_EQ(planned.tensors()[0].name, "scalar");  // widest first, so that every tensor is aligned
  EXPECT_EQ(planned.to_bytes().size() % 8, 0u);
  const fs::path path = folder_ / "y.safetensors";
  const std::string data = "0123456789abcdef0123456789ABCD";
  SafetensorsWriter writer(path, planned);
  writer.append(data.data(), 7);
  writer.append(data.data() + 7, data.size() - 7);
  writer.finish();
  EXPECT_EQ(writer.digest(), digest_of(content_of(path)));
  EXPECT_EQ(writer.bytes(), fs::file_size(path));

  const SafetensorsReader reader(path);
  EXPECT_EQ(reader.header().metadata().at("format"), "pt");
  ASSERT_EQ(reader.header().tensors().size(), 4u);
  const SafetensorsEntry& b = *reader.header().find("b");
  EXPECT_EQ(b.shape, std::vector<std::int64_t>{3});
  char six[6];
  reader.read(b, 0, six, 6);
  EXPECT_EQ(std::string(six, 6), data.substr(24));
  reader.read(b, 2, six, 4);
  EXPECT_EQ(std::string(six, 4), data.substr(26));
  EXPECT_EQ(reader.header().find("c"), nullptr);
  EXPECT_NE(error_of([&] { reader.read(b, 4, six, 3); }).find("'b'"), std::string::npos);
}

// What the Python package safetensors 0.8.0 writes for numpy arrays b float16[3], a float32[2,2], s int64[].
TEST_F(SafetensorsFile, BytesAreThoseOfTheReferenceWriter) {
  const SafetensorsHeader header = SafetensorsHeader::plan({{"b", SafetensorsType::F16, {3}, 0, 0},
                                                            {"a", SafetensorsType::F32, {2, 2}, 0, 0},
                                                            {"s", SafetensorsType::I64, {}, 0, 0}},
                                                           {{"format", "pt"}});
  const std::string expected =
      R"({"__metadata__":{"format":"pt"},"s":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
      R"("a":{"dtype":"F32","shape":[2,2],"data_offsets":[8,24]},)"
      R"("b":{"dtype":"F16","shape":[3],"data_offsets":[24,30]}}     )";
  EXPECT_EQ(header.to_bytes(), with_length(expected, 0xc8));
}

TEST_F(SafetensorsFile, AcceptsWhatTheFormatAllows) {
  const auto accepted = [&](const std::string& json, const std::string& data) {
    return SafetensorsReader(put(file_bytes(json, data))).header();
  };
  EXPECT_TRUE(accepted("{}", "").tensors().empty());
  EXPECT_EQ(accepted(R"(  {"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}   )", "x").tensors().size(),
            1u);
  EXPECT_EQ(accepted(R"({"a":{"data_offsets":[0,0],"dtype":"F32","shape":[0]},
                         "b":{"dtype":"F4","shape":[6],"data_offsets":[0,3]}})",
                     "xyz")
                .tensors()
                .size(),
            2u);
  EXPECT_EQ(accepted(R"({"__metadata__":{"k":"v"}})", "").metadata().at("k"), "v");
}

TEST_F(SafetensorsFile, RefusesBadSizes) {
  for (const std::string& bytes :
       {std::string(), std::string(7, '\0'), with_length("{}", 3), with_length("{}", UINT64_MAX),
        with_length("{}", 100'000'001), with_length("{}", std::uint64_t{1} << 63), std::string(8, '\0')})
    refusal(bytes);
  // A kilobyte that asks for gigabytes, of header or of data.
  EXPECT_NE(refusal(with_length(std::string(1000, ' '), 99'999'999)).find("does not fit"), std::string::npos);
  expect_refused(R"({"a":{"dtype":"F32","shape":[1073741824],"data_offsets":[0,4294967296]}})", "",
                 "cut short");
  expect_refused(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", "", "size");
  expect_refused(R"({"a":{"dtype":"F32","shape":[9223372036854775807,2],"data_offsets":[0,0]}})", "", "size");
  expect_refused(R"({"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,0]}})", "", "range");
  expect_refused(R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", "x", "size");
  expect_refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,3]}})", "xyz", "size");
  expect_refused(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", "x", "hole");
  expect_refused(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "xy", "after the last");
  expect_refused("{}", "x", "after the last");
}

TEST_F(SafetensorsFile, RefusesHolesAndOverlaps) {
  const auto two = [](const char* a, const char* b) {
    return fmt::format(R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":{}}},
                           "b":{{"dtype":"U8","shape":[4],"data_offsets":{}}}}})",
                       a, b);
  };
  EXPECT_NO_THROW(SafetensorsReader(put(file_bytes(two("[4,8]", "[0,4]"), "01234567"))));
  expect_refused(two("[0,4]", "[5,9]"), "012345678", "hole");
  expect_refused(two("[0,4]", "[3,7]"), "0123456", "overlap");
  expect_refused(two("[0,4]", "[0,4]"), "0123", "overlap");  // many tensors on the same bytes
  expect_refused(two("[1,5]", "[5,9]"), "012345678", "hole");
}

TEST_F(SafetensorsFile, RefusesBadStructure) {
  const std::string good = R"("dtype":"U8","shape":[1],"data_offsets":[0,1])";
  expect_refused("{\"a\":{" + good + "},\"a\":{" + good + "}}", "x", "overlap");
  expect_refused(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},
                     "a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
                 "", "twice");
  expect_refused("{\"a\":{" + good + ",\"dtype\":\"U8\"}}", "x", "twice");
  expect_refused("{\"a\":{" + good + ",\"shape\":[1]}}", "x", "twice");
  expect_refused("{\"a\":{" + good + ",\"data_offsets\":[0,1]}}", "x", "twice");
  expect_refused("{\"a\":{" + good + ",\"extra\":1}}", "x", "unknown field 'extra'");
  expect_refused(R"({"__metadata__":{"k":"1","k":"2"}})", "", "twice");
  expect_refused(R"({"__metadata__":{},"__metadata__":{}})", "", "twice");
  expect_refused(R"({"__metadata__":{"k":1}})", "", "a number");
  expect_refused(R"({"__metadata__":{"k":{}}})", "", "an object");
  expect_refused(R"({"__metadata__":[]})", "", "an array");
  expect_refused(R"({"a":{"dtype":"U8","shape":[1]}})", "x", "needs dtype");
  expect_refused(R"({"a":{}})", "", "needs dtype");
  expect_refused(R"({"a":[]})", "", "an array");
  expect_refused(R"({"a":null})", "", "null");
  expect_refused(R"({"a":{"dtype":"F33","shape":[1],"data_offsets":[0,1]}})", "x", "unknown dtype 'F33'");
  expect_refused(R"({"a":{"dtype":8,"shape":[1],"data_offsets":[0,1]}})", "x", "a number");
  expect_refused(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", "x", "negative");
  expect_refused(R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", "x", "fractional");
  expect_refused(R"({"a":{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,1]}})", "x",
                 "too large");
  expect_refused(R"({"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}})", "x", "a string");
  expect_refused(R"({"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", "x", "an array");
  expect_refused(R"({"a":{"dtype":"U8","shape":1,"data_offsets":[0,1]}})", "x", "a number");
  expect_refused(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", "x", "two data_offsets");
  expect_refused(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}})", "x", "more than two");
  expect_refused(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":{}}})", "x", "an object");
  expect_refused(R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})", "x",
                 "dimensions");
}

TEST_F(SafetensorsFile, RefusesBadText) {
  expect_refused("", "", "does not begin");
  expect_refused("[]", "", "does not begin");
  expect_refused("\xef\xbb\xbf{}", "", "does not begin");  // a byte order mark, which the JSON library skips
  expect_refused(std::string("{}\0{}", 5), "", "NUL");     // what follows it the JSON library does not see
  expect_refused("{} {}", "", "not valid JSON");
  expect_refused("{\"a\":}", "", "not valid JSON");
  expect_refused("{,}", "", "not valid JSON");
  expect_refused("{\"\xff\":{}}", "", "not valid JSON");
  expect_refused("{/**/}", "", "not valid JSON");
  expect_refused("{\"a\":{\"shape\":" + std::string(100000, '['), "", "an array");
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "{\"a\":";
  expect_refused(deep, "", "unknown field");
}

TEST_F(SafetensorsFile, RefusesWhatIsNoFile) {
  const fs::path fifo = folder_ / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  for (const fs::path& path : {fifo, folder_.path(), folder_ / "absent", fs::path("/dev/zero")})
    EXPECT_NE(error_of([&] { SafetensorsReader reader(path); }).find(path.string()), std::string::npos);
}

TEST_F(SafetensorsFile, EveryTruncationIsRefused) {
  const std::string whole = file_bytes(
      R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},"b":{"dtype":"U8","shape":[2],"data_offsets":[5,7]}})",
      "0123456");
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) refusal(whole.substr(0, bytes));
  EXPECT_NO_THROW(SafetensorsReader(put(whole)));
}

TEST_F(SafetensorsFile, FileThatShrinksWhileOpenIsAnErrorNotAFault) {
  const SafetensorsReader reader(
      put(file_bytes(R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]}})", "01234")));
  fs::resize_file(reader.path(), 10);
  char data[5];
  EXPECT_NE(error_of([&] { reader.read(reader.header().tensors()[0], 0, data, 5); }).find("it ends at byte"),
            std::string::npos);
}

TEST_F(SafetensorsFile, WriterRefusesWrongAmountsAndNames) {
  const SafetensorsHeader header = SafetensorsHeader::plan({{"a", SafetensorsType::U8, {5}, 0, 0}}, {});
  SafetensorsWriter writer(folder_ / "short.safetensors", header);
  writer.append("abc", 3);
  EXPECT_NE(error_of([&] { writer.finish(); }).find("short.safetensors"), std::string::npos);
  EXPECT_NE(
      error_of([&] { SafetensorsWriter again(folder_ / "short.safetensors", header); }).find("File exists"),
      std::string::npos);
  const SafetensorsEntry twice{"a", SafetensorsType::U8, {5}, 0, 0};
  error_of([&] { SafetensorsHeader::plan({twice, twice}, {}); });
  error_of([&] { SafetensorsHeader::plan({{"\xff", SafetensorsType::U8, {1}, 0, 0}}, {}).to_bytes(); });
}

TEST(Digest, IsXxh3) {
  EXPECT_EQ(digest_of(""), "99aa06d3014798d86001c324468d497f");  // the published value of the empty string
  Digest digest;
  std::string bytes;
  for (int i = 0; i < 5000; ++i) {
    const std::string part(static_cast<std::size_t>(i % 7), static_cast<char>(i));
    digest.update(part.data(), part.size());
    bytes += part;
  }
  EXPECT_EQ(digest.hex(), digest_of(bytes));
}

}  // namespace
}  // namespace heddle::test
