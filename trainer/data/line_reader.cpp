#include "trainer/data/line_reader.h"

#include <algorithm>
#include <utility>

#include "kernels/error.h"

namespace heddle {
namespace {

constexpr std::size_t kReadBytes = 1 << 18;

}  // namespace

LineReader::LineReader(std::string path, std::size_t max_line_bytes)
    : path_(std::move(path)), max_line_bytes_(max_line_bytes), stream_(open_byte_stream(path_)) {}

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

}  // namespace heddle
