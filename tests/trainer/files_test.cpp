// trainer/files.h and trainer/strict_json.h.
#include "trainer/files.h"

#include "tests/trainer/checkpoint_test_support.h"
#include "trainer/strict_json.h"

namespace heddle::test {
namespace {

TEST(Files, AtomicWriteReplacesOrLeaves) {
  TemporaryFolder folder;
  const fs::path path = folder / "small.json";
  write_file_atomically(path, "old");
  overwrite(folder / "small.json.tmp", "left by a crash");
  write_file_atomically(path, "new");
  EXPECT_EQ(content_of(path), "new");
  for (int k = 1;; ++k) {  // every call fails once
    int calls = 0;
    set_file_call_hook([&](std::string_view, const fs::path&) { return ++calls == k ? ENOSPC : 0; });
    std::string message;
    try {
      write_file_atomically(path, "newer");
    } catch (const Error& reason) {
      message = reason.what();
    }
    set_file_call_hook(nullptr);
    if (calls < k) break;
    EXPECT_NE(message.find(folder.path().string()), std::string::npos) << message;
    // Only when the rename happened and the directory could not be synced is the new content there.
    EXPECT_EQ(content_of(path), message.find("fsync directory") != std::string::npos ? "newer" : "new")
        << message;
    EXPECT_FALSE(fs::exists(folder / "small.json.tmp"));
    write_file_atomically(path, "new");
  }
  EXPECT_EQ(content_of(path), "newer");
}

TEST(Files, ReadsAreExactAndBounded) {
  TemporaryFolder folder;
  overwrite(folder / "x", "0123456789");
  EXPECT_EQ(read_small_file(folder / "x", 10), "0123456789");
  EXPECT_NE(error_of([&] { read_small_file(folder / "x", 9); }).find("10 bytes"), std::string::npos);
  const File file = File::open(folder / "x");
  char data[4];
  file.read_at(6, data, 4);
  EXPECT_EQ(std::string(data, 4), "6789");
  EXPECT_NE(error_of([&] { file.read_at(7, data, 4); }).find("1 more were expected"), std::string::npos);
  EXPECT_NE(error_of([&] { File::create(folder / "x"); }).find("File exists"), std::string::npos);
  EXPECT_NE(error_of([&] { File::open(folder / "y"); }).find("No such file"), std::string::npos);
  EXPECT_NE(error_of([&] { make_directory(folder / "a/b"); }).find("a/b"), std::string::npos);
}

TEST(Files, MessagesStayOnOneLine) {
  EXPECT_EQ(printable("a\nb\x7f"), "'a\\x0ab\\x7f'");
  EXPECT_EQ(printable(std::string(500, 'x')).size(), 125u);
}

TEST(StrictJson, RefusesWhatTheLibraryWouldHide) {
  EXPECT_EQ(parse_strict_json(R"( {"a": [1, {"b": 2}], "c": {"b": 3}} )", "x")["c"]["b"], 3);
  for (const std::string& text :
       {std::string(R"({"a": 1, "a": 2})"), std::string(R"({"x": {"a": 1, "b": 1, "a": 2}})"),
        std::string(R"([{"a": 1}])"), std::string("\xef\xbb\xbf{}"), std::string("{}\0", 3),
        std::string("{} x"), std::string("{\"a\": NaN}"), std::string("{\"a\": \"\xff\"}"), std::string(),
        std::string("  "), std::string(R"({"a\u0062": 1, "ab": 2})")})
    EXPECT_NE(error_of([&] { parse_strict_json(text, "file.json"); }).find("file.json: "), std::string::npos)
        << text;
  EXPECT_NO_THROW(parse_strict_json(R"({"a": [[]]})", "x", 3));
  EXPECT_THROW(parse_strict_json(R"({"a": [[[]]]})", "x", 3), Error);
}

}  // namespace
}  // namespace heddle::test
