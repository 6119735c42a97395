#include "trainer/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "kernels/error.h"

namespace heddle {

namespace fs = std::filesystem;

namespace {

// Linux transfers at most 2 GiB - 4 KiB per call; smaller pieces keep a stuck disk interruptible.
constexpr std::size_t kMaxTransfer = std::size_t{1} << 28;

FileCallHook& hook() {
  static FileCallHook installed;
  return installed;
}

[[noreturn]] void fail(const char* action, const fs::path& path, int reason) {
  throw error("cannot {} {}: {}", action, path.string(), std::generic_category().message(reason));
}

// Asks the test hook, then makes the call until it is not interrupted.
template <typename Call>
auto checked(const char* name, const char* action, const fs::path& path, Call call) {
  if (hook())
    if (const int reason = hook()(name, path)) fail(action, path, reason);
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  if (result < 0) fail(action, path, errno);
  return result;
}

fs::path parent_of(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

}  // namespace

void set_file_call_hook(FileCallHook new_hook) {
  hook() = std::move(new_hook);
}

File File::create(const fs::path& path) {
  const int descriptor = checked("create", "create", path, [&] {
    return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  });
  return File(path, descriptor);
}

File File::open(const fs::path& path) {
  // O_NONBLOCK: opening a FIFO nobody writes to must not hang the job.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) fail("open", path, errno);
  File file(path, descriptor);
  struct stat status {};
  if (::fstat(descriptor, &status) < 0) fail("inspect", path, errno);
  if (!S_ISREG(status.st_mode)) throw error("cannot read {}: it is not a regular file", path.string());
  file.size_ = static_cast<std::uint64_t>(status.st_size);
  return file;
}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}

File& File::operator=(File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void File::write(const void* data, std::size_t bytes) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = checked(
        "write", "write", path_, [&] { return ::write(descriptor_, next, std::min(bytes, kMaxTransfer)); });
    next += written;
    bytes -= static_cast<std::size_t>(written);
    size_ += static_cast<std::uint64_t>(written);
  }
}

void File::write_at(std::uint64_t offset, const void* data, std::size_t bytes) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = checked("write", "write", path_, [&] {
      return ::pwrite(descriptor_, next, std::min(bytes, kMaxTransfer), static_cast<off_t>(offset));
    });
    next += written;
    offset += static_cast<std::uint64_t>(written);
    bytes -= static_cast<std::size_t>(written);
  }
}

void File::read_at(std::uint64_t offset, void* data, std::size_t bytes) const {
  char* next = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t got = ::pread(descriptor_, next, std::min(bytes, kMaxTransfer), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("read", path_, errno);
    if (got == 0)
      throw error("cannot read {}: it ends at byte {}, {} more were expected", path_.string(), offset, bytes);
    next += got;
    bytes -= static_cast<std::size_t>(got);
    offset += static_cast<std::uint64_t>(got);
  }
}

void File::sync() {
  checked("fsync", "fsync", path_, [&] { return ::fsync(descriptor_); });
}

void File::close() {
  const int descriptor = std::exchange(descriptor_, -1);
  int reason = hook() ? hook()("close", path_) : 0;
  // Never repeated: on Linux the descriptor is gone even after EINTR.
  if (::close(descriptor) < 0 && errno != EINTR) reason = errno;
  if (reason != 0) fail("close", path_, reason);
}

std::string read_small_file(const fs::path& path, std::uint64_t max_bytes) {
  const File file = File::open(path);
  if (file.size() > max_bytes)
    throw error("cannot read {}: {} bytes, at most {} are expected", path.string(), file.size(), max_bytes);
  std::string content(file.size(), '\0');
  file.read_at(0, content.data(), content.size());
  return content;
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  const fs::path temporary = path.string() + ".tmp";
  remove_tree(temporary);
  try {
    File file = File::create(temporary);
    file.write(content.data(), content.size());
    file.sync();
    file.close();
    rename_path(temporary, path);
  } catch (const std::exception&) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    throw;
  }
  sync_directory(parent_of(path));
}

void make_directory(const fs::path& path) {
  checked("mkdir", "create directory", path, [&] { return ::mkdir(path.c_str(), 0777); });
}

void make_directories(const fs::path& path) {
  if (path.empty() || fs::is_directory(path)) return;
  if (path.filename().empty()) return make_directories(path.parent_path());  // "runs/"
  make_directories(path.parent_path());
  make_directory(path);
  sync_directory(parent_of(path));
}

void sync_directory(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail("open directory", path, errno);
  const File closes_itself(path, descriptor);
  checked("fsyncdir", "fsync directory", path, [&] { return ::fsync(descriptor); });
}

void rename_path(const fs::path& from, const fs::path& to) {
  checked("rename", "rename", from, [&] { return ::rename(from.c_str(), to.c_str()); });
}

void remove_tree(const fs::path& path) {
  std::error_code reason;
  const fs::file_status status = fs::symlink_status(path, reason);
  if (status.type() == fs::file_type::not_found) return;
  if (reason) fail("inspect", path, reason.value());
  if (status.type() == fs::file_type::directory)
    for (const fs::directory_entry& entry : fs::directory_iterator(path)) remove_tree(entry.path());
  checked("unlink", "remove", path, [&] { return std::remove(path.c_str()); });
}

std::string printable(std::string_view text) {
  constexpr std::size_t kShown = 120;
  std::string line = "'";
  for (const char c : text.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f)
      line += fmt::format("\\x{:02x}", byte);
    else
      line += c;
  }
  return line + (text.size() > kShown ? "...'" : "'");
}

}  // namespace heddle
