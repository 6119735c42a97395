// The JSON header of a safetensors file: text to entries and back, and every rule between.
#include <algorithm>
#include <numeric>
#include <tuple>

#include "kernels/error.h"
#include "trainer/checkpoint/safetensors.h"
#include "trainer/strict_json.h"

namespace heddle {

namespace {

constexpr std::size_t kMaxDimensions = 8;

// Collects entries while the parser walks the text, so that nothing but entries is ever in memory.
class HeaderHandler final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderHandler(const std::string& file) : file_(file) {}

  std::vector<SafetensorsEntry> tensors;
  SafetensorsMetadata metadata;

  bool start_object(std::size_t) override {
    if (place_ == Place::outside) return go(Place::root);
    if (place_ == Place::root && key_ == "__metadata__") return go(Place::metadata);
    if (place_ == Place::root) {
      tensors.emplace_back().name = key_;
      seen_ = {};
      return go(Place::entry);
    }
    unexpected("an object");
  }
  bool end_object() override {
    if (place_ == Place::entry && !(seen_.dtype && seen_.shape && seen_.offsets))
      refuse("needs dtype, shape and data_offsets");
    return go(place_ == Place::root ? Place::outside : Place::root);
  }
  bool key(string_t& name) override {
    key_ = name;
    if (place_ == Place::entry) {
      bool* seen = name == "dtype" ? &seen_.dtype : name == "shape" ? &seen_.shape : nullptr;
      if (name == "data_offsets") seen = &seen_.offsets;
      if (seen == nullptr) refuse("has an unknown field " + printable(name));
      if (*seen) refuse("has the field " + printable(name) + " twice");
      *seen = true;
    }
    if (place_ == Place::root && name == "__metadata__") {
      if (seen_metadata_) throw error("{}: __metadata__ is there twice", file_);
      seen_metadata_ = true;
    }
    return true;
  }
  bool string(string_t& value) override {
    if (place_ == Place::metadata) {
      if (!metadata.emplace(key_, value).second)
        throw error("{}: __metadata__ has the key {} twice", file_, printable(key_));
      return true;
    }
    if (place_ != Place::entry || key_ != "dtype") unexpected("a string");
    const std::optional<SafetensorsType> type = safetensors_type_of(value);
    if (!type) refuse("has the unknown dtype " + printable(value));
    tensors.back().type = *type;
    return true;
  }
  bool start_array(std::size_t) override {
    if (place_ == Place::entry && key_ == "shape") return go(Place::shape);
    if (place_ == Place::entry && key_ == "data_offsets") return go(Place::offsets);
    unexpected("an array");
  }
  bool end_array() override {
    if (place_ == Place::offsets && offsets_seen_ != 2) refuse("needs two data_offsets");
    offsets_seen_ = 0;
    return go(Place::entry);
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::shape) {
      if (tensors.back().shape.size() == kMaxDimensions) refuse("has more than 8 dimensions");
      if (value > INT64_MAX) refuse("has a dimension that is out of range");
      tensors.back().shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (place_ != Place::offsets) unexpected("a number");
    if (offsets_seen_ == 2) refuse("has more than two data_offsets");
    (offsets_seen_++ == 0 ? tensors.back().begin : tensors.back().end) = value;
    return true;
  }
  bool number_integer(number_integer_t) override { unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    unexpected("a fractional or too large number");
  }
  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool binary(binary_t&) override { unexpected("binary data"); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception& reason) override {
    throw error("{}: the header is not valid JSON at byte {}: {}", file_, position, printable(reason.what()));
  }

 private:
  enum class Place { outside, root, metadata, entry, shape, offsets };

  bool go(Place place) {
    place_ = place;
    return true;
  }
  [[noreturn]] void refuse(const std::string& what) const {
    throw error("{}: tensor {} {}", file_, printable(tensors.back().name), what);
  }
  [[noreturn]] void unexpected(const char* what) const {
    if (place_ == Place::outside || place_ == Place::root || place_ == Place::metadata)
      throw error("{}: the header has {} where none belongs (at {})", file_, what, printable(key_));
    refuse(fmt::format("has {} where none belongs (at {})", what, printable(key_)));
  }

  const std::string& file_;
  Place place_ = Place::outside;
  std::string key_;
  struct {
    bool dtype = false, shape = false, offsets = false;
  } seen_;
  int offsets_seen_ = 0;
  bool seen_metadata_ = false;
};

// Bytes of a tensor of this type and shape; nothing if they do not fit 64 bits or fill whole bytes.
std::optional<std::uint64_t> bytes_of(const SafetensorsEntry& entry) {
  std::uint64_t bits = static_cast<std::uint64_t>(bits_of(entry.type));
  for (const std::int64_t size : entry.shape)
    if (__builtin_mul_overflow(bits, static_cast<std::uint64_t>(size), &bits)) return std::nullopt;
  if (bits % 8 != 0) return std::nullopt;
  return bits / 8;
}

}  // namespace

SafetensorsHeader::SafetensorsHeader(std::vector<SafetensorsEntry> tensors, SafetensorsMetadata metadata)
    : tensors_(std::move(tensors)), by_name_(tensors_.size()), metadata_(std::move(metadata)) {
  std::iota(by_name_.begin(), by_name_.end(), std::size_t{0});
  std::sort(by_name_.begin(), by_name_.end(),
            [this](std::size_t a, std::size_t b) { return tensors_[a].name < tensors_[b].name; });
  for (std::size_t i = 1; i < by_name_.size(); ++i)
    if (tensors_[by_name_[i - 1]].name == tensors_[by_name_[i]].name)
      throw error("tensor {} is there twice", printable(tensors_[by_name_[i]].name));
}

SafetensorsHeader SafetensorsHeader::plan(std::vector<SafetensorsEntry> tensors,
                                          SafetensorsMetadata metadata) {
  std::sort(tensors.begin(), tensors.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::tuple(-bits_of(a.type), std::string_view(a.name)) <
           std::tuple(-bits_of(b.type), std::string_view(b.name));
  });
  std::uint64_t end = 0;
  for (SafetensorsEntry& entry : tensors) {
    const std::optional<std::uint64_t> bytes = bytes_of(entry);
    entry.begin = end;
    if (!bytes || __builtin_add_overflow(end, *bytes, &end))
      throw error("tensor {} cannot be stored: its size is out of range", printable(entry.name));
    entry.end = end;
  }
  return SafetensorsHeader(std::move(tensors), std::move(metadata));
}

SafetensorsHeader SafetensorsHeader::parse(std::string_view json, std::uint64_t data_bytes,
                                           const std::string& file) {
  check_json_object_text(json, file);
  HeaderHandler handler(file);
  nlohmann::json::sax_parse(json.begin(), json.end(), &handler);

  std::vector<SafetensorsEntry>& tensors = handler.tensors;
  std::sort(tensors.begin(), tensors.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::tuple(a.begin, a.end) < std::tuple(b.begin, b.end);
  });
  std::uint64_t end = 0;
  for (const SafetensorsEntry& entry : tensors) {
    const std::optional<std::uint64_t> bytes = bytes_of(entry);
    if (entry.begin != end)
      throw error("{}: tensor {} begins at byte {} of the data where {} was expected: a hole or an overlap",
                  file, printable(entry.name), entry.begin, end);
    if (entry.end < entry.begin || !bytes || entry.bytes() != *bytes)
      throw error("{}: tensor {} has bytes {} to {}, which is not the size of its shape and dtype", file,
                  printable(entry.name), entry.begin, entry.end);
    if (entry.end > data_bytes)
      throw error("{}: tensor {} ends at byte {} of the data, the file has {}: it is cut short", file,
                  printable(entry.name), entry.end, data_bytes);
    end = entry.end;
  }
  if (end != data_bytes) throw error("{}: {} bytes after the last tensor", file, data_bytes - end);
  try {
    return SafetensorsHeader(std::move(tensors), std::move(handler.metadata));
  } catch (const Error& reason) {
    throw error("{}: {}", file, reason.what());
  }
}

const SafetensorsEntry* SafetensorsHeader::find(std::string_view name) const {
  const auto found =
      std::lower_bound(by_name_.begin(), by_name_.end(), name,
                       [this](std::size_t i, std::string_view wanted) { return tensors_[i].name < wanted; });
  return found != by_name_.end() && tensors_[*found].name == name ? &tensors_[*found] : nullptr;
}

std::string SafetensorsHeader::to_bytes() const {
  using nlohmann::json;
  std::string text = "{";
  try {
    if (!metadata_.empty()) text += "\"__metadata__\":" + json(metadata_).dump();
    for (const SafetensorsEntry& entry : tensors_) {
      text += text.size() > 1 ? "," : "";
      text += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}",
                          json(entry.name).dump(), name_of(entry.type), json(entry.shape).dump(), entry.begin,
                          entry.end);
    }
  } catch (const json::exception&) {
    throw error("a tensor name or metadata value is not UTF-8");
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (text.size() > kMaxBytes)
    throw error("{} tensors need a header of {} bytes, safetensors allows {}", tensors_.size(), text.size(),
                kMaxBytes);

  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(text.size() >> (8 * i));
  return bytes + text;
}

}  // namespace heddle
