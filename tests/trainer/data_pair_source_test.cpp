// Parallel text: what a line is, what is left out, that the pairing never shifts, and what is refused.
#include <gtest/gtest.h>

#include "tests/trainer/data_testing.h"
#include "trainer/data/line_reader.h"
#include "trainer/data/pair_source.h"

namespace heddle {
namespace {

using namespace data_testing;

using Pairs = std::vector<std::pair<std::string, std::string>>;

class PairSourceTest : public testing::Test {
 protected:
  Pairs read(const PairFiles& files) {
    PairSource source(files);
    Pairs pairs;
    for (TextPair pair; source.next(pair);) pairs.emplace_back(pair.source, pair.target);
    read_ = source.pairs_read();
    empty_ = source.empty_pairs();
    return pairs;
  }
  Pairs read_two(const std::string& source, const std::string& target) {
    return read({{folder_.write("a.en", source)}, {folder_.write("a.de", target)}, {}});
  }
  Pairs read_tabs(const std::string& text) { return read({{}, {}, {folder_.write("a.tsv", text)}}); }
  std::string failure(const PairFiles& files) {
    return message_of([&] { read(files); });
  }

  TemporaryFolder folder_;
  std::int64_t read_ = 0, empty_ = 0;
};

TEST_F(PairSourceTest, LineIBelongsToLineI) {
  EXPECT_EQ(read_two("one\ntwo\n", "eins\nzwei\n"), (Pairs{{"one", "eins"}, {"two", "zwei"}}));
  EXPECT_EQ(read_tabs("one\teins\ntwo\tzwei\n"), (Pairs{{"one", "eins"}, {"two", "zwei"}}));
  EXPECT_EQ(read_two("", ""), Pairs{});
}

TEST_F(PairSourceTest, FilesFollowEachOther) {
  const PairFiles files{{folder_.write("a.en", "1\n2\n"), folder_.write("b.en", "3\n")},
                        {folder_.write("a.de", "I\nII\n"), folder_.write("b.de", "III\n")},
                        {folder_.write("c.tsv", "4\tIV"), folder_.write("d.tsv", "5\tV\n")}};
  EXPECT_EQ(read(files), (Pairs{{"1", "I"}, {"2", "II"}, {"3", "III"}, {"4", "IV"}, {"5", "V"}}));
  EXPECT_EQ(files.all().size(), 6u);
}

TEST_F(PairSourceTest, TheLastLineNeedsNoLineEnd) {
  EXPECT_EQ(read_two("one\ntwo", "eins\nzwei\n"), (Pairs{{"one", "eins"}, {"two", "zwei"}}));
  EXPECT_EQ(read_two("one\n", "eins"), (Pairs{{"one", "eins"}}));
}

TEST_F(PairSourceTest, OnlyALineFeedEndsALine) {
  for (const std::string separator : {"\xE2\x80\xA8", "\xE2\x80\xA9", "\xC2\x85", "\f", "\v", "\x1C", "\r"}) {
    EXPECT_EQ(read_two("a" + separator + "b\nc\n", "x\ny\n"),
              (Pairs{{"a" + separator + "b", "x"}, {"c", "y"}}));
    EXPECT_EQ(read_tabs("a" + separator + "b\tx\nc\ty\n"), (Pairs{{"a" + separator + "b", "x"}, {"c", "y"}}));
  }
  EXPECT_EQ(read_two(std::string("a\0b\n", 4), "x\n"), (Pairs{{std::string("a\0b", 3), "x"}}));
}

TEST_F(PairSourceTest, CarriageReturnAndByteOrderMarkAreRemoved) {
  EXPECT_EQ(read_two("\xEF\xBB\xBFone\r\ntwo\r", "eins\nzwei\r\n"),
            (Pairs{{"one", "eins"}, {"two", "zwei"}}));
  EXPECT_EQ(read_tabs("\xEF\xBB\xBFone\teins\r\n"), (Pairs{{"one", "eins"}}));
  // Once, and only where they have no other meaning.
  EXPECT_EQ(read_two("\xEF\xBB\xBF\xEF\xBB\xBFone\r\r\n", "x\n"), (Pairs{{"\xEF\xBB\xBFone\r", "x"}}));
  EXPECT_EQ(read_two("one\n\xEF\xBB\xBFtwo\n", "x\ny\n"), (Pairs{{"one", "x"}, {"\xEF\xBB\xBFtwo", "y"}}));
  // Of every file.
  const PairFiles files{{folder_.write("a.en", "1\n"), folder_.write("b.en",
                                                                     "\xEF\xBB\xBF"
                                                                     "2\n")},
                        {folder_.write("a.de", "I\n"), folder_.write("b.de",
                                                                     "\xEF\xBB\xBF"
                                                                     "II\n")},
                        {}};
  EXPECT_EQ(read(files), (Pairs{{"1", "I"}, {"2", "II"}}));
}

TEST_F(PairSourceTest, AllElseIsLeftAsItIs) {
  EXPECT_EQ(read_two("  a  b\t\n", "x\xC2\xA0\n"), (Pairs{{"  a  b\t", "x\xC2\xA0"}}));
}

TEST_F(PairSourceTest, PairsWithAnEmptySideAreLeftOutAndCounted) {
  EXPECT_EQ(read_two("a\n\nc\nd\n \t\ne\n", "1\n2\n\xE3\x80\x80\xC2\xA0\n4\n\n6\n"),
            (Pairs{{"a", "1"}, {"d", "4"}, {"e", "6"}}));
  EXPECT_EQ(read_, 6);
  EXPECT_EQ(empty_, 3);
  EXPECT_EQ(read_tabs("a\t1\n\t\n\t2\nc\t \nd\t4\n"), (Pairs{{"a", "1"}, {"d", "4"}}));
  EXPECT_EQ(empty_, 3);
}

TEST_F(PairSourceTest, CompressedFilesAreTheSame) {
  std::string source, target;
  Pairs expected;
  for (int i = 0; i < 50000; ++i) {
    expected.emplace_back("source " + std::to_string(i), "target " + std::to_string(i));
    source += expected.back().first + "\n";
    target += expected.back().second + "\n";
  }
  EXPECT_EQ(read({{folder_.write("a.en.gz", gzip(source))}, {folder_.write("a.de.zst", zstd(target))}, {}}),
            expected);
  EXPECT_EQ(read({{folder_.write("a.en", source)}, {folder_.write("a.de.gz", gzip(target))}, {}}), expected);
}

// Numbered lines, some of them blank on either side: what comes out is paired by number whatever is left out.
TEST_F(PairSourceTest, PairingNeverShifts) {
  Random random(5);
  const std::vector<std::string> blanks{"", " ", "\t", "\r", "\xE2\x80\xA8", "\xC2\x85", "\f "};
  for (int round = 0; round < 100; ++round) {
    std::string source, target;
    Pairs expected;
    const std::uint64_t lines = random.below(200);
    for (std::uint64_t i = 0; i < lines; ++i) {
      const auto side = [&](const char* name) {
        if (random.below(4) == 0) return blanks[random.below(blanks.size())];
        return name + std::to_string(i) + blanks[random.below(3) == 0 ? 4 + random.below(3) : 0];
      };
      const std::string s = side("s"), t = side("t");
      source += s + (random.below(3) == 0 ? "\r\n" : "\n");
      target += t + (random.below(3) == 0 ? "\r\n" : "\n");
      if (s[0] == 's' && t[0] == 't') expected.emplace_back(s, t);
    }
    ASSERT_EQ(read_two(source, target), expected) << "round " << round;
    ASSERT_EQ(read_, static_cast<std::int64_t>(lines));
    ASSERT_EQ(empty_ + static_cast<std::int64_t>(expected.size()), read_);
  }
}

TEST_F(PairSourceTest, OriginNamesFileAndLine) {
  PairSource source({{folder_.write("a.en", "\nb\n")}, {folder_.write("a.de", "1\n2\n")}, {}});
  TextPair pair;
  ASSERT_TRUE(source.next(pair));
  EXPECT_EQ(pair.source_origin, folder_ / "a.en:2");
  EXPECT_EQ(pair.target_origin, folder_ / "a.de:2");
}

TEST_F(PairSourceTest, RefusesUnequalNumbersOfLines) {
  const std::string two = folder_.write("two", "1\n2\n"), three = folder_.write("three", "1\n2\n3"),
                    none = folder_.write("none", "");
  EXPECT_NE(failure({{two}, {three}, {}}).find("two has 2 lines and " + three + " has 3"), std::string::npos)
      << failure({{two}, {three}, {}});
  EXPECT_NE(failure({{three}, {two}, {}}).find("three has 3 lines and " + two + " has 2"), std::string::npos);
  EXPECT_NE(failure({{none}, {two}, {}}).find("none has 0 lines"), std::string::npos);
  // Each two files by themselves, not their sums.
  EXPECT_NE(failure({{two, three}, {three, two}, {}}).find("two has 2 lines"), std::string::npos);
}

TEST_F(PairSourceTest, RefusesUnequalNumbersOfFiles) {
  const std::string file = folder_.write("a", "1\n");
  EXPECT_NE(failure({{file, file}, {file}, {}}).find("2 source and 1 target"), std::string::npos);
  EXPECT_NE(failure({{file}, {}, {}}).find("1 source and 0 target"), std::string::npos);
}

TEST_F(PairSourceTest, RefusesLinesWithoutExactlyOneTab) {
  const auto tabs = [&](const std::string& text) {
    return failure({{}, {}, {folder_.write("a.tsv", text)}});
  };
  EXPECT_NE(tabs("a\tb\nc\n").find("a.tsv:2: the line has no tab"), std::string::npos);
  EXPECT_NE(tabs("a\tb\n\nc\td\n").find("a.tsv:2: the line has no tab"), std::string::npos);
  EXPECT_NE(tabs("a\tb\tc\n").find("a.tsv:1: the line has more than one tab"), std::string::npos);
  EXPECT_NE(tabs("a\tb\nc\td\t\n").find("a.tsv:2: the line has more than one tab"), std::string::npos);
}

TEST_F(PairSourceTest, RefusesWhatIsNotUtf8) {
  const std::string good = folder_.write("good", "1\n2\n"), bad = folder_.write("bad",
                                                                                "ok\nab\xFF"
                                                                                "c\n");
  for (const std::string& message : {failure({{good}, {bad}, {}}), failure({{bad}, {good}, {}})})
    EXPECT_NE(message.find("bad:2: byte 2 of the line (0xff) is not UTF-8"), std::string::npos) << message;
  EXPECT_NE(failure({{}, {}, {folder_.write("a.tsv", "a\t\xC3\n")}}).find("a.tsv:1: byte 2"),
            std::string::npos);
}

TEST_F(PairSourceTest, RefusesEndlessLines) {
  const std::string good = folder_.write("good", "1\n2\n"), longest(std::size_t{1} << 20, 'x');
  EXPECT_EQ(read({{good}, {folder_.write("fits", longest + "\n2\n")}, {}}).size(), 2u);
  for (const std::string& text :
       {"1\n" + longest + "x\n", "1\n" + longest + "x", "1\n" + longest + longest}) {
    EXPECT_NE(failure({{good}, {folder_.write("long", text)}, {}}).find("long:2: the line is longer"),
              std::string::npos);
  }
}

TEST_F(PairSourceTest, RefusesMissingAndDamagedFiles) {
  const std::string good = folder_.write("good", "1\n");
  EXPECT_NE(failure({{good}, {folder_ / "absent"}, {}}).find("absent"), std::string::npos);
  EXPECT_NE(failure({{good}, {folder_.path()}, {}}).find(folder_.path()), std::string::npos);
  EXPECT_NE(failure({{folder_.write("cut.gz", gzip("1\n").substr(0, 12))}, {good}, {}}).find("cut.gz"),
            std::string::npos);
}

// Line ends at every place relative to the blocks in which files are read.
TEST(LineReader, BlocksDoNotMatter) {
  const TemporaryFolder folder;
  constexpr std::size_t kBlock = 1 << 18;
  for (const std::size_t first : {kBlock - 2, kBlock - 1, kBlock, kBlock + 1, 3 * kBlock - 1}) {
    LineReader lines(folder.write("a", std::string(first, 'a') + "\n\nb\n" + std::string(kBlock, 'c')),
                     4 * kBlock);
    std::vector<std::size_t> sizes;
    for (std::string_view line; lines.next(line);) sizes.push_back(line.size());
    EXPECT_EQ(sizes, (std::vector<std::size_t>{first, 0, 1, kBlock}));
    EXPECT_EQ(lines.number(), 4);
    EXPECT_EQ(lines.stored_bytes_read(), first + kBlock + 4);
  }
}

// A line that is too long is not read to its end first: it may have none that memory could hold.
TEST(LineReader, TooLongALineIsNotReadWhole) {
  const TemporaryFolder folder;
  LineReader lines(folder.write("a", "short\n" + std::string(std::size_t{1} << 23, 'x')), 1000);
  std::string_view line;
  EXPECT_TRUE(lines.next(line));
  EXPECT_NE(message_of([&] { lines.next(line); }).find("a:2: the line is longer than 1000 bytes"),
            std::string::npos);
  EXPECT_LE(lines.stored_bytes_read(), std::uint64_t{1} << 20);
}

}  // namespace
}  // namespace heddle
