#include "trainer/data/text_source.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "kernels/error.h"
#include "trainer/data/byte_stream.h"
#include "trainer/data/line_reader.h"
#include "trainer/data/utf8.h"
#include "trainer/files.h"
#include "trainer/strict_json.h"

namespace heddle {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kReadBytes = 1 << 18;
constexpr std::size_t kMaxPieceBytes = std::size_t{1} << 26;
constexpr std::size_t kMaxLineBytes = std::size_t{1} << 30;

std::string_view without_compression(std::string_view name) {
  for (const std::string_view suffix : {".gz", ".zst"}) {
    if (name.ends_with(suffix)) return name.substr(0, name.size() - suffix.size());
  }
  return name;
}

bool is_json_lines(std::string_view path) {
  const std::string_view name = without_compression(path);
  return name.ends_with(".jsonl") || name.ends_with(".ndjson");
}

bool is_text_in_folder(std::string_view path) {
  const std::string_view name = without_compression(path);
  return is_json_lines(path) || name.ends_with(".txt") || name.ends_with(".text");
}

std::vector<std::string> list_folder(const std::string& folder) {
  std::vector<std::string> found;
  for (auto entry = fs::recursive_directory_iterator(folder); entry != fs::recursive_directory_iterator();
       ++entry) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with('.')) {
      if (entry->is_directory()) entry.disable_recursion_pending();
    } else if (entry->is_regular_file() && is_text_in_folder(name)) {
      found.push_back(entry->path().lexically_relative(folder).generic_string());
    }
  }
  std::sort(found.begin(), found.end());
  for (std::string& path : found) path = (fs::path(folder) / path).string();
  return found;
}

// Whether the characters that end at left_end and begin at right_begin are both well-formed and not white
// space.
bool stands_between_characters(std::string_view text, std::size_t left_end, std::size_t right_begin) {
  std::size_t left = left_end;
  for (int i = 0; i < 4 && left > 0; ++i) {
    if ((static_cast<unsigned char>(text[--left]) & 0xC0) != 0x80) break;
  }
  if (left == left_end || utf8_length_at(text, left) != left_end - left) return false;
  if (utf8_length_at(text, right_begin) == 0) return false;
  return !is_white_space(next_code_point(text, left)) && !is_white_space(next_code_point(text, right_begin));
}

// Reads one member of a JSON object without building the rest of it. (The text is known to begin with a
// brace.)
class FieldReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit FieldReader(const std::string& field) : field_(field) {}

  bool found() const { return found_; }
  std::string& value() { return value_; }
  const std::string& failure() const { return failure_; }

  bool string(string_t& text) override {
    if (!wanted_) return scalar();
    wanted_ = false;
    found_ = true;
    value_ = std::move(text);
    return true;
  }
  bool key(string_t& name) override {
    if (depth_ != 1 || name != field_) return true;
    if (found_) return fail(fmt::format("the key \"{}\" occurs twice", field_));
    wanted_ = true;
    return true;
  }
  bool start_object(std::size_t) override { return container(); }
  bool start_array(std::size_t) override { return container(); }
  bool end_object() override { return --depth_, true; }
  bool end_array() override { return --depth_, true; }
  bool null() override { return scalar(); }
  bool boolean(bool) override { return scalar(); }
  bool number_integer(number_integer_t) override { return scalar(); }
  bool number_unsigned(number_unsigned_t) override { return scalar(); }
  bool number_float(number_float_t, const string_t&) override { return scalar(); }
  bool binary(binary_t&) override { return scalar(); }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& exception) override {
    return fail("not valid JSON: " + printable(exception.what()));
  }

 private:
  bool scalar() { return wanted_ ? fail(fmt::format("\"{}\" is not a string", field_)) : true; }
  bool container() { return ++depth_, scalar(); }
  bool fail(std::string reason) {
    failure_ = std::move(reason);
    return false;
  }

  const std::string& field_;
  int depth_ = 0;
  bool wanted_ = false, found_ = false;
  std::string value_, failure_;
};

}  // namespace

std::vector<std::string> list_text_files(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    try {
      const fs::file_status status = fs::status(path);
      if (!fs::exists(status)) throw error("{} does not exist", path);
      if (!fs::is_directory(status)) {
        files.push_back(path);
        continue;
      }
      const std::vector<std::string> found = list_folder(path);
      if (found.empty()) {
        throw error("the folder {} has no .txt or .jsonl file (also .gz, .zst); name other files one by one",
                    path);
      }
      files.insert(files.end(), found.begin(), found.end());
    } catch (const fs::filesystem_error& failure) {
      throw error("cannot read {}: {}", path, failure.code().message());
    }
  }
  return files;
}

std::string text_format_name(std::string_view path) {
  return (is_json_lines(path) ? "jsonl" : "plain") +
         std::string(path.substr(without_compression(path).size()));
}

std::size_t find_text_cut(std::string_view text, std::size_t from, std::size_t to) {
  for (std::size_t p = std::min(to, text.size()); p-- > std::max<std::size_t>(from, 1);) {
    if (text[p - 1] == '\n' && stands_between_characters(text, p - 1, p)) return p;
    if (text[p] == ' ' && stands_between_characters(text, p, p + 1)) return p;
  }
  return 0;
}

class TextSource::TextFile {
 public:
  virtual ~TextFile() = default;
  virtual bool next(TextPiece& piece) = 0;
  virtual std::uint64_t stored_bytes_read() const = 0;
};

class TextSource::PlainFile : public TextFile {
 public:
  PlainFile(const std::string& path, const TextOptions& options)
      : path_(path), stream_(open_byte_stream(path)), options_(options) {}

  bool next(TextPiece& piece) override {
    std::size_t cut = 0, searched = 0, wanted = options_.piece_bytes;
    bool more = true;
    while (cut == 0) {
      while (more && (options_.whole_documents || buffer_.size() <= wanted)) more = fill();
      if (!more && buffer_.size() <= wanted) break;
      if (!more && options_.whole_documents) break;
      cut = find_text_cut(buffer_, searched, wanted);
      if (cut == 0 && wanted >= kMaxPieceBytes) {
        cut = wanted;
        while (cut > wanted - 4 && (static_cast<unsigned char>(buffer_[cut]) & 0xC0) == 0x80) --cut;
      }
      searched = wanted;
      wanted += options_.piece_bytes;
    }
    if (buffer_.empty()) return false;
    piece.starts_document = position_ == 0;
    piece.origin = path_;
    piece.text = std::move(buffer_);
    buffer_.clear();
    if (cut != 0) {
      buffer_.assign(piece.text, cut);
      piece.text.resize(cut);
    }
    if (options_.require_utf8) check_utf8(piece.text);
    position_ += piece.text.size();
    return true;
  }

  std::uint64_t stored_bytes_read() const override { return stream_->stored_bytes_read(); }

 private:
  // Appends to the buffer what one read gives; false at the end.
  bool fill() {
    const std::size_t old_size = buffer_.size();
    buffer_.resize(old_size + kReadBytes);
    const std::size_t count = stream_->read(buffer_.data() + old_size, kReadBytes);
    buffer_.resize(old_size + count);
    return count > 0;
  }

  void check_utf8(const std::string& text) const {
    const std::size_t bad = find_invalid_utf8(text);
    if (bad < text.size()) {
      throw error(
          "{}: byte {} (0x{:02x}) is not UTF-8; convert the text (iconv) or use a byte-level tokenizer",
          path_, position_ + bad, static_cast<unsigned char>(text[bad]));
    }
  }

  std::string path_;
  std::unique_ptr<ByteStream> stream_;
  std::string buffer_;  // read, not yet passed on
  const TextOptions& options_;
  std::uint64_t position_ = 0;
};

class TextSource::JsonLinesFile : public TextFile {
 public:
  JsonLinesFile(const std::string& path, const TextOptions& options)
      : lines_(path, kMaxLineBytes), options_(options) {}

  bool next(TextPiece& piece) override {
    std::string_view line;
    while (lines_.next(line)) {
      if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
      piece.origin = lines_.origin();
      check_json_object_text(line, piece.origin);
      FieldReader reader(options_.field);
      if (!nlohmann::json::sax_parse(line.begin(), line.end(), &reader)) {
        throw error("{}: {}", piece.origin, reader.failure());
      }
      if (!reader.found()) throw error("{}: the object has no \"{}\"", piece.origin, options_.field);
      if (reader.value().empty()) continue;
      piece.text = std::move(reader.value());
      piece.starts_document = true;
      return true;
    }
    return false;
  }

  std::uint64_t stored_bytes_read() const override { return lines_.stored_bytes_read(); }

 private:
  LineReader lines_;
  const TextOptions& options_;
};

TextSource::TextSource(std::vector<std::string> files, TextOptions options)
    : files_(std::move(files)), options_(std::move(options)) {}
TextSource::~TextSource() = default;

bool TextSource::next(TextPiece& piece) {
  while (true) {
    if (!current_) {
      if (next_file_ == files_.size()) return false;
      const std::string& path = files_[next_file_++];
      if (is_json_lines(path)) {
        current_ = std::make_unique<JsonLinesFile>(path, options_);
      } else {
        current_ = std::make_unique<PlainFile>(path, options_);
      }
    }
    if (current_->next(piece)) return true;
    finished_bytes_ += current_->stored_bytes_read();
    current_.reset();
  }
}

std::uint64_t TextSource::stored_bytes_read() const {
  return finished_bytes_ + (current_ ? current_->stored_bytes_read() : 0);
}

}  // namespace heddle
