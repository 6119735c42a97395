#include "trainer/checkpoint/safetensors.h"

#include <bit>

#include "kernels/error.h"

namespace heddle {

static_assert(std::endian::native == std::endian::little, "safetensors data is little endian");

namespace {

SafetensorsHeader read_header(const File& file, std::uint64_t& data_begin) {
  const std::string name = file.path().string();
  if (file.size() < 8) throw error("{}: {} bytes are too few for a safetensors file", name, file.size());
  std::uint64_t length = 0;
  file.read_at(0, &length, 8);
  if (length > SafetensorsHeader::kMaxBytes || length > file.size() - 8)
    throw error("{}: a header of {} bytes does not fit the file's {}: not a safetensors file, or cut short",
                name, length, file.size());
  std::string json(length, '\0');
  file.read_at(8, json.data(), json.size());
  data_begin = 8 + length;
  return SafetensorsHeader::parse(json, file.size() - data_begin, name);
}

}  // namespace

SafetensorsReader::SafetensorsReader(const std::filesystem::path& path)
    : file_(File::open(path)), header_(read_header(file_, data_begin_)) {}

void SafetensorsReader::read(const SafetensorsEntry& entry, std::uint64_t offset, void* data,
                             std::size_t bytes) const {
  if (offset > entry.bytes() || bytes > entry.bytes() - offset)
    throw error("{}: bytes {} to {} of tensor {} were asked for, it has {}", path().string(), offset,
                offset + bytes, printable(entry.name), entry.bytes());
  file_.read_at(data_begin_ + entry.begin + offset, data, bytes);
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, const SafetensorsHeader& header)
    : file_(File::create(path)) {
  const std::string bytes = header.to_bytes();
  expected_bytes_ = bytes.size() + header.data_bytes();
  append(bytes.data(), bytes.size());
}

void SafetensorsWriter::append(const void* data, std::size_t bytes) {
  digest_.update(data, bytes);
  file_.write(data, bytes);
}

void SafetensorsWriter::finish() {
  if (file_.size() != expected_bytes_)
    throw error("cannot finish {}: {} bytes were given, its header says {}", file_.path().string(),
                file_.size(), expected_bytes_);
  file_.sync();
  file_.close();
}

}  // namespace heddle
