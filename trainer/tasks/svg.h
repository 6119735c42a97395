// Svg: a picture made of text and shapes, as a browser shows it. Lengths are pixels.
#pragma once

#include <string>
#include <string_view>

namespace heddle {

// `text` as character data of XML 1.0; characters that XML has none for become U+FFFD, and so do bytes that
// are not UTF-8.
std::string escape_xml(std::string_view text);

// Width of `text` in the picture's font, about; never much too small.
double text_width(std::string_view text, double font_size);
// The first `characters` - 1 and "…" of a text that is longer.
std::string shortened(std::string_view text, std::size_t characters);

class Svg {
 public:
  enum class Anchor { start, middle, end };
  struct TextStyle {
    double size = 12;
    Anchor anchor = Anchor::start;
    std::string_view color = "#222";
    bool bold = false;
    bool upwards = false;  // turned by a quarter, read from below
  };

  // y: the base line.
  void text(double x, double y, std::string_view content, const TextStyle& style);
  // Path data, drawn as lines.
  void lines(std::string_view data, std::string_view color, double width, double opacity);
  void rectangle(double x, double y, double width, double height, std::string_view fill,
                 std::string_view stroke = {});
  // Path data in units of `scale` from (x, y), filled.
  void path(double x, double y, double scale, std::string_view data, std::string_view fill);

  // The file, with a white background.
  std::string finish(double width, double height, std::string_view title) const;

 private:
  std::string body_;
};

}  // namespace heddle
