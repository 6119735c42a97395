#include "trainer/tasks/attention_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <numeric>

#include "kernels/error.h"

namespace heddle {

namespace {

std::string json_of(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string json_of(const std::vector<std::string>& tokens) {
  std::string list;
  for (const std::string& token : tokens) list += (list.empty() ? "" : ", ") + json_of(token);
  return "[" + list + "]";
}

// Nine digits: the sum of a row stays 1 to 1e-6 for any number of columns that fits in memory.
void append_weights(std::string& json, const AttentionMap& map) {
  auto out = std::back_inserter(json);
  for (std::int64_t i = 0; i < map.rows; ++i) {
    json += i == 0 ? "[" : ",\n          [";
    for (std::int64_t j = 0; j < map.columns; ++j)
      fmt::format_to(out, "{}{:.9g}", j == 0 ? "" : ", ", map(i, j));
    json += "]";
  }
}

std::string trimmed(const std::string& token) {
  const std::size_t begin = token.find_first_not_of(' ');
  if (begin == std::string::npos) return token;
  return token.substr(begin, token.find_last_not_of(' ') + 1 - begin);
}

constexpr AttentionKind kKinds[] = {AttentionKind::encoder, AttentionKind::decoder, AttentionKind::cross};

}  // namespace

std::vector<std::vector<const AttentionMap*>> AttentionReport::layers_of(AttentionKind kind) const {
  std::vector<std::vector<const AttentionMap*>> layers;
  for (const AttentionMap& map : maps) {
    if (map.place.kind != kind) continue;
    if (layers.empty() || layers.back().front()->place.layer != map.place.layer) layers.emplace_back();
    layers.back().push_back(&map);
  }
  return layers;
}

std::string attention_json(const AttentionReport& report) {
  const bool pair = !report.source.empty();
  const char* const text = pair ? "target" : "text";
  std::string json = fmt::format(
      "{{\n  \"format\": \"heddle attention\",\n  \"version\": 1,\n  \"checkpoint\": {},\n"
      "  \"family\": {},\n  \"tokens\": {{",
      json_of(report.checkpoint), json_of(report.family));
  if (pair) json += fmt::format("\"source\": {}, ", json_of(report.source));
  json += fmt::format("\"{}\": {}}},\n  \"layers\": [", text, json_of(report.text));
  bool first_layer = true;
  for (AttentionKind kind : kKinds)
    for (const auto& heads : report.layers_of(kind)) {
      json += fmt::format(
          "{}\n    {{\"kind\": \"{}\", \"layer\": {}, \"rows\": \"{}\", \"columns\": \"{}\", \"heads\": [",
          first_layer ? "" : ",", name_of(kind), heads.front()->place.layer,
          kind == AttentionKind::encoder ? "source" : text, kind == AttentionKind::decoder ? text : "source");
      first_layer = false;
      for (const AttentionMap* map : heads) {
        json += fmt::format("{}\n      {{\"head\": {}, \"weights\": [\n          ",
                            map == heads.front() ? "" : ",", map->head);
        append_weights(json, *map);
        json += "]}";
      }
      json += "]}";
    }
  return json + "\n  ]\n}\n";
}

std::vector<std::int64_t> places_of(const std::string& token, const std::vector<std::string>& tokens) {
  std::vector<std::int64_t> places;
  for (std::size_t i = 0; i < tokens.size(); ++i)
    if (trimmed(tokens[i]) == token) places.push_back(static_cast<std::int64_t>(i));
  return places;
}

std::string strongest_columns(const AttentionReport& report, const std::string& token, std::int64_t count) {
  std::string table;
  for (AttentionKind kind : kKinds)
    for (const auto& heads : report.layers_of(kind))
      for (std::int64_t place : places_of(token, report.rows_of(kind)))
        for (const AttentionMap* map : heads) {
          const std::vector<std::string>& columns = report.columns_of(kind);
          std::vector<std::int64_t> order(columns.size());
          std::iota(order.begin(), order.end(), 0);
          std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
            return (*map)(place, a) > (*map)(place, b);
          });
          order.resize(std::min(order.size(), static_cast<std::size_t>(count)));
          table +=
              fmt::format("{:<8} {:>5} {:>5} {:>5}  ", name_of(kind), map->place.layer, map->head, place);
          for (std::int64_t j : order)
            table +=
                fmt::format("  {} {:.3f}", trimmed(columns[static_cast<std::size_t>(j)]), (*map)(place, j));
          table += '\n';
        }
  if (table.empty())
    throw usage_error("no token is '{}': these look at others: {}", token,
                      fmt::join(report.source.empty() ? report.text : report.source, " "));
  return fmt::format("{:<8} {:>5} {:>5} {:>5}    what '{}' looks at most\n", "kind", "layer", "head", "place",
                     token) +
         table;
}

}  // namespace heddle
