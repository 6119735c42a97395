#include "trainer/data/line_reader.h"

#include <algorithm>

#include "kernels/error.h"
#include "trainer/data/utf8.h"

namespace heddle {
namespace {

constexpr std::size_t kReadBytes = 1 << 18;

}  // namespace

LineReader::LineReader(const std::string& path, std::size_t max_line_bytes)
    : path_(path == "-" ? "standard input" : path),
      max_line_bytes_(max_line_bytes),
      stream_(path == "-" ? standard_input_stream() : open_byte_stream(path)) {}

std::string LineReader::origin() const {
  return fmt::format("{}:{}", path_, number_);
}

bool LineReader::next(std::string_view& line) {
  std::size_t end, searched = begin_;
  while ((end = buffer_.find('\n', searched)) == std::string::npos) {
    buffer_.erase(0, begin_);
    begin_ = 0;
    searched = buffer_.size();
    if (searched > max_line_bytes_) break;
    buffer_.resize(searched + kReadBytes);
    const std::size_t count = stream_->read(buffer_.data() + searched, kReadBytes);
    buffer_.resize(searched + count);
    if (count > 0) continue;
    if (buffer_.empty()) return false;
    break;
  }
  end = std::min(end, buffer_.size());
  ++number_;
  if (end - begin_ > max_line_bytes_)
    throw error("{}: the line is longer than {} bytes", origin(), max_line_bytes_);
  line = std::string_view(buffer_).substr(begin_, end - begin_);
  begin_ = std::min(end + 1, buffer_.size());
  return true;
}

bool LineReader::next_utf8(std::string_view& line) {
  if (!next(line)) return false;
  const std::size_t bad = find_invalid_utf8(line);
  if (bad < line.size()) throw error("{}: byte {} of the line is not UTF-8", origin(), bad);
  return true;
}

}  // namespace heddle
