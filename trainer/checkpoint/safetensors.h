// safetensors files, read strictly and written conventionally. Format: github.com/huggingface/safetensors:
//
//   8 bytes          N, little endian
//   N bytes          JSON {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...,
//                          "__metadata__": {"key": "value"}}, padded with spaces
//   the rest         the tensors, row-major, little endian; offsets count from here
//
// The reader refuses, naming file and tensor: a header longer than the file or than 100 MB, holes, overlaps,
// bytes after the last tensor, sizes that do not match shape and dtype, unknown dtypes and fields, duplicate
// keys, negative or fractional numbers, more than 8 dimensions. It reads with pread into its own memory (a
// mapped file that is truncated kills the process), and allocates nothing that the file's real size does not
// justify.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/tensor.h"
#include "trainer/checkpoint/digest.h"
#include "trainer/files.h"

namespace heddle {

// Every element type of the format; heddle computes with those that have a DType.
enum class SafetensorsType : std::uint8_t {
  BOOL,
  F4,
  F6_E2M3,
  F6_E3M2,
  U8,
  I8,
  F8_E5M2,
  F8_E4M3,
  F8_E8M0,
  F8_E4M3FNUZ,
  F8_E5M2FNUZ,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  C64,
  F64,
  I64,
  U64,
};

int bits_of(SafetensorsType type);
std::string_view name_of(SafetensorsType type);  // "F32"
std::optional<SafetensorsType> safetensors_type_of(std::string_view name);
SafetensorsType safetensors_type_of(DType dtype);
std::optional<DType> dtype_of(SafetensorsType type);  // nothing for types heddle does not compute with

struct SafetensorsEntry {
  std::string name;
  SafetensorsType type = SafetensorsType::F32;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;  // bytes, from the end of the header

  std::uint64_t bytes() const { return end - begin; }
};

using SafetensorsMetadata = std::map<std::string, std::string>;

class SafetensorsHeader {
 public:
  static constexpr std::uint64_t kMaxBytes = 100'000'000;

  // Of a file to write: entries are ordered by alignment (widest type first), then name, and get their
  // offsets.
  static SafetensorsHeader plan(std::vector<SafetensorsEntry> tensors, SafetensorsMetadata metadata);
  // The JSON text of a file with `data_bytes` bytes after the header. `file` is for messages.
  static SafetensorsHeader parse(std::string_view json, std::uint64_t data_bytes, const std::string& file);

  const std::vector<SafetensorsEntry>& tensors() const { return tensors_; }  // in the order of their data
  const SafetensorsEntry* find(std::string_view name) const;                 // null if there is none
  const SafetensorsMetadata& metadata() const { return metadata_; }
  std::uint64_t data_bytes() const { return tensors_.empty() ? 0 : tensors_.back().end; }

  // The first bytes of the file: length, JSON, spaces up to a multiple of 8.
  std::string to_bytes() const;

 private:
  SafetensorsHeader(std::vector<SafetensorsEntry> tensors, SafetensorsMetadata metadata);

  std::vector<SafetensorsEntry> tensors_;
  std::vector<std::size_t> by_name_;  // positions in tensors_, in the order of the names
  SafetensorsMetadata metadata_;
};

class SafetensorsReader {
 public:
  explicit SafetensorsReader(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  const SafetensorsHeader& header() const { return header_; }
  // Bytes [offset, offset + bytes) of a tensor of header().
  void read(const SafetensorsEntry& entry, std::uint64_t offset, void* data, std::size_t bytes) const;

 private:
  File file_;
  std::uint64_t data_begin_ = 0;
  SafetensorsHeader header_;
};

// Streams a new file: the data of header.tensors(), in that order, in pieces of any size.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::filesystem::path& path, const SafetensorsHeader& header);

  void append(const void* data, std::size_t bytes);
  // Refuses if data is missing; fsyncs and closes.
  void finish();

  std::uint64_t bytes() const { return file_.size(); }
  std::string digest() const { return digest_.hex(); }  // of the whole file

 private:
  File file_;
  Digest digest_;
  std::uint64_t expected_bytes_;
};

}  // namespace heddle
