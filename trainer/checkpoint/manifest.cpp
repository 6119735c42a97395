#include "trainer/checkpoint/manifest.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "kernels/error.h"
#include "trainer/checkpoint/digest.h"
#include "trainer/checkpoint/safetensors.h"
#include "trainer/strict_json.h"

namespace heddle {

namespace {

using nlohmann::json;

constexpr const char* kFormat = "heddle checkpoint";
constexpr int kVersion = 1;
constexpr std::string_view kSealBegin = ",\n\"manifest_xxh3_128\": \"";
constexpr std::string_view kSealEnd = "\"\n}\n";
constexpr std::size_t kDigestDigits = 32;

// ---- JSON to values, each with the place it came from in its error ----

const json& member(const json& object, const char* key, const std::string& where) {
  if (!object.is_object()) throw error("{}: an object was expected", where);
  const auto found = object.find(key);
  if (found == object.end()) throw error("{}: '{}' is missing", where, key);
  return *found;
}

void check_member_count(const json& object, std::size_t count, const std::string& where) {
  if (object.size() != count) throw error("{}: {} fields, {} are expected", where, object.size(), count);
}

std::int64_t number(const json& value, const std::string& where) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > INT64_MAX)
    throw error("{}: a whole number was expected", where);
  return value.get<std::int64_t>();
}

std::string text(const json& value, const std::string& where) {
  if (!value.is_string()) throw error("{}: a string was expected", where);
  return value.get<std::string>();
}

const json& list(const json& value, const std::string& where) {
  if (!value.is_array()) throw error("{}: a list was expected", where);
  return value;
}

Shape shape(const json& value, const std::string& where) {
  if (list(value, where).size() > Shape::kMaxRank)
    throw error("{}: {} dimensions, at most {} are possible", where, value.size(), Shape::kMaxRank);
  Shape result;
  for (const json& size : value) result.push_back(number(size, where));
  return result;
}

json shape_to_json(const Shape& value) {
  json sizes = json::array();
  for (int i = 0; i < value.rank(); ++i) sizes.push_back(value[i]);
  return sizes;
}

// A name in the checkpoint's own directory, never a path.
void check_plain_name(const std::string& name, const std::string& where) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  if (name.empty() || name.size() > 255 || name[0] == '.' || name.find_first_not_of(kAllowed) != name.npos)
    throw error("{}: {} is not a plain file name", where, printable(name));
}

ManifestFile file_from_json(const json& value, const std::string& where) {
  ManifestFile file;
  file.name = text(member(value, "name", where), where + ": name");
  check_plain_name(file.name, where);
  file.bytes = static_cast<std::uint64_t>(number(member(value, "bytes", where), where + ": bytes"));
  file.xxh3_128 = text(member(value, "xxh3_128", where), where + ": xxh3_128");
  if (file.xxh3_128.size() != kDigestDigits ||
      file.xxh3_128.find_first_not_of("0123456789abcdef") != std::string::npos)
    throw error("{}: {} is not a digest of 32 hexadecimal digits", where, printable(file.xxh3_128));
  check_member_count(value, 3, where);
  return file;
}

ManifestPiece piece_from_json(const json& value, const std::string& where) {
  ManifestPiece piece;
  piece.file = text(member(value, "file", where), where + ": file");
  piece.key = text(member(value, "key", where), where + ": key");
  piece.box.offset = shape(member(value, "offset", where), where + ": offset");
  piece.box.extent = shape(member(value, "extent", where), where + ": extent");
  check_member_count(value, 4, where);
  return piece;
}

ManifestTensor tensor_from_json(const json& value, const std::string& outer) {
  ManifestTensor tensor;
  tensor.name = text(member(value, "name", outer), outer + ": name");
  const std::string where = outer + " " + printable(tensor.name);
  const std::string type = text(member(value, "dtype", where), where + ": dtype");
  const auto known = safetensors_type_of(type);
  if (!known || !dtype_of(*known)) throw error("{}: unknown dtype {}", where, printable(type));
  tensor.dtype = *dtype_of(*known);
  tensor.shape = shape(member(value, "shape", where), where + ": shape");
  for (const json& piece : list(member(value, "pieces", where), where + ": pieces"))
    tensor.pieces.push_back(piece_from_json(piece, where));
  check_member_count(value, 4, where);
  return tensor;
}

json file_to_json(const ManifestFile& file) {
  return {{"name", file.name}, {"bytes", file.bytes}, {"xxh3_128", file.xxh3_128}};
}

json tensor_to_json(const ManifestTensor& tensor) {
  json pieces = json::array();
  for (const ManifestPiece& piece : tensor.pieces)
    pieces.push_back({{"file", piece.file},
                      {"key", piece.key},
                      {"offset", shape_to_json(piece.box.offset)},
                      {"extent", shape_to_json(piece.box.extent)}});
  return {{"name", tensor.name},
          {"dtype", name_of(safetensors_type_of(tensor.dtype))},
          {"shape", shape_to_json(tensor.shape)},
          {"pieces", std::move(pieces)}};
}

// ---- the rules ----

void check_pieces(const ManifestTensor& tensor, const std::string& where) {
  if (!checked_count(tensor.shape, tensor.dtype))
    throw error("{}: the size of shape {} is out of range", where, tensor.shape.to_string());
  std::vector<Box> boxes;
  for (const ManifestPiece& piece : tensor.pieces) {
    if (!contains(tensor.shape, piece.box) || piece.box.extent.count() == 0)
      throw error("{}: piece {} at {} is empty or outside of shape {}", where, piece.box.extent.to_string(),
                  piece.box.offset.to_string(), tensor.shape.to_string());
    boxes.push_back(piece.box);
  }
  if (!tile_exactly(whole(tensor.shape), std::move(boxes)))
    throw error("{}: its {} pieces do not cover shape {} exactly", where, tensor.pieces.size(),
                tensor.shape.to_string());
}

void check_rules(const Manifest& manifest, const std::string& where) {
  std::unordered_map<std::string, std::uint64_t> room;  // bytes of each file that no piece claims yet
  for (const ManifestFile& file : manifest.files)
    if (!room.emplace(file.name, file.bytes).second)
      throw error("{}: file {} is there twice", where, printable(file.name));
  if (!room.contains(kConfigName)) throw error("{}: {} is not among the files", where, kConfigName);

  std::unordered_set<std::string> names;
  for (const ManifestTensor& tensor : manifest.tensors) {
    const std::string place = where + ": tensor " + printable(tensor.name);
    if (!names.insert(tensor.name).second) throw error("{} is there twice", place);
    check_pieces(tensor, place);
    for (const ManifestPiece& piece : tensor.pieces) {
      const auto file = room.find(piece.file);
      if (file == room.end() || !piece.file.ends_with(".safetensors"))
        throw error("{}: {} is not a tensor file of this checkpoint", place, printable(piece.file));
      const std::uint64_t bytes =
          static_cast<std::uint64_t>(piece.box.extent.count()) * size_of(tensor.dtype);
      if (bytes > file->second) throw error("{}: {} is too small for its pieces", place, piece.file);
      file->second -= bytes;
    }
  }
}

std::string_view check_seal(std::string_view text, const std::string& where) {
  const std::size_t tail = kSealBegin.size() + kDigestDigits + kSealEnd.size();
  const std::string_view body = text.substr(0, text.size() - std::min(text.size(), tail));
  const std::string_view seal = text.substr(body.size());
  if (!seal.starts_with(kSealBegin) || !seal.ends_with(kSealEnd))
    throw error("{}: it does not end with its own hash: cut short, or not written by heddle", where);
  if (seal.substr(kSealBegin.size(), kDigestDigits) != digest_of(body))
    throw error("{}: its content does not match its own hash: it is damaged", where);
  return body;
}

}  // namespace

std::uint64_t Manifest::total_bytes() const {
  std::uint64_t total = 0;
  for (const ManifestFile& file : files) total += file.bytes;
  return total;
}

const ManifestFile* Manifest::find_file(std::string_view name) const {
  const auto found =
      std::find_if(files.begin(), files.end(), [&](const ManifestFile& f) { return f.name == name; });
  return found == files.end() ? nullptr : &*found;
}

std::string seal_manifest(std::string body) {
  const std::string digest = digest_of(body);
  return std::move(body) + std::string(kSealBegin) + digest + std::string(kSealEnd);
}

std::string manifest_text(const Manifest& manifest, const std::string& where) {
  check_rules(manifest, where);
  // One line per file and tensor: readable, and a diff of two manifests shows what differs.
  const auto lines = [](const auto& items, auto to_json) {
    std::string text;
    for (const auto& item : items) text += (text.empty() ? "\n  " : ",\n  ") + to_json(item).dump();
    return text;
  };
  try {
    const json layout = {{"data_parallel", manifest.layout.data_parallel},
                         {"tensor_parallel", manifest.layout.tensor_parallel}};
    return seal_manifest(fmt::format(
        "{{\n\"format\": \"{}\",\n\"version\": {},\n\"step\": {},\n\"layout\": {},\n\"state\": {},\n"
        "\"files\": [{}\n],\n\"tensors\": [{}\n]",
        kFormat, kVersion, manifest.step, layout.dump(), manifest.state.dump(),
        lines(manifest.files, file_to_json), lines(manifest.tensors, tensor_to_json)));
  } catch (const json::exception&) {
    throw error("{}: a tensor name or a text of the trainer state is not UTF-8", where);
  }
}

Manifest parse_manifest(std::string_view text_of_file, const std::string& where) {
  check_seal(text_of_file, where);
  const json root = parse_strict_json(text_of_file, where);
  if (text(member(root, "format", where), where + ": format") != kFormat)
    throw error("{}: it is not the manifest of a heddle checkpoint", where);
  if (const std::int64_t version = number(member(root, "version", where), where + ": version");
      version != kVersion)
    throw error("{}: format version {}, this heddle reads version {}: use the heddle that wrote it", where,
                version, kVersion);
  check_member_count(root, 8, where);

  Manifest manifest;
  manifest.step = number(member(root, "step", where), where + ": step");
  const json& layout = member(root, "layout", where);
  const auto ranks = [&](const char* key) {
    const std::int64_t value = number(member(layout, key, where + ": layout"), where + ": layout");
    if (value < 1 || value > 1 << 24) throw error("{}: layout: {} = {} is out of range", where, key, value);
    return static_cast<int>(value);
  };
  manifest.layout = {ranks("data_parallel"), ranks("tensor_parallel")};
  manifest.state = member(root, "state", where);
  if (!manifest.state.is_object()) throw error("{}: state: an object was expected", where);
  for (const json& file : list(member(root, "files", where), where + ": files"))
    manifest.files.push_back(file_from_json(file, where + ": files"));
  for (const json& tensor : list(member(root, "tensors", where), where + ": tensors"))
    manifest.tensors.push_back(tensor_from_json(tensor, where + ": tensor"));
  check_rules(manifest, where);
  return manifest;
}

json contribution_to_json(const std::vector<ManifestFile>& files,
                          const std::vector<ManifestTensor>& tensors) {
  json result = {{"files", json::array()}, {"tensors", json::array()}};
  for (const ManifestFile& file : files) result["files"].push_back(file_to_json(file));
  for (const ManifestTensor& tensor : tensors) result["tensors"].push_back(tensor_to_json(tensor));
  return result;
}

void add_contribution(Manifest& manifest, const json& contribution, const std::string& where) {
  std::unordered_map<std::string, std::size_t> position;
  for (std::size_t i = 0; i < manifest.tensors.size(); ++i) position.emplace(manifest.tensors[i].name, i);
  for (const json& value : member(contribution, "files", where))
    manifest.files.push_back(file_from_json(value, where));
  for (const json& value : member(contribution, "tensors", where)) {
    ManifestTensor tensor = tensor_from_json(value, where + ": tensor");
    const auto [entry, is_new] = position.emplace(tensor.name, manifest.tensors.size());
    if (is_new) {
      manifest.tensors.push_back(std::move(tensor));
      continue;
    }
    ManifestTensor& known = manifest.tensors[entry->second];
    if (known.dtype != tensor.dtype || !(known.shape == tensor.shape))
      throw error("{}: tensor {} is {} {} on one rank and {} {} on another", where, printable(tensor.name),
                  name_of(known.dtype), known.shape.to_string(), name_of(tensor.dtype),
                  tensor.shape.to_string());
    for (ManifestPiece& piece : tensor.pieces) known.pieces.push_back(std::move(piece));
  }
}

}  // namespace heddle
