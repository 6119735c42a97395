#include "trainer/data/file_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "kernels/error.h"

namespace heddle {
namespace {

constexpr std::size_t kBufferBytes = 1 << 20;

void write_fully(int descriptor, const std::string& path, const char* data, std::size_t bytes) {
  while (bytes > 0) {
    const ssize_t written = ::write(descriptor, data, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw error("cannot write {}: {}", path, std::strerror(errno));
    data += written;
    bytes -= static_cast<std::size_t>(written);
  }
}

}  // namespace

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) throw error("cannot open {}: {}", path_, std::strerror(errno));
  struct stat status {};
  const bool known = ::fstat(descriptor_, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    const std::string reason = known ? "it is not a regular file" : std::strerror(errno);
    ::close(descriptor_);
    throw error("cannot read {}: {}", path_, reason);
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

void InputFile::read_at(std::uint64_t offset, void* destination, std::size_t bytes) const {
  if (offset > size_ || bytes > size_ - offset) {
    throw error("{} is too short: {} bytes wanted at byte {}, the file has {}", path_, bytes, offset, size_);
  }
  char* out = static_cast<char*>(destination);
  while (bytes > 0) {
    const ssize_t got = ::pread(descriptor_, out, bytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw error("cannot read {} at byte {}: {}", path_, offset, std::strerror(errno));
    if (got == 0) throw error("{} was truncated to {} bytes while it was in use", path_, offset);
    out += got;
    offset += static_cast<std::uint64_t>(got);
    bytes -= static_cast<std::size_t>(got);
  }
}

std::string read_small_file(const std::string& path, std::uint64_t max_bytes) {
  const InputFile file(path);
  if (file.size() > max_bytes) {
    throw error("{} has {} bytes, more than the {} such a file may have", path, file.size(), max_bytes);
  }
  std::string content(static_cast<std::size_t>(file.size()), '\0');
  file.read_at(0, content.data(), content.size());
  return content;
}

AtomicOutputFile::AtomicOutputFile(std::string path) : path_(std::move(path)), temporary_(path_ + ".tmp") {
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw error("cannot create {}: {}", temporary_, std::strerror(errno));
  buffer_.reserve(kBufferBytes);
}

AtomicOutputFile::~AtomicOutputFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicOutputFile::append(const void* data, std::size_t bytes) {
  const char* in = static_cast<const char*>(data);
  if (buffer_.size() + bytes > kBufferBytes) flush();
  if (bytes > kBufferBytes) {
    write_fully(descriptor_, temporary_, in, bytes);
  } else {
    buffer_.insert(buffer_.end(), in, in + bytes);
  }
}

void AtomicOutputFile::overwrite(std::uint64_t offset, const void* data, std::size_t bytes) {
  flush();
  const char* in = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::pwrite(descriptor_, in, bytes, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw error("cannot write {}: {}", temporary_, std::strerror(errno));
    in += written;
    offset += static_cast<std::uint64_t>(written);
    bytes -= static_cast<std::size_t>(written);
  }
}

void AtomicOutputFile::flush() {
  write_fully(descriptor_, temporary_, buffer_.data(), buffer_.size());
  buffer_.clear();
}

void AtomicOutputFile::commit() {
  flush();
  if (::fsync(descriptor_) != 0) throw error("cannot write {} to disk: {}", temporary_, std::strerror(errno));
  const int closed = ::close(std::exchange(descriptor_, -1));
  if (closed != 0 || std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const std::string reason = std::strerror(errno);
    ::unlink(temporary_.c_str());
    throw error("cannot write {}: {}", path_, reason);
  }
  sync_directory(std::filesystem::path(path_).parent_path().string());
}

void write_file_atomically(const std::string& path, std::string_view content) {
  AtomicOutputFile file(path);
  file.append(content);
  file.commit();
}

void sync_directory(const std::string& directory) {
  const std::string path = directory.empty() ? "." : directory;
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw error("cannot open the folder {}: {}", path, std::strerror(errno));
  const int result = ::fsync(descriptor);
  const int reason = errno;
  ::close(descriptor);
  // Some file systems cannot sync a folder (EINVAL); there is nothing more to do there.
  if (result != 0 && reason != EINVAL) {
    throw error("cannot write the folder {} to disk: {}", path, std::strerror(reason));
  }
}

}  // namespace heddle
