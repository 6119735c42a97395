#include "trainer/strict_json.h"

#include <set>
#include <vector>

#include "kernels/error.h"
#include "trainer/files.h"

namespace heddle {

namespace {

// Refuses what the DOM would hide: a second value under one key, and nesting without end.
class StrictCallback {
 public:
  StrictCallback(const std::string& what, int max_depth) : what_(what), max_depth_(max_depth) {}

  bool operator()(int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (depth >= max_depth_ && (event == Event::object_start || event == Event::array_start))
      throw error("{}: JSON nested deeper than {} levels", what_, max_depth_);
    if (event == Event::object_start) keys_.emplace_back();
    if (event == Event::object_end) keys_.pop_back();
    if (event == Event::key) {
      const std::string& key = parsed.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) throw error("{}: duplicate JSON key {}", what_, printable(key));
    }
    return true;
  }

 private:
  const std::string& what_;
  int max_depth_;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

}  // namespace

void check_json_object_text(std::string_view text, const std::string& what) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || text[first] != '{')
    throw error("{}: a JSON object was expected, it does not begin with '{{'", what);
  const std::size_t nul = text.find('\0');
  if (nul != std::string_view::npos) throw error("{}: a NUL byte at byte {} of the JSON text", what, nul);
}

nlohmann::json parse_strict_json(std::string_view text, const std::string& what, int max_depth) {
  check_json_object_text(text, what);
  try {
    return nlohmann::json::parse(text.begin(), text.end(), StrictCallback(what, max_depth));
  } catch (const nlohmann::json::exception& reason) {
    throw error("{}: not valid JSON: {}", what, printable(reason.what()));
  }
}

}  // namespace heddle
