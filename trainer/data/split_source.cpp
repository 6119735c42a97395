#include "trainer/data/split_source.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "trainer/data/utf8.h"

namespace heddle {
namespace {

// The byte where character number `count` begins; text.size() if there are not more than `count`.
std::size_t byte_of_character(std::string_view text, std::int64_t count) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool begins = (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
    if (begins && count-- == 0) return i;
  }
  return text.size();
}

}  // namespace

SplitPoint split_point(const TextSize& size, double validation_fraction) {
  if (validation_fraction <= 0) return {};
  const bool single = size.documents == 1;
  const double total = static_cast<double>(single ? size.characters : size.bytes);
  return {single ? SplitPoint::Unit::characters : SplitPoint::Unit::bytes,
          static_cast<std::int64_t>(std::floor(total * (1 - validation_fraction)))};
}

SplitSource::SplitSource(std::vector<std::string> files, SplitPoint point,
                         std::vector<std::string> validation_files, const TextOptions& options)
    : text_(std::move(files), options),
      validation_text_(std::move(validation_files), options),
      point_(point) {}

std::uint64_t SplitSource::stored_bytes_read() const {
  return text_.stored_bytes_read() + validation_text_.stored_bytes_read();
}

// Bytes of the piece that belong to the training part.
std::size_t SplitSource::cut_in(const TextPiece& piece) const {
  const std::string_view text = piece.text;
  if (point_.unit == SplitPoint::Unit::characters)
    return byte_of_character(text, point_.position - position_);
  // Below 0 if the piece that holds the position had no line end behind it.
  const std::int64_t wanted = std::max<std::int64_t>(0, point_.position - position_);
  if (wanted == 0 && (piece.starts_document || after_line_end_)) return 0;
  if (wanted >= static_cast<std::int64_t>(text.size())) return text.size();
  // A line end just before the position is one at the position.
  const std::size_t line_end =
      text.find('\n', static_cast<std::size_t>(std::max<std::int64_t>(wanted, 1) - 1));
  return line_end == std::string_view::npos ? text.size() : line_end + 1;
}

bool SplitSource::next(TextPiece& piece, SplitPart& part) {
  if (!pending_.text.empty()) {
    piece = std::exchange(pending_, {});
    part = SplitPart::validation;
    return true;
  }
  if (!text_.next(piece)) {
    part = SplitPart::validation;
    return validation_text_.next(piece);
  }
  if (behind_cut_ || point_.unit == SplitPoint::Unit::none) {
    part = behind_cut_ ? SplitPart::validation : SplitPart::train;
    return true;
  }
  const std::size_t cut = cut_in(piece);
  after_line_end_ = piece.text.ends_with('\n');
  position_ += point_.unit == SplitPoint::Unit::characters ? count_characters(piece.text)
                                                           : static_cast<std::int64_t>(piece.text.size());
  part = cut == 0 ? SplitPart::validation : SplitPart::train;
  if (cut == piece.text.size()) return true;
  behind_cut_ = true;
  if (cut > 0) {
    pending_ = {piece.text.substr(cut), true, piece.origin};
    piece.text.resize(cut);
  } else {
    piece.starts_document = true;
  }
  return true;
}

}  // namespace heddle
