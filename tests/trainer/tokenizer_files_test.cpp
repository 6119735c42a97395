// Tokenizer files: byte and character tokenizers, Hugging Face's tokenizer.json and GPT-2's pair, and what is
// refused.
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "tests/trainer/data_testing.h"
#include "trainer/data/tokenizers/bpe_files.h"
#include "trainer/data/tokenizers/byte_level.h"
#include "trainer/data/tokenizers/byte_tokenizer.h"
#include "trainer/data/tokenizers/character_tokenizer.h"

namespace heddle {
namespace {

using namespace data_testing;
using nlohmann::json;

TEST(ByteTokenizer, IdsAreBytes) {
  const ByteTokenizer with, without(false);
  EXPECT_EQ(with.vocabulary_size(), 257);
  EXPECT_EQ(with.end_of_text(), 256);
  EXPECT_EQ(without.vocabulary_size(), 256);
  EXPECT_EQ(without.end_of_text(), std::nullopt);
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_EQ(with.encode(all)[200], 200);
  EXPECT_EQ(with.decode(with.encode(all)), all);
  EXPECT_NE(with.hash(), without.hash());
}

TEST(CharacterTokenizer, LearnsAndRefuses) {
  std::set<char32_t> alphabet;
  collect_characters("hello \xE4\xB8\xAD\xF0\x9F\x98\x80", alphabet);
  collect_characters("", alphabet);
  const CharacterTokenizer tokenizer(alphabet);
  EXPECT_EQ(tokenizer.vocabulary_size(), 7);
  EXPECT_EQ(tokenizer.encode("eh \xF0\x9F\x98\x80"), (std::vector<std::int32_t>{1, 2, 0, 6}));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("\xE4\xB8\xAD ho")), "\xE4\xB8\xAD ho");
  EXPECT_NE(message_of([&] { tokenizer.encode("x"); }).find("'x' (U+0078)"), std::string::npos);
  EXPECT_NE(message_of([&] { tokenizer.encode("he\xFF"); }).find("byte 2"), std::string::npos);
}

TEST(TokenizerFile, SimpleKindsSurvive) {
  const TemporaryFolder folder;
  std::set<char32_t> alphabet{U'\0', U'\n', U'"', U'a', U'\u4e2d', U'\U0001f600'};
  for (const Tokenizer* tokenizer : std::initializer_list<const Tokenizer*>{
           new ByteTokenizer, new ByteTokenizer(false), new CharacterTokenizer(alphabet)}) {
    const std::unique_ptr<const Tokenizer> owner(tokenizer);
    save_tokenizer(*tokenizer, folder / "tokenizer.json");
    const auto again = load_tokenizer(folder.path());
    EXPECT_EQ(again->kind(), tokenizer->kind());
    EXPECT_EQ(again->hash(), tokenizer->hash());
    EXPECT_EQ(again->vocabulary_size(), tokenizer->vocabulary_size());
  }
}

std::string load_failure(const TemporaryFolder& folder, const std::string& content) {
  const std::string path = folder.write("tokenizer.json", content);
  const std::string message = message_of([&] { load_tokenizer(path); });
  EXPECT_TRUE(message.empty() || message.find("tokenizer.json") != std::string::npos) << message;
  return message;
}

TEST(TokenizerFile, RefusesOtherThings) {
  const TemporaryFolder folder;
  for (const char* content :
       {"", "[]", "{}", "nonsense", "{\"heddle_tokenizer\": 3}", "{\"heddle_tokenizer\": \"word\"}",
        "{\"heddle_tokenizer\": \"byte\"}",
        "{\"heddle_tokenizer\": \"byte\", \"version\": 2, \"end_of_text\": true}",
        "{\"heddle_tokenizer\": \"character\", \"version\": 1, \"characters\": []}",
        "{\"heddle_tokenizer\": \"character\", \"version\": 1, \"characters\": [\"b\", \"a\"]}",
        "{\"heddle_tokenizer\": \"character\", \"version\": 1, \"characters\": [\"a\", \"a\"]}",
        "{\"heddle_tokenizer\": \"character\", \"version\": 1, \"characters\": [\"ab\"]}",
        "{\"heddle_tokenizer\": \"character\", \"version\": 1, \"characters\": [3]}",
        "{\"heddle_tokenizer\": \"byte\", \"version\": 1, \"end_of_text\": true, \"version\": 1}"}) {
    EXPECT_NE(load_failure(folder, content), "") << content;
  }
  EXPECT_NE(message_of([&] { load_tokenizer(folder / "absent"); }).find("absent"), std::string::npos);
  const TemporaryFolder empty;
  EXPECT_NE(message_of([&] { load_tokenizer(empty.path()); }).find("holds no tokenizer"), std::string::npos);
}

// A small tokenizer.json as Hugging Face's library writes it: bytes, "he", "the", and special tokens.
json hugging_face() {
  json vocabulary;
  for (const std::uint8_t byte : byte_level_order()) {
    const int id = static_cast<int>(vocabulary.size());
    vocabulary[to_byte_level(std::string(1, static_cast<char>(byte)))] = id;
  }
  vocabulary["he"] = 256;
  vocabulary["the"] = 257;
  vocabulary["\u0120the"] = 258;
  const auto byte_level = [](bool prefix) {
    return json{
        {"type", "ByteLevel"}, {"add_prefix_space", prefix}, {"trim_offsets", true}, {"use_regex", true}};
  };
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens",
           {{{"id", 259},
             {"content", "<|endoftext|>"},
             {"single_word", false},
             {"lstrip", false},
             {"rstrip", false},
             {"normalized", true},
             {"special", true}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level(false)},
          {"post_processor",
           {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", false}, {"use_regex", true}}},
          {"decoder", byte_level(true)},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", ""},
            {"end_of_word_suffix", ""},
            {"fuse_unk", false},
            {"vocab", vocabulary},
            {"merges", {"h e", "t he", "\u0120 the"}}}}};
}

TEST(HuggingFace, LoadsMergesOfBothForms) {
  const TemporaryFolder folder;
  json file = hugging_face();
  const auto tokenizer = load_tokenizer(folder.write("tokenizer.json", file.dump()));
  EXPECT_EQ(tokenizer->vocabulary_size(), 260);
  EXPECT_EQ(tokenizer->end_of_text(), 259);
  EXPECT_EQ(tokenizer->encode("the the he"), (std::vector<std::int32_t>{257, 258, 220, 256}));
  file["model"]["merges"] = json::parse(R"([["h", "e"], ["t", "he"], ["\u0120", "the"]])");
  const auto pairs = load_tokenizer(folder.write("tokenizer.json", file.dump()));
  EXPECT_EQ(pairs->hash(), tokenizer->hash());
  // What is saved has the same meaning and keeps the post-processor.
  save_tokenizer(*pairs, folder / "saved.json");
  EXPECT_EQ(load_tokenizer(folder / "saved.json")->hash(), tokenizer->hash());
  const json saved = json::parse(read_bytes(folder / "saved.json"));
  EXPECT_EQ(saved["post_processor"], file["post_processor"]);
  EXPECT_EQ(saved["model"]["vocab"]["\u0120the"], 258);
  EXPECT_EQ(saved["added_tokens"][0]["content"], "<|endoftext|>");
}

TEST(HuggingFace, LoadsLlamaStylePreTokenizer) {
  const TemporaryFolder folder;
  json file = hugging_face();
  file["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"},
         {"pattern", {{"Regex", kLlama3Pattern}}},
         {"behavior", "Isolated"},
         {"invert", false}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}}}}};
  file["model"]["ignore_merges"] = true;
  file["model"]["merges"] = json::array({"h e"});
  const auto tokenizer = load_tokenizer(folder.write("tokenizer.json", file.dump()));
  EXPECT_EQ(tokenizer->encode("the\nthen"), (std::vector<std::int32_t>{257, 198, 83, 256, 77}));
  EXPECT_TRUE(tokenizer->works_on_pieces());
  save_tokenizer(*tokenizer, folder / "saved.json");
  EXPECT_EQ(load_tokenizer(folder / "saved.json")->hash(), tokenizer->hash());
}

TEST(HuggingFace, LoadsAddedTokens) {
  const TemporaryFolder folder;
  json file = hugging_face();
  json token = file["added_tokens"][0];
  token["id"] = 260;
  token["content"] = "\u4e2d ";
  token["special"] = false;
  file["added_tokens"].push_back(token);
  const auto tokenizer = load_tokenizer(folder.write("tokenizer.json", file.dump()));
  EXPECT_EQ(tokenizer->encode("he\u4e2d he<|endoftext|>").size(), 3 + std::string("<|endoftext|>").size());
  EXPECT_EQ(tokenizer->token_bytes(260), "\u4e2d ");
  save_tokenizer(*tokenizer, folder / "saved.json");
  EXPECT_EQ(load_tokenizer(folder / "saved.json")->hash(), tokenizer->hash());
}

TEST(HuggingFace, RefusesWhatItDoesNotSupport) {
  const TemporaryFolder folder;
  const auto failure = [&](const std::function<void(json&)>& change) {
    json file = hugging_face();
    change(file);
    return load_failure(folder, file.dump());
  };
  EXPECT_EQ(failure([](json&) {}), "");
  const std::vector<std::pair<const char*, std::function<void(json&)>>> changes{
      {"version", [](json& f) { f["version"] = "2.0"; }},
      {"WordPiece", [](json& f) { f["model"]["type"] = "WordPiece"; }},
      {"dropout", [](json& f) { f["model"]["dropout"] = 0.1; }},
      {"continuing_subword_prefix", [](json& f) { f["model"]["continuing_subword_prefix"] = "##"; }},
      {"end_of_word_suffix", [](json& f) { f["model"]["end_of_word_suffix"] = "</w>"; }},
      {"byte_fallback", [](json& f) { f["model"]["byte_fallback"] = true; }},
      {"normalizer",
       [](json& f) {
         f["normalizer"] = {{"type", "NFC"}};
       }},
      {"pre-tokenizer", [](json& f) { f["pre_tokenizer"] = nullptr; }},
      {"Metaspace",
       [](json& f) {
         f["pre_tokenizer"] = {{"type", "Metaspace"}};
       }},
      {"add_prefix_space", [](json& f) { f["pre_tokenizer"]["add_prefix_space"] = true; }},
      {"add_prefix_space", [](json& f) { f["pre_tokenizer"].erase("add_prefix_space"); }},
      {"ByteLevel's own expression", [](json& f) { f["pre_tokenizer"]["use_regex"] = false; }},
      {"decoder",
       [](json& f) {
         f["decoder"] = {{"type", "Metaspace"}};
       }},
      {"lstrip",
       [](json& f) {
         f["added_tokens"][0]["special"] = false;
         f["added_tokens"][0]["lstrip"] = true;
       }},
      {"two ids",
       [](json& f) {
         f["added_tokens"].push_back(f["added_tokens"][0]);
         f["added_tokens"][1]["id"] = 260;
       }},
      {"listed twice", [](json& f) { f["added_tokens"].push_back(f["added_tokens"][0]); }},
      {"without holes", [](json& f) { f["added_tokens"][0]["id"] = 1000; }},
      {"the id of", [](json& f) { f["model"]["vocab"]["he"] = -1; }},
      {"the id of", [](json& f) { f["model"]["vocab"]["he"] = 256.5; }},
      {"the id of", [](json& f) { f["model"]["vocab"]["he"] = 4294967296; }},
      {"have the id", [](json& f) { f["model"]["vocab"]["he"] = 257; }},
      {"byte-level alphabet", [](json& f) { f["model"]["vocab"]["\u4e2d"] = 260; }},
      {"is not in the vocabulary", [](json& f) { f["model"]["merges"].push_back("q q"); }},
      {"one space", [](json& f) { f["model"]["merges"].push_back("h e h"); }},
      {"one space", [](json& f) { f["model"]["merges"].push_back("h"); }},
      {"merge 3",
       [](json& f) {
         f["model"]["merges"].push_back(json::array({"h", "e", "h"}));
       }},
      {"merge 3", [](json& f) { f["model"]["merges"].push_back(3); }},
      {"twice", [](json& f) { f["model"]["merges"].push_back("h e"); }},
      {"merges", [](json& f) { f["model"].erase("merges"); }},
      {"the byte 0x61",
       [](json& f) {
         f["model"]["vocab"].erase("a");
         f["model"]["vocab"]["hehe"] = 64;
       }},
  };
  for (const auto& [part, change] : changes) {
    const std::string message = failure(change);
    EXPECT_NE(message.find(part), std::string::npos) << part << ": " << message;
  }
}

TEST(HuggingFace, RefusesExpressionsThatMeanOtherThingsElsewhere) {
  const TemporaryFolder folder;
  const auto failure = [&](const std::string& expression) {
    json file = hugging_face();
    file["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "Split"}, {"pattern", {{"Regex", expression}}}, {"behavior", "Isolated"}},
          {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
    return load_failure(folder, file.dump());
  };
  EXPECT_EQ(failure(std::string(kLlama3Pattern)), "");
  EXPECT_EQ(failure(std::string(kGpt2Pattern)), "");
  EXPECT_EQ(failure(R"([^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}|\s+)"), "");
  for (const char* expression : {R"(\h+)", R"(\w+)", R"(^a)", R"(a$)", R"([a[b]])", R"([a-z&&[^b]])",
                                 R"(\p{N}{1,3}+)", R"(()", R"()", R"((a)\1)"}) {
    EXPECT_NE(failure(expression), "") << expression;
  }
}

TEST(Gpt2Files, LoadsThePairByAnyOfItsNames) {
  const TemporaryFolder folder;
  json vocabulary = hugging_face()["model"]["vocab"];
  vocabulary["<|endoftext|>"] = 259;
  const std::string merges = "#version: 0.2\nh e\nt he\n\u0120 the\n";
  folder.write("encoder.json", vocabulary.dump());
  folder.write("vocab.bpe", merges);
  folder.write("other/vocab.json", vocabulary.dump());
  folder.write("other/merges.txt", merges);
  const TemporaryFolder json_folder;
  const std::string hash = load_tokenizer(json_folder.write("tokenizer.json", hugging_face().dump()))->hash();
  for (const char* name :
       {"", "encoder.json", "vocab.bpe", "other", "other/vocab.json", "other/merges.txt"}) {
    EXPECT_EQ(load_tokenizer(folder / name)->hash(), hash) << name;
  }
}

TEST(Gpt2Files, NamesTheLine) {
  const TemporaryFolder folder;
  folder.write("encoder.json", hugging_face()["model"]["vocab"].dump());
  const auto failure = [&](const std::string& merges) {
    folder.write("vocab.bpe", merges);
    return message_of([&] { load_tokenizer(folder.path()); });
  };
  EXPECT_EQ(failure("#version: 0.2\nh e\n"), "");
  EXPECT_EQ(failure("h e\n"), "");
  for (const char* line : {"h  e", " e", "h ", "h", "", "h e t", "h q", "h e\r", "he he"}) {
    EXPECT_NE(failure("#version: 0.2\nh e\n" + std::string(line) + "\n").find("vocab.bpe:3"),
              std::string::npos)
        << line;
  }
  std::filesystem::remove(folder / "vocab.bpe");
  EXPECT_NE(message_of([&] { load_tokenizer(folder.path()); }).find("vocab.bpe"), std::string::npos);
}

// Whatever a file is cut to, there is an error or a tokenizer, never a crash.
TEST(HuggingFace, EveryTruncationIsAnError) {
  const TemporaryFolder folder;
  const std::string whole = hugging_face().dump();
  for (std::size_t length = 0; length < whole.size(); length += 7) {
    EXPECT_NE(load_failure(folder, whole.substr(0, length)), "") << length;
  }
}

}  // namespace
}  // namespace heddle
