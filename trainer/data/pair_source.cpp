#include "trainer/data/pair_source.h"

#include <string_view>
#include <utility>

#include "kernels/error.h"
#include "trainer/data/line_reader.h"
#include "trainer/data/utf8.h"

namespace heddle {
namespace {

constexpr std::size_t kMaxLineBytes = std::size_t{1} << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool next_line(LineReader& lines, std::string_view& line) {
  if (!lines.next(line)) return false;
  if (lines.number() == 1 && line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
  if (line.ends_with('\r')) line.remove_suffix(1);
  const std::size_t bad = find_invalid_utf8(line);
  if (bad < line.size()) {
    throw error("{}: byte {} of the line (0x{:02x}) is not UTF-8; convert the text (iconv)", lines.origin(),
                bad, static_cast<unsigned char>(line[bad]));
  }
  return true;
}

bool is_blank(std::string_view text) {
  for (std::size_t position = 0; position < text.size();) {
    if (!is_white_space(next_code_point(text, position))) return false;
  }
  return true;
}

}  // namespace

std::vector<std::string> PairFiles::all() const {
  std::vector<std::string> files = source;
  files.insert(files.end(), target.begin(), target.end());
  files.insert(files.end(), pairs.begin(), pairs.end());
  return files;
}

class PairSource::PairFile {
 public:
  virtual ~PairFile() = default;
  virtual bool next(TextPair& pair) = 0;
  virtual std::uint64_t stored_bytes_read() const = 0;
};

class PairSource::TwoFiles : public PairFile {
 public:
  TwoFiles(const std::string& source, const std::string& target)
      : source_(source, kMaxLineBytes), target_(target, kMaxLineBytes) {}

  bool next(TextPair& pair) override {
    std::string_view source, target;
    const bool has_source = next_line(source_, source), has_target = next_line(target_, target);
    if (has_source != has_target) refuse(has_source ? source_ : target_);
    if (!has_source) return false;
    pair.source = source;
    pair.target = target;
    pair.source_origin = source_.origin();
    pair.target_origin = target_.origin();
    return true;
  }

  std::uint64_t stored_bytes_read() const override {
    return source_.stored_bytes_read() + target_.stored_bytes_read();
  }

 private:
  [[noreturn]] void refuse(LineReader& longer) {
    std::string_view line;
    while (longer.next(line)) {
    }
    throw error("{} has {} lines and {} has {}: line i of one must belong to line i of the other",
                source_.path(), source_.number(), target_.path(), target_.number());
  }

  LineReader source_, target_;
};

class PairSource::TabSeparatedFile : public PairFile {
 public:
  explicit TabSeparatedFile(const std::string& path) : lines_(path, kMaxLineBytes) {}

  bool next(TextPair& pair) override {
    std::string_view line;
    if (!next_line(lines_, line)) return false;
    const std::size_t tab = line.find('\t');
    if (tab == std::string_view::npos || line.find('\t', tab + 1) != std::string_view::npos) {
      throw error("{}: the line has {}; a pair is two texts with one tab between", lines_.origin(),
                  tab == std::string_view::npos ? "no tab" : "more than one tab");
    }
    pair.source = line.substr(0, tab);
    pair.target = line.substr(tab + 1);
    pair.source_origin = pair.target_origin = lines_.origin();
    return true;
  }

  std::uint64_t stored_bytes_read() const override { return lines_.stored_bytes_read(); }

 private:
  LineReader lines_;
};

PairSource::PairSource(PairFiles files) : files_(std::move(files)) {
  if (files_.source.size() != files_.target.size()) {
    throw usage_error(
        "{} source and {} target files: each source file needs its target file, in the same order",
        files_.source.size(), files_.target.size());
  }
}

PairSource::~PairSource() = default;

std::unique_ptr<PairSource::PairFile> PairSource::open_next() {
  const std::size_t index = next_file_++;
  if (index < files_.source.size())
    return std::make_unique<TwoFiles>(files_.source[index], files_.target[index]);
  return std::make_unique<TabSeparatedFile>(files_.pairs[index - files_.source.size()]);
}

bool PairSource::next(TextPair& pair) {
  while (true) {
    if (!current_) {
      if (next_file_ == files_.source.size() + files_.pairs.size()) return false;
      current_ = open_next();
    }
    if (!current_->next(pair)) {
      finished_bytes_ += current_->stored_bytes_read();
      current_.reset();
      continue;
    }
    ++read_;
    if (!is_blank(pair.source) && !is_blank(pair.target)) return true;
    ++empty_;
  }
}

std::uint64_t PairSource::stored_bytes_read() const {
  return finished_bytes_ + (current_ ? current_->stored_bytes_read() : 0);
}

}  // namespace heddle
