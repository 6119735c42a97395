#include "trainer/tasks/svg.h"

#include <fmt/format.h>

#include <iterator>

#include "trainer/data/utf8.h"

namespace heddle {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

bool is_xml_character(char32_t c) {
  return c == 0x9 || c == 0xA || c == 0xD || (c >= 0x20 && c <= 0xD7FF) || (c >= 0xE000 && c <= 0xFFFD) ||
         c >= 0x10000;
}

// Scripts and symbols whose letters are as wide as high.
bool is_wide(char32_t c) {
  return c >= 0x1100;
}

}  // namespace

std::string escape_xml(std::string_view text) {
  std::string xml;
  for (std::size_t at = 0; at < text.size();) {
    if (utf8_length_at(text, at) == 0) {
      xml += kReplacement;
      ++at;
      continue;
    }
    const std::size_t begin = at;
    const char32_t c = next_code_point(text, at);
    switch (c) {
      case '&': xml += "&amp;"; break;
      case '<': xml += "&lt;"; break;
      case '>': xml += "&gt;"; break;
      case '"': xml += "&quot;"; break;
      case '\'': xml += "&#39;"; break;
      default: xml += is_xml_character(c) ? text.substr(begin, at - begin) : kReplacement;
    }
  }
  return xml;
}

double text_width(std::string_view text, double font_size) {
  double width = 0;
  for (std::size_t at = 0; at < text.size();) {
    if (utf8_length_at(text, at) == 0) {
      ++at;
      width += 1;
    } else {
      const char32_t c = next_code_point(text, at);
      width += is_wide(c) ? 1 : c == 'm' || c == 'w' || (c >= 'A' && c <= 'Z') ? 0.85 : 0.63;
    }
  }
  return width * font_size;
}

std::string shortened(std::string_view text, std::size_t characters) {
  std::size_t at = 0, last = 0;
  for (std::size_t count = 0; at < text.size(); ++count) {
    if (count == characters) return std::string(text.substr(0, last)) + "…";
    if (count + 1 == characters) last = at;
    at += std::max<std::size_t>(1, utf8_length_at(text, at));
  }
  return std::string(text);
}

void Svg::text(double x, double y, std::string_view content, const TextStyle& style) {
  auto out = std::back_inserter(body_);
  fmt::format_to(out, "<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"{:.3g}\" fill=\"{}\"", x, y, style.size,
                 style.color);
  if (style.anchor != Anchor::start)
    fmt::format_to(out, " text-anchor=\"{}\"", style.anchor == Anchor::middle ? "middle" : "end");
  if (style.bold) body_ += " font-weight=\"bold\"";
  if (style.upwards) fmt::format_to(out, " transform=\"rotate(-90 {:.1f} {:.1f})\"", x, y);
  fmt::format_to(out, ">{}</text>\n", escape_xml(content));
}

void Svg::lines(std::string_view data, std::string_view color, double width, double opacity) {
  fmt::format_to(
      std::back_inserter(body_),
      "<path fill=\"none\" stroke=\"{}\" stroke-width=\"{:.2f}\" stroke-opacity=\"{:.2f}\" d=\"{}\"/>\n",
      color, width, opacity, data);
}

void Svg::rectangle(double x, double y, double width, double height, std::string_view fill,
                    std::string_view stroke) {
  fmt::format_to(std::back_inserter(body_),
                 "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\"", x, y,
                 width, height, fill);
  if (!stroke.empty()) fmt::format_to(std::back_inserter(body_), " stroke=\"{}\"", stroke);
  body_ += "/>\n";
}

void Svg::path(double x, double y, double scale, std::string_view data, std::string_view fill) {
  fmt::format_to(
      std::back_inserter(body_),
      "<path transform=\"translate({:.1f} {:.1f}) scale({:.3g})\" fill=\"{}\" shape-rendering=\"crispEdges\" "
      "d=\"{}\"/>\n",
      x, y, scale, fill, data);
}

std::string Svg::finish(double width, double height, std::string_view title) const {
  return fmt::format(
             "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
             "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 "
             "{0:.0f} "
             "{1:.0f}\" font-family=\"DejaVu Sans, Verdana, Helvetica, Arial, "
             "sans-serif\">\n<title>{2}</title>\n"
             "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
             width, height, escape_xml(title)) +
         body_ + "</svg>\n";
}

}  // namespace heddle
