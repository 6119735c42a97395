// The lines of a file, unpacked on the fly if its name ends in .gz or .zst.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "trainer/data/byte_stream.h"

namespace heddle {

// Only a line feed ends a line; what is behind the last one, if anything, is a line too.
class LineReader {
 public:
  // "-" is standard input.
  explicit LineReader(const std::string& path, std::size_t max_line_bytes = kMaxLineBytes);

  // The next line without its line feed, valid until the next call; false after the last. Throws Error naming
  // file and line if it is longer than max_line_bytes.
  bool next(std::string_view& line);
  // The same; also throws if the line is not UTF-8.
  bool next_utf8(std::string_view& line);

  const std::string& path() const { return path_; }  // "standard input" for "-"
  // Of the line that next() gave, from 1; so, how many it gave.
  std::int64_t number() const { return number_; }
  std::string origin() const;  // "file:line"

  // Bytes of the stored file consumed so far, for progress.
  std::uint64_t stored_bytes_read() const { return stream_->stored_bytes_read(); }

  static constexpr std::size_t kMaxLineBytes = std::size_t{1} << 24;

 private:
  std::string path_;
  std::size_t max_line_bytes_;
  std::unique_ptr<ByteStream> stream_;
  std::string buffer_;     // read, not yet passed on
  std::size_t begin_ = 0;  // of the next line in buffer_
  std::int64_t number_ = 0;
};

}  // namespace heddle
