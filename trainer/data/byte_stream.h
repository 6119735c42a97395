// The bytes of a file, unpacked on the fly if its name ends in .gz or .zst.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace heddle {

class ByteStream {
 public:
  virtual ~ByteStream() = default;

  // Up to `bytes` bytes; 0 only at the end. Throws Error naming the file if it cannot be read, or if the
  // compressed data is damaged or stops early.
  virtual std::size_t read(char* destination, std::size_t bytes) = 0;

  // Bytes of the stored (maybe compressed) file consumed so far, for progress.
  virtual std::uint64_t stored_bytes_read() const = 0;
};

// Several gzip members or zstd frames one after the other are one text, as for `zcat` and `zstdcat`.
std::unique_ptr<ByteStream> open_byte_stream(const std::string& path);

// Standard input, as it comes.
std::unique_ptr<ByteStream> standard_input_stream();

}  // namespace heddle
