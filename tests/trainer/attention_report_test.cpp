// What is written of attention weights: JSON that can be read back, pictures that a browser shows, scores,
// and files of places that are not believed.

#include "trainer/tasks/attention_report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/trainer/test_files.h"
#include "trainer/tasks/attention_pictures.h"
#include "trainer/tasks/attention_score.h"
#include "trainer/tasks/expected_looks.h"
#include "trainer/tasks/svg.h"

namespace heddle {
namespace {

AttentionMap random_map(AttentionPlace place, std::int64_t head, std::int64_t rows, std::int64_t columns,
                        std::uint32_t seed) {
  std::mt19937 random(seed);
  std::exponential_distribution<double> exponential;
  AttentionMap map{place, head, rows, columns, {}};
  for (std::int64_t i = 0; i < rows; ++i) {
    double sum = 0;
    for (std::int64_t j = 0; j < columns; ++j) sum += map.weights.emplace_back(exponential(random));
    for (std::int64_t j = 0; j < columns; ++j) map.weights[static_cast<std::size_t>(i * columns + j)] /= sum;
  }
  return map;
}

// Tokens with everything that XML and JSON escape.
AttentionReport pair_report() {
  AttentionReport report;
  report.checkpoint = "runs/<b>&\"c\"";
  report.family = "transformer";
  report.source = {"<s>", "a&b", "\"it\"", "it", "</s>"};
  report.text = {"</s>", "'das'", "Katzenhaarallergikerverein"};
  for (std::int64_t layer : {0, 1})
    for (std::int64_t head : {0, 1}) {
      const auto seed = static_cast<std::uint32_t>(2 * layer + head);
      report.maps.push_back(random_map({AttentionKind::encoder, layer}, head, 5, 5, seed));
      report.maps.push_back(random_map({AttentionKind::cross, layer}, head, 3, 5, 10 + seed));
    }
  return report;
}

TEST(AttentionReport, JsonHasTheTokensAndRowsThatSumToOne) {
  const AttentionReport report = pair_report();
  const nlohmann::json json = nlohmann::json::parse(attention_json(report));
  EXPECT_EQ(json["format"], "heddle attention");
  EXPECT_EQ(json["checkpoint"], report.checkpoint);
  EXPECT_EQ(json["tokens"]["source"], report.source);
  EXPECT_EQ(json["tokens"]["target"], report.text);
  ASSERT_EQ(json["layers"].size(), 4u);
  EXPECT_EQ(json["layers"][3]["kind"], "cross");
  EXPECT_EQ(json["layers"][3]["layer"], 1);
  for (const nlohmann::json& layer : json["layers"]) {
    ASSERT_EQ(layer["heads"].size(), 2u);
    for (const nlohmann::json& head : layer["heads"]) {
      EXPECT_EQ(head["weights"].size(), json["tokens"][layer["rows"].get<std::string>()].size());
      for (const nlohmann::json& row : head["weights"]) {
        EXPECT_EQ(row.size(), json["tokens"][layer["columns"].get<std::string>()].size());
        double sum = 0;
        for (const nlohmann::json& weight : row) sum += weight.get<double>();
        EXPECT_NEAR(sum, 1, 1e-6);
      }
    }
  }
  EXPECT_NEAR(json["layers"][3]["heads"][1]["weights"][2][4].get<double>(), report.maps.back()(2, 4), 1e-9);
}

TEST(AttentionReport, JsonOfAModelWithoutEncoder) {
  AttentionReport report;
  report.text = {" a", "\\x80"};
  report.maps = {{{AttentionKind::decoder, 0}, 0, 2, 2, {1, 0, 0.25, 0.75}}};
  const nlohmann::json json = nlohmann::json::parse(attention_json(report));
  EXPECT_EQ(json["tokens"].size(), 1u);
  EXPECT_EQ(json["tokens"]["text"], report.text);
  EXPECT_EQ(json["layers"][0]["rows"], "text");
  EXPECT_EQ(json["layers"][0]["heads"][0]["weights"],
            (std::vector<std::vector<double>>{{1, 0}, {0.25, 0.75}}));
}

TEST(AttentionReport, StrongestColumnsOfAWord) {
  AttentionReport report;
  report.text = {"the", " dog", " it"};
  report.maps = {{{AttentionKind::decoder, 0}, 0, 3, 3, {1, 0, 0, 0.5, 0.5, 0, 0.125, 0.625, 0.25}}};
  const std::string table = strongest_columns(report, "it", 2);
  EXPECT_NE(table.find("dog 0.625  it 0.250\n"), std::string::npos) << table;
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 2);
  const std::string message = error_of([&] { strongest_columns(report, "cat"); });
  EXPECT_NE(message.find("'cat'"), std::string::npos) << message;
}

// --- pictures ---

// The names of elements of an XML text, in order; fails the test where it is not well-formed. Knows what Svg
// writes.
std::vector<std::string> elements_of(const std::string& xml) {
  std::vector<std::string> names, open;
  std::size_t at = xml.find("?>") + 2;
  while (at < xml.size()) {
    const std::size_t end = xml.find_first_of("<>&", at);
    if (end == std::string::npos) break;
    at = end;
    if (xml[at] == '&') {
      const std::string entity = xml.substr(at, xml.find(';', at) + 1 - at);
      EXPECT_TRUE(entity == "&amp;" || entity == "&lt;" || entity == "&gt;" || entity == "&quot;" ||
                  entity == "&#39;")
          << entity;
      ++at;
      continue;
    }
    EXPECT_EQ(xml[at], '<') << xml.substr(at, 40);
    const std::size_t close = xml.find('>', at);
    const std::string tag = xml.substr(at + 1, close - at - 1);
    EXPECT_EQ(tag.find('<'), std::string::npos) << tag;
    EXPECT_EQ(std::count(tag.begin(), tag.end(), '"') % 2, 0) << tag;
    const std::string name = tag.substr(tag[0] == '/', tag.find_first_of(" /", 1) - (tag[0] == '/'));
    if (tag[0] == '/') {
      EXPECT_FALSE(open.empty());
      if (open.empty()) return names;
      EXPECT_EQ(open.back(), tag.substr(1));
      open.pop_back();
    } else {
      names.push_back(name);
      if (tag.back() != '/') open.push_back(name);
    }
    at = close + 1;
  }
  EXPECT_TRUE(open.empty());
  return names;
}

std::int64_t count_of(const std::string& text, const std::string& part) {
  std::int64_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(AttentionPictures, HeatMapsHaveAPanelForEachHead) {
  const AttentionReport report = pair_report();
  for (AttentionKind kind : {AttentionKind::encoder, AttentionKind::cross}) {
    const std::string svg = attention_heat_maps(report, kind);
    EXPECT_EQ(elements_of(svg).front(), "svg");
    for (const char* title :
         {">layer 0, head 0<", ">layer 0, head 1<", ">layer 1, head 0<", ">layer 1, head 1<"})
      EXPECT_EQ(count_of(svg, title), 1) << title;
    EXPECT_EQ(count_of(svg, ">a&amp;b<"), kind == AttentionKind::encoder ? 8 : 4)
        << "labels of rows and columns";
  }
  EXPECT_EQ(count_of(attention_heat_maps(report, AttentionKind::cross), ">Katzenhaarallergi…<"), 4) << "cut";
}

TEST(AttentionPictures, LinesGrowWithTheWeightsAndTheFaintestAreLeftOut) {
  AttentionReport report;
  report.text = {"a", "b", "c"};
  report.maps = {{{AttentionKind::decoder, 0}, 0, 3, 3, {1, 0, 0, 0.25, 0.75, 0, 0.04, 0.02, 0.94}}};
  const std::string svg = attention_lines(report, AttentionKind::decoder);
  elements_of(svg);
  EXPECT_EQ(count_of(svg, "stroke=\"#1f77b4\""), 4) << "1, 0.25, 0.75 and 0.94";
  EXPECT_EQ(count_of(svg, "stroke=\"#1f77b4\" stroke-width=\"6.00\" stroke-opacity=\"1.00\""), 1);
  EXPECT_EQ(count_of(svg, "stroke=\"#1f77b4\" stroke-width=\"1.88\" stroke-opacity=\"0.33\""), 1);
  EXPECT_EQ(count_of(attention_lines(report, AttentionKind::decoder, "b"), "stroke=\"#1f77b4\""), 2)
      << "of one word";
}

TEST(AttentionPictures, SeveralHeadsAreDrawnTogetherTheirMeanAndAlone) {
  const std::string svg = attention_lines(pair_report(), AttentionKind::cross);
  elements_of(svg);
  for (const char* title :
       {">layer 0, all heads<", ">layer 1, mean of heads<", ">layer 1, head 0<", ">layer 1, head 1<"})
    EXPECT_EQ(count_of(svg, title), 1) << title;
}

TEST(Svg, EscapesWhatXmlCannotHold) {
  EXPECT_EQ(escape_xml("<a href=\"x\">'&'</a>"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
  EXPECT_EQ(escape_xml("a\x01z\xFF"), "a\xEF\xBF\xBDz\xEF\xBF\xBD");
  EXPECT_EQ(escape_xml("\xEF\xBF\xBF"), "\xEF\xBF\xBD") << "U+FFFF";
  EXPECT_EQ(escape_xml("grün 日本"), "grün 日本");
}

TEST(Svg, CutsLongTextsBetweenCharacters) {
  EXPECT_EQ(shortened("grün", 4), "grün");
  EXPECT_EQ(shortened("grüner", 4), "grü…");
  EXPECT_GT(text_width("日本", 10), text_width("ab", 10));
}

// --- scores ---

TEST(AttentionScore, CountsRowsWhoseStrongestColumnIsTheExpectedOne) {
  AttentionMap right{{AttentionKind::encoder, 0}, 0, 2, 2, {0.25, 0.75, 0.5, 0.5}};
  AttentionMap wrong{{AttentionKind::encoder, 1}, 3, 2, 2, {0.75, 0.25, 0.5, 0.5}};
  AttentionScore score;
  score.add({wrong, right}, 0, 1);
  score.add({wrong, right}, 1, 0);
  const std::vector<HeadScore> heads = score.best_first();
  ASSERT_EQ(heads.size(), 2u);
  EXPECT_EQ(heads[0].place.layer, 0);
  EXPECT_EQ(heads[0].right, 2);
  EXPECT_EQ(heads[0].mean_weight(), 0.625);
  EXPECT_EQ(heads[1].head, 3);
  EXPECT_EQ(heads[1].accuracy(), 0.5);
}

TEST(ExpectedLooks, ReadsLinesThatBelongTogether) {
  TestFolder folder;
  ExpectedLooks looks(folder.write("text", "a dog it\nthe  cat\tsleeps\n"),
                      folder.write("places", "2 1\n0 2\n"));
  ExpectedLook look;
  ASSERT_TRUE(looks.next(look));
  EXPECT_EQ(look.text, "a dog it");
  EXPECT_EQ(look.row, 2);
  EXPECT_EQ(look.column, 1);
  ASSERT_TRUE(looks.next(look));
  EXPECT_EQ(look.column, 2);
  EXPECT_FALSE(looks.next(look));
}

TEST(ExpectedLooks, RefusesPlacesThatAreNoneOfTheText) {
  for (const char* places : {"2", "2 1 0", "2 3", "-1 0", "x 1", "1 1x", "", "99999999999999999999 1"}) {
    TestFolder folder;
    const std::string message = error_of([&] {
      ExpectedLook look;
      ExpectedLooks(folder.write("text", "a dog it\n"), folder.write("places", std::string(places) + "\n"))
          .next(look);
    });
    EXPECT_NE(message.find("places:1"), std::string::npos) << places << ": " << message;
  }
}

TEST(ExpectedLooks, RefusesFilesOfDifferentLengths) {
  TestFolder folder;
  ExpectedLooks looks(folder.write("text", "a dog it\n"), folder.write("places", "2 1\n2 1\n"));
  ExpectedLook look;
  EXPECT_TRUE(looks.next(look));
  EXPECT_NE(error_of([&] { looks.next(look); }).find("more lines than"), std::string::npos);
}

}  // namespace
}  // namespace heddle
