#include "trainer/data/byte_stream.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/error.h"
#include "trainer/files.h"

namespace heddle {
namespace {

class PlainStream : public ByteStream {
 public:
  explicit PlainStream(const std::string& path) : path_(path), file_(File::open(path)) {}

  std::size_t read(char* destination, std::size_t bytes) override {
    const std::size_t count =
        static_cast<std::size_t>(std::min<std::uint64_t>(bytes, file_.size() - position_));
    file_.read_at(position_, destination, count);
    position_ += count;
    return count;
  }
  std::uint64_t stored_bytes_read() const override { return position_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  File file_;
  std::uint64_t position_ = 0;
};

// What both decompressors need: a window on the compressed file.
class CompressedInput {
 public:
  explicit CompressedInput(const std::string& path) : source_(path), buffer_(1 << 17) {}

  // Makes the window non-empty unless the file is at its end; false at the end.
  bool fill() {
    if (begin_ < end_) return true;
    begin_ = 0;
    end_ = source_.read(buffer_.data(), buffer_.size());
    return end_ > 0;
  }
  char* data() { return buffer_.data() + begin_; }
  std::size_t size() const { return end_ - begin_; }
  void consume(std::size_t bytes) { begin_ += bytes; }
  std::uint64_t consumed() const { return source_.stored_bytes_read() - size(); }
  const std::string& path() const { return source_.path(); }

 private:
  PlainStream source_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0, end_ = 0;
};

class GzipStream : public ByteStream {
 public:
  explicit GzipStream(const std::string& path) : input_(path) {
    constexpr int kGzipHeader = 16 + MAX_WBITS;
    if (inflateInit2(&inflater_, kGzipHeader) != Z_OK) throw std::bad_alloc();
  }
  ~GzipStream() override { inflateEnd(&inflater_); }
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;

  std::size_t read(char* destination, std::size_t bytes) override {
    bytes = std::min<std::size_t>(bytes, 1u << 30);  // zlib counts in unsigned int
    std::size_t done = 0;
    while (done == 0) {
      if (!input_.fill()) {
        if (inside_member_) throw error("{} is truncated: the gzip data stops early", input_.path());
        if (members_ == 0) throw error("{} is empty: not even a gzip header", input_.path());
        return 0;
      }
      inside_member_ = true;
      inflater_.next_in = reinterpret_cast<Bytef*>(input_.data());
      inflater_.avail_in = static_cast<uInt>(input_.size());
      inflater_.next_out = reinterpret_cast<Bytef*>(destination);
      inflater_.avail_out = static_cast<uInt>(bytes);
      const int result = inflate(&inflater_, Z_NO_FLUSH);
      input_.consume(input_.size() - inflater_.avail_in);
      done = bytes - inflater_.avail_out;
      if (result == Z_STREAM_END) {
        inside_member_ = false;
        ++members_;
        inflateReset(&inflater_);
      } else if (result != Z_OK && result != Z_BUF_ERROR) {
        throw error("{} is not valid gzip data near byte {}: {}", input_.path(), input_.consumed(),
                    inflater_.msg ? inflater_.msg : "unknown reason");
      }
    }
    return done;
  }
  std::uint64_t stored_bytes_read() const override { return input_.consumed(); }

 private:
  CompressedInput input_;
  z_stream inflater_{};
  bool inside_member_ = false;
  std::uint64_t members_ = 0;
};

class ZstdStream : public ByteStream {
 public:
  explicit ZstdStream(const std::string& path) : input_(path), context_(ZSTD_createDCtx()) {
    if (!context_) throw std::bad_alloc();
  }

  std::size_t read(char* destination, std::size_t bytes) override {
    ZSTD_outBuffer out{destination, bytes, 0};
    while (out.pos == 0) {
      // An unfinished frame may still hold unpacked bytes although the file is at its end.
      const bool at_end = !input_.fill();
      if (at_end && !inside_frame_) {
        if (frames_ == 0) throw error("{} is empty: not even a zstd header", input_.path());
        return 0;
      }
      ZSTD_inBuffer in{input_.data(), at_end ? 0 : input_.size(), 0};
      const std::size_t result = ZSTD_decompressStream(context_.get(), &out, &in);
      input_.consume(in.pos);
      if (ZSTD_isError(result)) {
        throw error("{} is not valid zstd data near byte {}: {}", input_.path(), input_.consumed(),
                    ZSTD_getErrorName(result));
      }
      inside_frame_ = result != 0;
      if (!inside_frame_) ++frames_;
      if (at_end && inside_frame_ && out.pos == 0) {
        throw error("{} is truncated: the zstd data stops early", input_.path());
      }
    }
    return out.pos;
  }
  std::uint64_t stored_bytes_read() const override { return input_.consumed(); }

 private:
  struct FreeContext {
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  };
  CompressedInput input_;
  std::unique_ptr<ZSTD_DCtx, FreeContext> context_;
  bool inside_frame_ = false;
  std::uint64_t frames_ = 0;
};

class StandardInput : public ByteStream {
 public:
  std::size_t read(char* destination, std::size_t bytes) override {
    const std::size_t count = std::fread(destination, 1, bytes, stdin);
    if (count == 0 && std::ferror(stdin)) throw error("cannot read standard input: {}", std::strerror(errno));
    position_ += count;
    return count;
  }
  std::uint64_t stored_bytes_read() const override { return position_; }

 private:
  std::uint64_t position_ = 0;
};

}  // namespace

std::unique_ptr<ByteStream> open_byte_stream(const std::string& path) {
  if (path.ends_with(".gz")) return std::make_unique<GzipStream>(path);
  if (path.ends_with(".zst")) return std::make_unique<ZstdStream>(path);
  return std::make_unique<PlainStream>(path);
}

std::unique_ptr<ByteStream> standard_input_stream() {
  return std::make_unique<StandardInput>();
}

}  // namespace heddle
