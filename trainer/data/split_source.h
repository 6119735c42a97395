// Text that is divided into a training and a validation part.
//
// By separate texts, or by position: the validation part is the last fraction of the text, as in nanoGPT's
// Shakespeare example.
//   - One document: the first floor(characters * (1 - fraction)) characters train, the rest validates.
//   - Several: the cut is after the first line end, or the end of the document if that comes before it, that
//   is at or
//     behind floor(bytes * (1 - fraction)). A document that is cut counts in both parts.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trainer/data/text_source.h"

namespace heddle {

// How much text there is.
struct TextSize {
  std::int64_t documents = 0;
  std::int64_t bytes = 0;
  std::int64_t characters = 0;
};

// Where the training part ends; by default nowhere.
struct SplitPoint {
  enum class Unit : std::uint8_t { none, characters, bytes };
  Unit unit = Unit::none;
  std::int64_t position = 0;
};

SplitPoint split_point(const TextSize& size, double validation_fraction);

enum class SplitPart : std::uint8_t { train, validation };

// The pieces of `files`, cut at `point`, then those of `validation_files`, all of which are for validation.
// What is behind the cut starts a document.
class SplitSource {
 public:
  SplitSource(std::vector<std::string> files, SplitPoint point, std::vector<std::string> validation_files,
              const TextOptions& options);

  bool next(TextPiece& piece, SplitPart& part);
  std::uint64_t stored_bytes_read() const;

 private:
  std::size_t cut_in(const TextPiece& piece) const;

  TextSource text_, validation_text_;
  SplitPoint point_;
  std::int64_t position_ = 0;    // in characters or bytes of text_
  bool after_line_end_ = false;  // position_ is behind a line feed
  bool behind_cut_ = false;
  TextPiece pending_;  // the second half of a piece that was cut, if not empty
};

}  // namespace heddle
