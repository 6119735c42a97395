#include "trainer/data/tokenizers/bpe_files.h"

#include <algorithm>
#include <cctype>
#include <unordered_map>
#include <utility>

#include "kernels/error.h"
#include "trainer/data/json_fields.h"
#include "trainer/data/tokenizers/byte_level.h"
#include "trainer/files.h"

namespace heddle {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 28;

// token as written in the file -> id
using Vocabulary = std::unordered_map<std::string, std::int32_t>;

std::int32_t checked_id(const json& value, const std::string& token, const std::string& name) {
  if (!value.is_number_unsigned() ||
      value.get<std::uint64_t>() >= static_cast<std::uint64_t>(kMaxVocabularySize)) {
    throw error("{}: the id of {} is not an integer in [0, {})", name, json(token).dump(),
                kMaxVocabularySize);
  }
  return value.get<std::int32_t>();
}

Vocabulary parse_vocabulary(const json& object, const std::string& name) {
  if (!object.is_object()) throw error("{}: the vocabulary is not an object of tokens and ids", name);
  Vocabulary vocabulary;
  for (const auto& [token, id] : object.items()) vocabulary.emplace(token, checked_id(id, token, name));
  return vocabulary;
}

// Ids without holes, each once: a list in the order of ids.
std::vector<std::string> tokens_by_id(const Vocabulary& vocabulary, const std::string& name) {
  std::vector<std::string> tokens(vocabulary.size());
  std::vector<bool> seen(vocabulary.size());
  for (const auto& [token, id] : vocabulary) {
    if (static_cast<std::size_t>(id) >= tokens.size()) {
      throw error("{}: the id {} is too large for {} tokens: ids must run from 0 without holes", name, id,
                  tokens.size());
    }
    if (seen[id]) throw error("{}: two tokens have the id {}", name, id);
    seen[id] = true;
    tokens[id] = token;
  }
  return tokens;
}

// From the byte-level alphabet to bytes, except for special and added tokens, which are written as they are.
void to_bytes(BpeModel& model, const std::string& name) {
  std::vector<bool> literal(model.tokens.size());
  for (const std::int32_t id : model.special) literal[id] = true;
  for (const std::int32_t id : model.added) literal[id] = true;
  for (std::size_t id = 0; id < model.tokens.size(); ++id) {
    std::string bytes;
    if (literal[id]) continue;
    if (!from_byte_level(model.tokens[id], bytes)) {
      throw error(
          "{}: the token {} is not written in the byte-level alphabet; only byte-level BPE is supported",
          name, json(model.tokens[id]).dump());
    }
    model.tokens[id] = std::move(bytes);
  }
}

BpeMerge find_merge_ids(const Vocabulary& vocabulary, const std::string& left, const std::string& right,
                        const std::string& place) {
  const auto id = [&](const std::string& token) {
    const auto found = vocabulary.find(token);
    if (found == vocabulary.end()) throw error("{}: {} is not in the vocabulary", place, json(token).dump());
    return found->second;
  };
  return {id(left), id(right), id(left + right)};
}

// "left right", with exactly one space
BpeMerge parse_merge(const Vocabulary& vocabulary, const std::string& line, const std::string& place) {
  const std::size_t space = line.find(' ');
  if (space == std::string::npos || space == 0 || space + 1 == line.size() ||
      line.find(' ', space + 1) != std::string::npos) {
    throw error("{}: the merge is not two tokens with one space between", place);
  }
  return find_merge_ids(vocabulary, line.substr(0, space), line.substr(space + 1), place);
}

// Refuses a member that is there and has another value than the only one that is supported.
void require(bool supported, const std::string& name, const std::string& what) {
  if (!supported) throw error("{}: {} is not supported", name, what);
}

bool absent_or_null(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null();
}

bool absent_or_false(const json& object, const char* key) {
  return absent_or_null(object, key) || object.at(key) == json(false);
}

std::string type_of(const json& component, const std::string& name, const char* what) {
  if (!component.is_object()) throw error("{}: the {} is not an object", name, what);
  return json_string(component, "type", name);
}

void check_model(const json& model, const std::string& name) {
  const std::string type = type_of(model, name, "model");
  require(type == "BPE", name, fmt::format("a model of type \"{}\" (only byte-level BPE is)", type));
  require(absent_or_null(model, "dropout") || model["dropout"] == json(0.0), name, "dropout in the model");
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    require(absent_or_null(model, affix) || model[affix] == json(""), name, fmt::format("\"{}\"", affix));
  }
  require(absent_or_false(model, "byte_fallback"), name, "\"byte_fallback\"");
}

// Hugging Face runs these expressions with Oniguruma's Ruby syntax, heddle with PCRE2. Only what means the
// same in both is accepted: among escapes \p \P \s \S \r \n \t and escaped punctuation; no ^ and $ (lines in
// Ruby), no sets within sets, no {1,3}+ (greedy there, possessive here).
void check_expression(const std::string& pattern, const std::string& name) {
  const auto refuse = [&](std::size_t position, const char* what) {
    throw error(
        "{}: the Split expression has {} at character {}, which means different things in different engines; "
        "not supported",
        name, what, position);
  };
  bool in_set = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i], next = i + 1 < pattern.size() ? pattern[i + 1] : '\0';
    if (c == '\\') {
      const bool letter_or_digit = std::isalnum(static_cast<unsigned char>(next)) != 0;
      if (letter_or_digit && std::string_view("pPsSrnt").find(next) == std::string_view::npos) {
        refuse(i, "an unusual escape");
      }
      ++i;
      // The braces of \p{L} count nothing.
      if ((next == 'p' || next == 'P') && i + 1 < pattern.size() && pattern[i + 1] == '{') {
        i = std::min(pattern.find('}', i), pattern.size());
      }
    } else if (in_set) {
      if (c == '[' || (c == '&' && next == '&')) refuse(i, "a set within a set");
      in_set = c != ']';
    } else if (c == '[') {
      in_set = true;
      if (next == '^') ++i;
    } else if (c == '^' || c == '$') {
      refuse(i, "^ or $");
    } else if (c == '}' && next == '+') {
      refuse(i, "a + after a counted repetition");
    }
  }
}

std::string parse_split(const json& split, const std::string& name) {
  const json& pattern = json_member(split, "pattern", name);
  require(pattern.is_object() && pattern.contains("Regex"), name,
          "a Split pre-tokenizer without a \"Regex\"");
  require(json_string(split, "behavior", name) == "Isolated", name,
          "a Split whose behavior is not \"Isolated\"");
  require(absent_or_false(split, "invert"), name, "an inverted Split");
  const std::string expression = json_string(pattern, "Regex", name);
  require(!expression.empty(), name, "an empty Split expression");
  check_expression(expression, name);
  return expression;
}

// The expression that splits text into words.
std::string parse_pre_tokenizer(const json& file, const std::string& name) {
  require(!absent_or_null(file, "pre_tokenizer"), name, "BPE without a ByteLevel pre-tokenizer");
  const json& whole = file["pre_tokenizer"];
  std::string pattern;
  const json* byte_level = &whole;
  if (type_of(whole, name, "pre-tokenizer") == "Sequence") {
    const json& parts = json_member(whole, "pretokenizers", name);
    require(parts.is_array() && parts.size() == 2 && type_of(parts[0], name, "pre-tokenizer") == "Split",
            name, "a pre-tokenizer Sequence other than Split, ByteLevel");
    pattern = parse_split(parts[0], name);
    byte_level = &parts[1];
  }
  const std::string type = type_of(*byte_level, name, "pre-tokenizer");
  require(type == "ByteLevel", name, fmt::format("the pre-tokenizer \"{}\" (ByteLevel is)", type));
  // Absent flags are true, as in Hugging Face's reader.
  require(absent_or_false(*byte_level, "add_prefix_space") && byte_level->contains("add_prefix_space"), name,
          "\"add_prefix_space\" other than false");
  const bool use_regex = !byte_level->contains("use_regex") || json_bool(*byte_level, "use_regex", name);
  require(use_regex == pattern.empty(), name,
          "ByteLevel's own expression beside a Split, or neither of them");
  return use_regex ? std::string(kGpt2Pattern) : pattern;
}

// Adds the tokens to the vocabulary, with their roles to the model.
void parse_added_tokens(const json& file, const std::string& name, Vocabulary& vocabulary, BpeModel& model) {
  if (absent_or_null(file, "added_tokens")) return;
  const json& list = file["added_tokens"];
  if (!list.is_array()) throw error("{}: \"added_tokens\" is not a list", name);
  for (const json& token : list) {
    const std::string content = json_string(token, "content", name);
    const std::int32_t id = checked_id(json_member(token, "id", name), content, name);
    const auto [place, is_new] = vocabulary.emplace(content, id);
    if (place->second != id) throw error("{}: the added token {} has two ids", name, json(content).dump());
    if (!absent_or_false(token, "special")) {
      json_bool(token, "special", name);
      model.special.push_back(id);
      continue;
    }
    for (const char* flag : {"single_word", "lstrip", "rstrip"}) {
      require(absent_or_false(token, flag), name,
              fmt::format("\"{}\" of the token {}", flag, json(content).dump()));
    }
    model.added.push_back(id);
  }
}

void find_end_of_text(BpeModel& model) {
  for (const std::string_view name : {kEndOfTextName, std::string_view("<|end_of_text|>"),
                                      std::string_view("</s>"), std::string_view("<eos>")}) {
    for (const std::int32_t id : model.special) {
      if (model.tokens[id] == name) {
        model.end_of_text = id;
        return;
      }
    }
  }
}

}  // namespace

BpeModel read_gpt2_files(const std::string& vocabulary_path, const std::string& merges_path) {
  const Vocabulary vocabulary =
      parse_vocabulary(read_json_file(vocabulary_path, kMaxFileBytes), vocabulary_path);
  BpeModel model;
  model.tokens = tokens_by_id(vocabulary, vocabulary_path);
  if (const auto end = vocabulary.find(std::string(kEndOfTextName)); end != vocabulary.end()) {
    model.special.push_back(end->second);
    model.end_of_text = end->second;
  }
  to_bytes(model, vocabulary_path);

  const std::string merges = read_small_file(merges_path, kMaxFileBytes);
  std::int64_t line_number = 0;
  for (std::size_t begin = 0; begin < merges.size();) {
    const std::size_t end = std::min(merges.find('\n', begin), merges.size());
    const std::string line = merges.substr(begin, end - begin);
    begin = end + 1;
    if (++line_number == 1 && line.starts_with("#version")) continue;
    model.merges.push_back(parse_merge(vocabulary, line, fmt::format("{}:{}", merges_path, line_number)));
  }
  return model;
}

BpeModel parse_tokenizer_json(const json& file, const std::string& name) {
  if (!absent_or_null(file, "version")) {
    require(json_string(file, "version", name) == "1.0", name, "a version other than \"1.0\"");
  }
  const json& part = json_member(file, "model", name);
  check_model(part, name);
  require(absent_or_null(file, "normalizer"), name, "a normalizer");
  require(!absent_or_null(file, "decoder") && type_of(file["decoder"], name, "decoder") == "ByteLevel", name,
          "a decoder other than ByteLevel");

  BpeModel model;
  model.pattern = parse_pre_tokenizer(file, name);
  model.ignore_merges = !absent_or_false(part, "ignore_merges") && json_bool(part, "ignore_merges", name);
  Vocabulary vocabulary = parse_vocabulary(json_member(part, "vocab", name), name);
  parse_added_tokens(file, name, vocabulary, model);
  model.tokens = tokens_by_id(vocabulary, name);
  to_bytes(model, name);
  find_end_of_text(model);

  const json& merges = json_member(part, "merges", name);
  if (!merges.is_array()) throw error("{}: \"merges\" is not a list", name);
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const json& merge = merges[i];
    const std::string place = fmt::format("{}: merge {}", name, i);
    if (merge.is_string()) {
      model.merges.push_back(parse_merge(vocabulary, merge.get<std::string>(), place));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      model.merges.push_back(
          find_merge_ids(vocabulary, merge[0].get<std::string>(), merge[1].get<std::string>(), place));
    } else {
      throw error("{} is neither \"a b\" nor [\"a\", \"b\"]", place);
    }
  }
  if (!absent_or_null(file, "post_processor")) model.post_processor = file["post_processor"].dump();
  return model;
}

std::string write_tokenizer_json(const BpeTokenizer& tokenizer) {
  const BpeModel& model = tokenizer.model();
  const auto written = [&](std::int32_t id) {
    const std::string& bytes = model.tokens[id];
    return tokenizer.is_special(id) || tokenizer.is_added(id) ? bytes : to_byte_level(bytes);
  };
  const auto separator = [](bool first) { return first ? "\n" : ",\n"; };

  // Written piece by piece: the members keep Hugging Face's order, and the vocabulary the order of the ids.
  std::string text =
      "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [";
  bool first = true;
  for (std::int32_t id = 0; id < tokenizer.vocabulary_size(); ++id) {
    if (!tokenizer.is_special(id) && !tokenizer.is_added(id)) continue;
    text += fmt::format(
        "{}    {{\"id\": {}, \"content\": {}, \"single_word\": false, \"lstrip\": false, "
        "\"rstrip\": false, \"normalized\": false, \"special\": {}}}",
        separator(first), id, json(written(id)).dump(), tokenizer.is_special(id));
    first = false;
  }
  text += "\n  ],\n  \"normalizer\": null,\n  \"pre_tokenizer\": ";
  const std::string byte_level =
      "{{\"type\": \"ByteLevel\", \"add_prefix_space\": {}, \"trim_offsets\": true, "
      "\"use_regex\": {}}}";
  if (model.pattern == kGpt2Pattern) {
    text += fmt::format(fmt::runtime(byte_level), false, true);
  } else {
    text += fmt::format(
        "{{\"type\": \"Sequence\", \"pretokenizers\": [\n    {{\"type\": \"Split\", \"pattern\": "
        "{{\"Regex\": {}}}, \"behavior\": \"Isolated\", \"invert\": false}},\n    {}]}}",
        json(model.pattern).dump(), fmt::format(fmt::runtime(byte_level), false, false));
  }
  text += fmt::format(",\n  \"post_processor\": {},\n  \"decoder\": {},\n", model.post_processor,
                      fmt::format(fmt::runtime(byte_level), true, true));
  text += fmt::format(
      "  \"model\": {{\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n"
      "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n"
      "    \"fuse_unk\": false,\n    \"byte_fallback\": false,\n    \"ignore_merges\": {},\n"
      "    \"vocab\": {{",
      model.ignore_merges);
  for (std::int32_t id = 0; id < tokenizer.vocabulary_size(); ++id) {
    text += fmt::format("{}      {}: {}", separator(id == 0), json(written(id)).dump(), id);
  }
  text += "\n    },\n    \"merges\": [";
  for (std::size_t i = 0; i < model.merges.size(); ++i) {
    text += fmt::format("{}      {}", separator(i == 0),
                        json(written(model.merges[i].left) + " " + written(model.merges[i].right)).dump());
  }
  text += "\n    ]\n  }\n}\n";
  return text;
}

}  // namespace heddle
