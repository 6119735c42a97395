#include "trainer/tasks/expected_looks.h"

#include <algorithm>
#include <charconv>

#include "kernels/error.h"
#include "trainer/files.h"

namespace heddle {

namespace {

constexpr std::string_view kBlanks = " \t\r";

// The next word of `text` from `at` on, which moves behind it; empty at the end.
std::string_view next_word(std::string_view text, std::size_t& at) {
  const std::size_t begin = std::min(text.find_first_not_of(kBlanks, at), text.size());
  at = std::min(text.find_first_of(kBlanks, begin), text.size());
  return text.substr(begin, at - begin);
}

bool parse_place(std::string_view word, std::int64_t words, std::int64_t& place) {
  const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), place);
  return problem == std::errc() && end == word.data() + word.size() && place >= 0 && place < words;
}

}  // namespace

std::int64_t count_words(std::string_view text) {
  std::int64_t words = 0;
  for (std::size_t at = 0; !next_word(text, at).empty();) ++words;
  return words;
}

bool ExpectedLooks::next(ExpectedLook& look) {
  std::string_view text, places;
  const bool has_text = texts_.next_utf8(text), has_places = places_.next_utf8(places);
  if (has_text != has_places)
    throw error("{} has more lines than {}: line i of one must belong to line i of the other",
                has_text ? texts_.path() : places_.path(), has_text ? places_.path() : texts_.path());
  if (!has_text) return false;
  look.text = text;
  const std::int64_t words = count_words(text);
  std::size_t at = 0;
  const std::string_view row = next_word(places, at), column = next_word(places, at);
  if (!parse_place(row, words, look.row) || !parse_place(column, words, look.column) ||
      !next_word(places, at).empty())
    throw error("{}: {} is not two places from 0 to {} among the words of {}", places_.origin(),
                printable(places), words - 1, texts_.origin());
  return true;
}

}  // namespace heddle
