// Files that survive crashes: every write is checked, every error names the file, and what must be on the
// disk is fsynced. Used by everything in trainer/ that writes something a later run depends on.
//
// The durable way to replace a small file is write_file_atomically(). Larger sets of files are written into a
// temporary directory, each with File::sync(), then sync_directory(), rename_path(), and sync_directory() of
// the parent: without the last one a power loss may forget the rename.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace heddle {

// A file descriptor that closes itself. All failures throw Error("cannot <call> <path>: <reason>").
class File {
 public:
  // A new file to write; it is an error if something of that name exists.
  static File create(const std::filesystem::path& path);
  // An existing regular file to read; a FIFO, device or directory is refused instead of waited for.
  static File open(const std::filesystem::path& path);

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  const std::filesystem::path& path() const { return path_; }
  std::uint64_t size() const {
    return size_;
  }  // bytes, when it was opened; bytes written so far after create()

  void write(const void* data, std::size_t bytes);
  // Over what was already written: a header whose numbers are known only at the end.
  void write_at(std::uint64_t offset, const void* data, std::size_t bytes);
  // Exactly `bytes` bytes from `offset`; a file that ends before is an error, never a fault as with mmap.
  void read_at(std::uint64_t offset, void* data, std::size_t bytes) const;
  void sync();   // fsync: content and size are on the disk
  void close();  // reports what the destructor would swallow (network file systems report at close)

  // Takes over an open descriptor.
  File(std::filesystem::path path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

// Whole content of a file of at most `max_bytes`.
std::string read_small_file(const std::filesystem::path& path, std::uint64_t max_bytes);
// Writes <path>.tmp, fsyncs, renames, fsyncs the directory: a reader sees the old or the new content, and
// after the return a power loss keeps the new one.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

void make_directory(const std::filesystem::path& path);    // must not exist
void make_directories(const std::filesystem::path& path);  // may exist; new ones are durable
void sync_directory(const std::filesystem::path& path);
void rename_path(const std::filesystem::path& from, const std::filesystem::path& to);
// A file, a link (not what it points to), or a directory with all that is in it. Nothing there is no error.
void remove_tree(const std::filesystem::path& path);

// For messages: text from a file as one printable line of at most 120 characters, in single quotes.
std::string printable(std::string_view text);

// Test seam: called before every system call that changes the file system ("create", "write", "fsync",
// "close", "mkdir", "rename", "unlink"; fsync of a directory is "fsyncdir"). Returns 0 to go on or the errno
// to fail with. Set while no other thread uses files; an empty function removes it.
using FileCallHook = std::function<int(std::string_view call, const std::filesystem::path& path)>;
void set_file_call_hook(FileCallHook hook);

}  // namespace heddle
