// manifest.json: what a checkpoint directory holds. It is written last, so a directory without it is no
// checkpoint.
//
//   {
//   "format": "heddle checkpoint", "version": 1, "step": 1000,
//   "layout": {"data_parallel": 2, "tensor_parallel": 4},   which wrote it; any other may read it
//   "state": {...},                                         the trainer's own
//   "files": [{"name": "rank-00000.safetensors", "bytes": 123, "xxh3_128": "..."}, ...],
//   "tensors": [{"name": "wte.weight", "dtype": "F32", "shape": [50257, 768], "pieces": [
//       {"file": "rank-00000.safetensors", "key": "wte.weight@0,0", "offset": [0, 0], "extent": [12565,
//       768]}, ...]}],
//   "manifest_xxh3_128": "..."                              of all bytes before this line
//   }
//
// The pieces of a tensor tile its global shape exactly. File names are plain names in the same directory.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/tensor.h"
#include "parallel/mesh.h"
#include "trainer/checkpoint/boxes.h"

namespace heddle {

inline constexpr const char* kManifestName = "manifest.json";
inline constexpr const char* kConfigName = "config.cfg";
inline constexpr std::uint64_t kMaxManifestBytes = std::uint64_t{64} << 20;
inline constexpr std::uint64_t kMaxConfigBytes = std::uint64_t{16} << 20;

struct ManifestFile {
  std::string name;
  std::uint64_t bytes = 0;
  std::string xxh3_128;  // 32 hexadecimal digits
};

struct ManifestPiece {
  std::string file;
  std::string key;  // of the tensor in that file
  Box box;          // in global coordinates
};

struct ManifestTensor {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;  // global
  std::vector<ManifestPiece> pieces;
};

struct Manifest {
  std::int64_t step = 0;
  Layout layout;
  nlohmann::json state = nlohmann::json::object();
  std::vector<ManifestFile> files;
  std::vector<ManifestTensor> tensors;

  std::uint64_t total_bytes() const;
  const ManifestFile* find_file(std::string_view name) const;
};

// The text of manifest.json. Throws Error("<where>: ...") if the manifest breaks a rule that a reader would
// check.
std::string manifest_text(const Manifest& manifest, const std::string& where);
// Checks the seal and every rule. Throws Error("<where>: ...").
Manifest parse_manifest(std::string_view text, const std::string& where);

// What a rank tells the one that writes the manifest: "files" and "tensors" as above.
nlohmann::json contribution_to_json(const std::vector<ManifestFile>& files,
                                    const std::vector<ManifestTensor>& tensors);
// Adds another rank's contribution; the same tensor from several ranks must agree in dtype and shape.
void add_contribution(Manifest& manifest, const nlohmann::json& contribution, const std::string& where);

// Appends the line that protects the text before it, and closes the object. `body` is JSON without its last
// "}".
std::string seal_manifest(std::string body);

}  // namespace heddle
