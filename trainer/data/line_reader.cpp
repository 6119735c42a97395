#include "trainer/data/line_reader.h"

#include "kernels/error.h"
#include "trainer/data/utf8.h"

namespace heddle {
namespace {

constexpr std::size_t kReadBytes = std::size_t{1} << 16;

}  // namespace

LineReader::LineReader(const std::string& path)
    : name_(path == "-" ? "standard input" : path),
      stream_(path == "-" ? standard_input_stream() : open_byte_stream(path)) {}

void LineReader::check_length(std::size_t bytes) const {
  if (bytes > kMaxLineBytes)
    throw error("{}:{}: the line is longer than {} bytes", name_, lines_ + 1, kMaxLineBytes);
}

bool LineReader::fill() {
  buffer_.erase(0, begin_);
  begin_ = 0;
  const std::size_t kept = buffer_.size();
  check_length(kept);
  buffer_.resize(kept + kReadBytes);
  buffer_.resize(kept + stream_->read(buffer_.data() + kept, kReadBytes));
  return buffer_.size() > kept;
}

bool LineReader::next(std::string_view& line) {
  std::size_t searched = begin_, end;
  while ((end = buffer_.find('\n', searched)) == std::string::npos) {
    const std::size_t pending = buffer_.size() - begin_;
    if (!fill()) {
      if (pending == 0) return false;
      end = buffer_.size();
      break;
    }
    searched = pending;  // fill() moved the line to the front
  }
  check_length(end - begin_);
  line = std::string_view(buffer_).substr(begin_, end - begin_);
  begin_ = end < buffer_.size() ? end + 1 : end;
  ++lines_;
  const std::size_t bad = find_invalid_utf8(line);
  if (bad < line.size()) throw error("{}:{}: byte {} of the line is not UTF-8", name_, lines_, bad);
  return true;
}

}  // namespace heddle
