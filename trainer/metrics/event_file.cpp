#include "trainer/metrics/event_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "kernels/error.h"
#include "trainer/files.h"

namespace heddle {
namespace {

constexpr std::array<std::uint32_t, 256> make_crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit) remainder = (remainder >> 1) ^ (remainder & 1 ? 0x82f63b78u : 0u);
    table[byte] = remainder;
  }
  return table;
}

template <typename T>
void append_little_endian(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

void append_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7f) | 0x80);
  out += static_cast<char>(value);
}

// Fields of a protocol-buffer message: a key (number and wire type), then the value.
enum WireType : std::uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void append_key(std::string& out, int field, WireType type) {
  append_varint(out, static_cast<std::uint64_t>(field) << 3 | type);
}
void append_double(std::string& out, int field, double value) {
  append_key(out, field, kFixed64);
  append_little_endian(out, std::bit_cast<std::uint64_t>(value));
}
void append_float(std::string& out, int field, float value) {
  append_key(out, field, kFixed32);
  append_little_endian(out, std::bit_cast<std::uint32_t>(value));
}
void append_integer(std::string& out, int field, std::int64_t value) {
  append_key(out, field, kVarint);
  append_varint(out, static_cast<std::uint64_t>(value));
}
void append_bytes(std::string& out, int field, std::string_view value) {
  append_key(out, field, kBytes);
  append_varint(out, value.size());
  out += value;
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  char name[256] = {};
  if (gethostname(name, sizeof name - 1) != 0) return "unknown";
  return name;
}

}  // namespace

std::uint32_t crc32c(std::string_view data) {
  static constexpr auto kTable = make_crc_table();
  std::uint32_t crc = ~0u;
  for (const char c : data) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return ~crc;
}

std::uint32_t masked_crc32c(std::string_view data) {
  return std::rotr(crc32c(data), 15) + 0xa282ead8u;
}

std::string frame_record(std::string_view data) {
  std::string record;
  append_little_endian(record, static_cast<std::uint64_t>(data.size()));
  append_little_endian(record, masked_crc32c(record));
  record += data;
  append_little_endian(record, masked_crc32c(data));
  return record;
}

std::string version_event(double wall_time) {
  std::string event;
  append_double(event, 1, wall_time);
  append_bytes(event, 3, "brain.Event:2");
  return event;
}

std::string scalars_event(double wall_time, std::int64_t step, const std::vector<Scalar>& scalars) {
  std::string summary;
  for (const Scalar& scalar : scalars) {
    std::string value;
    append_bytes(value, 1, scalar.tag);
    append_float(value, 2, static_cast<float>(scalar.value));
    append_bytes(summary, 1, value);
  }
  std::string event;
  append_double(event, 1, wall_time);
  append_integer(event, 2, step);
  append_bytes(event, 5, summary);
  return event;
}

std::string restart_event(double wall_time, std::int64_t step) {
  constexpr std::int64_t kStart = 1;  // SessionLog.SessionStatus
  std::string session;
  append_integer(session, 1, kStart);
  std::string event;
  append_double(event, 1, wall_time);
  append_integer(event, 2, step);
  append_bytes(event, 7, session);
  return event;
}

EventFile::EventFile(const std::filesystem::path& folder, std::int64_t first_step) {
  make_directories(folder);
  // TensorBoard reads the files of a folder in the order of their names; several may start within a second.
  const std::string name = fmt::format("events.out.tfevents.{:010}.{}.{}", static_cast<std::int64_t>(now()),
                                       host_name(), getpid());
  for (int i = 0; !file_ && i < 1000; ++i) {
    path_ = folder / fmt::format("{}.{}", name, i);
    file_.reset(std::fopen(path_.c_str(), "wbx"));
    if (!file_ && errno != EEXIST) break;
  }
  if (!file_) throw error("cannot create {}: {}", path_.string(), std::strerror(errno));
  append(version_event(now()));
  append(restart_event(now(), first_step));
}

void EventFile::write(std::int64_t step, const std::vector<Scalar>& scalars) {
  if (!scalars.empty()) append(scalars_event(now(), step, scalars));
}

void EventFile::append(const std::string& message) {
  const std::string record = frame_record(message);
  if (std::fwrite(record.data(), 1, record.size(), file_.get()) != record.size() ||
      std::fflush(file_.get()) != 0)
    throw error("cannot write {}: {}", path_.string(), std::strerror(errno));
}

}  // namespace heddle
