// Lines of text files, wherever the reads end.
#include <gtest/gtest.h>

#include "tests/trainer/data_testing.h"
#include "trainer/data/line_reader.h"

namespace heddle {
namespace {

using namespace data_testing;

std::vector<std::string> lines_of(const std::string& path) {
  LineReader reader(path);
  std::vector<std::string> lines;
  std::string_view line;
  while (reader.next_utf8(line)) lines.emplace_back(line);
  EXPECT_EQ(reader.number(), static_cast<std::int64_t>(lines.size()));
  EXPECT_FALSE(reader.next_utf8(line));
  return lines;
}

using Strings = std::vector<std::string>;

TEST(LineReader, GivesLinesWithoutLineFeeds) {
  const TemporaryFolder folder;
  EXPECT_EQ(lines_of(folder.write("a", "")), Strings{});
  EXPECT_EQ(lines_of(folder.write("a", "\n")), Strings{""});
  EXPECT_EQ(lines_of(folder.write("a", "x")), Strings{"x"});
  EXPECT_EQ(lines_of(folder.write("a", "x\r\n\n\xC3\xA9\u2028y\n")), (Strings{"x\r", "", "\xC3\xA9\u2028y"}));
  EXPECT_EQ(lines_of(folder.write("a.gz", gzip("x\ny"))), (Strings{"x", "y"}));
  EXPECT_EQ(lines_of(folder.write("a.zst", zstd("x\ny\n"))), (Strings{"x", "y"}));
}

TEST(LineReader, LongLinesSurviveTheEndsOfReads) {
  const TemporaryFolder folder;
  Random random(2);
  Strings lines;
  std::string text;
  for (int i = 0; i < 60; ++i) {
    lines.emplace_back(random.below(3) ? random.below(100) : random.below(200000),
                       static_cast<char>('a' + i % 26));
    text += lines.back() + "\n";
  }
  EXPECT_EQ(lines_of(folder.write("a", text)), lines);
}

TEST(LineReader, SaysWhichLineIsWrong) {
  const TemporaryFolder folder;
  const auto failure = [&](const std::string& text) {
    return message_of([&] { lines_of(folder.write("a", text)); });
  };
  EXPECT_NE(failure("fine\nx\xFFy\n").find("/a:2: byte 1"), std::string::npos);
  const std::string longest(LineReader::kMaxLineBytes, 'x');
  EXPECT_EQ(failure(longest + "\n" + longest), "");
  EXPECT_NE(failure("fine\n" + longest + "x").find("/a:2: the line is longer than"), std::string::npos);
  EXPECT_NE(failure("fine\n" + longest + "x\n").find("/a:2: the line is longer than"), std::string::npos);
}

}  // namespace
}  // namespace heddle
