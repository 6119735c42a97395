#include <gtest/gtest.h>

#include <bit>
#include <cstring>

#include "tests/trainer/test_files.h"
#include "trainer/metrics/event_file.h"
#include "trainer/metrics/metrics.h"

namespace heddle {
namespace {

// A reader of its own for what the writer writes: record framing, then protocol-buffer fields.
struct ReadEvent {
  double wall_time = 0;
  std::int64_t step = 0;
  std::string file_version;
  bool is_restart = false;
  std::vector<std::pair<std::string, float>> scalars;
};

template <typename T>
T take(std::string_view& bytes) {
  T value{};
  if (bytes.size() < sizeof value) throw std::runtime_error("torn");
  std::memcpy(&value, bytes.data(), sizeof value);
  bytes.remove_prefix(sizeof value);
  return value;
}

std::uint64_t take_varint(std::string_view& bytes) {
  std::uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = take<std::uint8_t>(bytes);
    value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
}

std::string_view take_bytes(std::string_view& bytes) {
  const std::uint64_t size = take_varint(bytes);
  const std::string_view result = bytes.substr(0, size);
  bytes.remove_prefix(size);
  return result;
}

std::pair<std::string, float> read_value(std::string_view value) {
  EXPECT_EQ(take<char>(value), 0x0a);  // field 1, bytes
  const std::string tag(take_bytes(value));
  EXPECT_EQ(take<char>(value), 0x15);  // field 2, fixed32
  const auto number = take<float>(value);
  EXPECT_TRUE(value.empty());
  return {tag, number};
}

ReadEvent read_event(std::string_view data) {
  ReadEvent event;
  while (!data.empty()) {
    switch (take_varint(data)) {
      case 1 << 3 | 1:
        event.wall_time = take<double>(data);
        break;
      case 2 << 3 | 0:
        event.step = static_cast<std::int64_t>(take_varint(data));
        break;
      case 3 << 3 | 2:
        event.file_version = take_bytes(data);
        break;
      case 5 << 3 | 2: {
        std::string_view summary = take_bytes(data);
        while (!summary.empty()) {
          EXPECT_EQ(take<char>(summary), 0x0a);
          event.scalars.push_back(read_value(take_bytes(summary)));
        }
        break;
      }
      case 7 << 3 | 2:
        event.is_restart = take_bytes(data) == std::string_view("\x08\x01", 2);
        break;
      default:
        ADD_FAILURE() << "unknown field";
        return event;
    }
  }
  return event;
}

std::vector<ReadEvent> read_events(const std::string& content) {
  std::vector<ReadEvent> events;
  std::string_view bytes = content;
  while (!bytes.empty()) {
    const std::string_view head = bytes.substr(0, 8);
    const auto length = take<std::uint64_t>(bytes);
    EXPECT_EQ(take<std::uint32_t>(bytes), masked_crc32c(head));
    const std::string_view data = bytes.substr(0, length);
    bytes.remove_prefix(length);
    EXPECT_EQ(take<std::uint32_t>(bytes), masked_crc32c(data));
    events.push_back(read_event(data));
  }
  return events;
}

TEST(EventFile, ChecksumsAreCastagnolis) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(masked_crc32c("123456789"), 0xc78ab0e5u);
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);  // RFC 3720, B.4
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
}

// Encoded by hand from the field numbers and wire types of event.proto and summary.proto.
TEST(EventFile, RecordsAreExact) {
  using namespace std::string_literals;
  EXPECT_EQ(version_event(1.5), "\x09\x00\x00\x00\x00\x00\x00\xf8\x3f\x1a\x0d"s + "brain.Event:2");
  EXPECT_EQ(scalars_event(1.5, 300, {{"a/b", 2.0}}),
            "\x09\x00\x00\x00\x00\x00\x00\xf8\x3f\x10\xac\x02\x2a\x0c\x0a\x0a\x0a\x03"s + "a/b" +
                "\x15\x00\x00\x00\x40"s);
  const std::string record = frame_record("abc");
  EXPECT_EQ(record.size(), 8 + 4 + 3 + 4u);
  EXPECT_EQ(record.substr(0, 8), "\x03\0\0\0\0\0\0\0"s);
  EXPECT_EQ(record.substr(12, 3), "abc");
}

TEST(EventFile, HoldsTheMetricsOfARun) {
  const TestFolder folder;
  const RunFolder run(folder / "run", false);
  {
    MetricsWriter writer(run, 41, true);
    writer.write({.step = 42, .tokens = 1, .loss = 2.5, .learning_rate = 1e-3, .mfu = 0.5});
    writer.write({.step = 300, .tokens = 2, .validation_loss = 1.25});
    writer.write({.step = 301, .tokens = 3});  // nothing to show
  }
  std::vector<std::filesystem::path> files(std::filesystem::directory_iterator(run.events()), {});
  ASSERT_EQ(files.size(), 1u);
  EXPECT_TRUE(files[0].filename().string().starts_with("events.out.tfevents."));

  const auto events = read_events(content_of(files[0]));
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].file_version, "brain.Event:2");
  EXPECT_GT(events[0].wall_time, 1.7e9);
  EXPECT_TRUE(events[1].is_restart);
  EXPECT_EQ(events[1].step, 42);
  EXPECT_EQ(events[2].step, 42);
  using Scalars = std::vector<std::pair<std::string, float>>;
  EXPECT_EQ(events[2].scalars,
            (Scalars{{"train/loss", 2.5f}, {"train/learning_rate", 1e-3f}, {"speed/mfu", 0.5f}}));
  EXPECT_EQ(events[3].step, 300);
  EXPECT_EQ(events[3].scalars, (Scalars{{"validation/loss", 1.25f}}));

  MetricsWriter(run, 300, true);  // a second file of the same run, also within the same second
  files.assign(std::filesystem::directory_iterator(run.events()), {});
  EXPECT_EQ(files.size(), 2u);
}

}  // namespace
}  // namespace heddle
