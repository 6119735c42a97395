// TensorBoard event files: TFRecord framing around three messages of tensorflow/core/util/event.proto.
//
//   record  u64 length | u32 masked CRC-32C of the length | data | u32 masked CRC-32C of the data,
//   little-endian Event   1: double wall_time, 2: int64 step, 3: string file_version, 5: Summary, 7:
//   SessionLog
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace heddle {

std::uint32_t crc32c(std::string_view data);         // Castagnoli; of "123456789": e3069283
std::uint32_t masked_crc32c(std::string_view data);  // as in a record; of "123456789": c78ab0e5

// A record that holds `data`, ready to be appended to an event file.
std::string frame_record(std::string_view data);

struct Scalar {
  std::string tag;  // "train/loss"
  double value = 0;
};

// Messages in protocol-buffer encoding; wall_time in seconds since 1970.
std::string version_event(double wall_time);
std::string scalars_event(double wall_time, std::int64_t step, const std::vector<Scalar>& scalars);
// Makes TensorBoard forget what earlier files of the run hold at `step` and later.
std::string restart_event(double wall_time, std::int64_t step);

// A new event file in `folder` (made if needed); each record is handed to the system at once.
class EventFile {
 public:
  EventFile(const std::filesystem::path& folder, std::int64_t first_step);
  void write(std::int64_t step, const std::vector<Scalar>& scalars);
  const std::filesystem::path& path() const { return path_; }

 private:
  void append(const std::string& message);

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace heddle
