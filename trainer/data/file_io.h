// Files of the data pipeline: bounded reads that never trust a length, and writes that are complete or
// absent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace heddle {

// An open regular file, read by position. read_at may be called from several threads.
//
// Token files are read with pread, not mapped: one call of a few kilobytes a sample costs nothing beside a
// training step, and a file that shrinks while it is in use gives an error instead of killing the process
// with SIGBUS.
class InputFile {
 public:
  explicit InputFile(std::string path);  // throws Error if it is missing, unreadable or a directory
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;

  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }  // bytes, when it was opened
  int descriptor() const { return descriptor_; }

  // Exactly `bytes` bytes from `offset`; throws Error naming the file if they are not there.
  void read_at(std::uint64_t offset, void* destination, std::size_t bytes) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

// The whole of a small file (JSON, merges). Throws Error if it is longer than `max_bytes`.
std::string read_small_file(const std::string& path, std::uint64_t max_bytes);

// Writes `path`.tmp; commit() makes it durable and gives it its name: write, fsync, rename, fsync of the
// directory. Without commit() the temporary file is removed, and what `path` held before is untouched.
class AtomicOutputFile {
 public:
  explicit AtomicOutputFile(std::string path);
  ~AtomicOutputFile();
  AtomicOutputFile(const AtomicOutputFile&) = delete;
  AtomicOutputFile& operator=(const AtomicOutputFile&) = delete;

  void append(const void* data, std::size_t bytes);
  void append(std::string_view text) { append(text.data(), text.size()); }
  void overwrite(std::uint64_t offset, const void* data, std::size_t bytes);  // of what was already appended
  void commit();

 private:
  void flush();

  std::string path_, temporary_;
  int descriptor_ = -1;
  std::vector<char> buffer_;
};

void write_file_atomically(const std::string& path, std::string_view content);

// Makes created, renamed and removed names in `directory` durable.
void sync_directory(const std::string& directory);

}  // namespace heddle
