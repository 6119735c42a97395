// Lower case by Unicode's full mapping, as Python's str.lower: a capital I with a dot becomes two characters,
// a capital sigma at the end of a word the final one. No language's own rules (of Turkish, Lithuanian).
#pragma once

#include <string>
#include <string_view>

namespace heddle {

// `text` must be UTF-8.
std::string lower_case(std::string_view text);

}  // namespace heddle
