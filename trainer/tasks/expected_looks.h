// Texts in which it is known what one word should look at: two files that belong together line by line.
#pragma once

#include <cstdint>
#include <string>

#include "trainer/data/line_reader.h"

namespace heddle {

struct ExpectedLook {
  std::string text;
  std::int64_t row = 0, column = 0;  // among the text's words, which stand between blanks; from 0
};

class ExpectedLooks {
 public:
  // places: on each line the number of the word that looks and of the one that it should look at, "6 1".
  ExpectedLooks(const std::string& texts, const std::string& places) : texts_(texts), places_(places) {}

  // False at the end. Throws Error naming file and line for places that are none of the text's, or if one
  // file has more lines than the other.
  bool next(ExpectedLook& look);

  std::string origin() const { return texts_.origin(); }  // "file:line" of the text that was given last

 private:
  LineReader texts_, places_;
};

std::int64_t count_words(std::string_view text);

}  // namespace heddle
