// Parallel text from files, as a stream of pairs: a text and what it is to be turned into.
//
//   sources and targets   line i of a source file belongs to line i of the target file at the same place in
//                         the list; two such files have equally many lines
//   pairs                 both on one line with one tab between
//   ....gz, ....zst       the same, unpacked on the fly
//
// All is UTF-8. Only a line feed ends a line (not a form feed, U+0085 or U+2028, which other tools split at:
// the pairing would shift); a carriage return before it is removed, as is a byte order mark at the start of a
// file. A pair with nothing but white space on a side is left out, both sides of it, and counted. All else is
// passed on byte for byte.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace heddle {

struct PairFiles {
  std::vector<std::string> source, target;  // equally many; they come first
  std::vector<std::string> pairs;

  bool empty() const { return source.empty() && target.empty() && pairs.empty(); }
  std::vector<std::string> all() const;
};

struct TextPair {
  std::string source, target;
  std::string source_origin, target_origin;  // "file:line", for messages
};

class PairSource {
 public:
  // Throws UsageError if there are not equally many source and target files.
  explicit PairSource(PairFiles files);
  ~PairSource();
  PairSource(const PairSource&) = delete;
  PairSource& operator=(const PairSource&) = delete;

  // The next pair that has text on both sides; false after the last. Throws Error naming file and line.
  bool next(TextPair& pair);

  std::int64_t pairs_read() const { return read_; }    // those left out included
  std::int64_t empty_pairs() const { return empty_; }  // left out
  // Bytes of the stored files consumed so far, for progress.
  std::uint64_t stored_bytes_read() const;

 private:
  class PairFile;
  class TwoFiles;
  class TabSeparatedFile;

  std::unique_ptr<PairFile> open_next();

  PairFiles files_;
  std::size_t next_file_ = 0;  // among source, then pairs
  std::uint64_t finished_bytes_ = 0;
  std::int64_t read_ = 0, empty_ = 0;
  std::unique_ptr<PairFile> current_;
};

}  // namespace heddle
