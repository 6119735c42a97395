#include "trainer/data/tokenize_report.h"

#include <fmt/format.h>

#include <iterator>

#include "trainer/data/utf8.h"

namespace heddle {
namespace {

std::string format_counts(const TokenizeReport& report) {
  return fmt::format("{} tokens, {} bytes, {} characters, {:.4f} tokens per byte\n", report.tokens.size(),
                     report.bytes, report.characters, report.tokens_per_byte());
}

}  // namespace

TokenizeReport tokenize_report(const Tokenizer& tokenizer, std::string_view text) {
  TokenizeReport report;
  report.bytes = text.size();
  report.characters = static_cast<std::size_t>(count_characters(text));
  report.knows_places = tokenizer.keeps_text();
  std::size_t begin = 0;
  for (const std::int32_t id : tokenizer.encode(text)) {
    const std::string_view bytes = tokenizer.token_bytes(id);
    const std::size_t end = report.knows_places ? begin + bytes.size() : 0;
    report.tokens.push_back({id, begin, end, escape_for_display(bytes)});
    begin = end;
  }
  return report;
}

std::string format_boundaries(const TokenizeReport& report) {
  std::string line;
  for (const TokenizeReport::Token& token : report.tokens) {
    if (!line.empty()) line += '|';
    line += token.shown;
  }
  return line + "\n" + format_counts(report);
}

std::string format_table(const TokenizeReport& report) {
  std::string table = fmt::format("{:>8}  {:>8}  {:>10}  {}\n", "token", "id", "byte", "text");
  for (std::size_t i = 0; i < report.tokens.size(); ++i) {
    const TokenizeReport::Token& token = report.tokens[i];
    fmt::format_to(std::back_inserter(table), "{:>8}  {:>8}  {:>10}  \"{}\"\n", i, token.id,
                   report.knows_places ? std::to_string(token.begin) : "-", token.shown);
  }
  return table + format_counts(report);
}

}  // namespace heddle
