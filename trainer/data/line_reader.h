// The lines of a text file, one after the other, whatever its size.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "trainer/data/byte_stream.h"

namespace heddle {

class LineReader {
 public:
  // Unpacks .gz and .zst; "-" is standard input.
  explicit LineReader(const std::string& path);

  // The next line without its line feed, valid until the next call; false at the end. A last line needs no
  // line feed. Throws Error naming file and line if it is not UTF-8 or longer than kMaxLineBytes.
  bool next(std::string_view& line);

  std::int64_t lines() const { return lines_; }      // given out so far
  const std::string& name() const { return name_; }  // of the file, for messages

  static constexpr std::size_t kMaxLineBytes = std::size_t{1} << 24;

 private:
  bool fill();
  void check_length(std::size_t bytes) const;

  std::string name_;
  std::unique_ptr<ByteStream> stream_;
  std::string buffer_;
  std::size_t begin_ = 0;  // of the next line in buffer_
  std::int64_t lines_ = 0;
};

}  // namespace heddle
