// Text from files, as a stream of documents in a defined order.
//
//   .txt, any other name   plain text: the whole file is one document
//   .jsonl, .ndjson        each non-blank line is a JSON object, one document in its text field
//   ....gz, ....zst        the same, unpacked on the fly
//   a folder               all its .txt, .text, .jsonl and .ndjson files (also .gz, .zst), with those of
//   folders
//                          below, in the byte order of their relative paths; hidden files and folders are
//                          left out
//
// Text is passed on byte for byte: no change of line ends, no Unicode normalization, a byte order mark stays.
// Documents without any text are skipped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace heddle {

class ByteStream;

struct TextOptions {
  std::string field = "text";    // the member of a .jsonl object that holds the text
  bool require_utf8 = false;     // plain text that is not UTF-8 is an error naming file and byte
  bool whole_documents = false;  // never cut a document in pieces
  // A plain file is passed on in pieces of about this many bytes.
  std::size_t piece_bytes = std::size_t{1} << 20;
};

// A document, or a part of one. A document is cut only
//   - after a line feed whose two neighbours are not white space, or
//   - before a space whose two neighbours are not white space,
// and the pre-tokenizers known to heddle (GPT-2's, Llama 3's) have a boundary there whatever surrounds it, so
// the tokens of the pieces are those of the whole. In text without such a place a piece grows, to at most 64
// MiB, and is then cut between two characters.
struct TextPiece {
  std::string text;
  bool starts_document = false;
  std::string origin;  // for messages: "file" or "file:line"
};

// The files that `paths` (files and folders) stand for, in order. Throws Error for a missing path or a folder
// without any text file.
std::vector<std::string> list_text_files(const std::vector<std::string>& paths);

// "plain", "jsonl", with ".gz" or ".zst": what a file is read as, by its name.
std::string text_format_name(std::string_view path);

class TextSource {
 public:
  // `files` as listed by list_text_files.
  TextSource(std::vector<std::string> files, TextOptions options);
  ~TextSource();
  TextSource(const TextSource&) = delete;
  TextSource& operator=(const TextSource&) = delete;

  // The next piece; false after the last. Errors name the file (and line).
  bool next(TextPiece& piece);

  // Bytes of the stored files consumed so far, for progress.
  std::uint64_t stored_bytes_read() const;

 private:
  class TextFile;
  class PlainFile;
  class JsonLinesFile;

  std::vector<std::string> files_;
  TextOptions options_;
  std::size_t next_file_ = 0;
  std::uint64_t finished_bytes_ = 0;
  std::unique_ptr<TextFile> current_;
};

// The last place p in [from, to) where text may be cut (see TextPiece), 0 if there is none. Needs the
// characters on both sides of p, so `to` should lie some bytes before the end of text that goes on.
std::size_t find_text_cut(std::string_view text, std::size_t from, std::size_t to);

}  // namespace heddle
