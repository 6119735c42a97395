// Checkpoints: saved so that a crash at any moment leaves the old or the new one, verified when read, and
// independent of the layout that wrote them: a tensor is addressed by its name and global coordinates.
//
// A checkpoint is a directory (see folder.h for its life, manifest.h for its table of contents):
//   step-00001000/manifest.json            what is in it, with an XXH3-128 of every file
//   step-00001000/config.cfg               the resolved configuration of the run
//   step-00001000/rank-00000.safetensors   the pieces that rank 0 wrote, and so on for each rank that writes
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/device.h"
#include "parallel/communicator.h"
#include "parallel/sharding.h"
#include "trainer/checkpoint/folder.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/safetensors.h"

namespace heddle {

// A parameter, a moment, or whatever else has global coordinates, as one rank holds it. A rank whose part is
// no box (a range of a flat buffer) lists several entries of one name, each with its own view.
struct CheckpointTensor {
  std::string name;  // "h.0.attn.c_attn.weight", "optimizer.exp_avg.h.0.attn.c_attn.weight"
  Shape global_shape;
  Tensor local;                    // device memory, contiguous: all that the rank holds, padding included
  std::vector<ShardPiece> pieces;  // where boxes of it lie in the global tensor; none: only padding
  bool writer = true;              // of equal replicas exactly one rank writes
};

// What travels between the device and a file at a time, at most.
inline constexpr std::size_t kStagingBytes = std::size_t{32} << 20;
// Bytes of the buffer for these tensors: no more than `limit`, and no more than the largest needs.
std::size_t staging_size(const std::vector<CheckpointTensor>& tensors, std::size_t limit);

struct CheckpointContent {
  std::int64_t step = 0;
  Layout layout;
  const std::vector<CheckpointTensor>& tensors;
  const std::string& config;  // text of config.cfg
  const nlohmann::json&
      state;  // an object; numbers come back exactly (NaN and infinity are not numbers in JSON)
};

struct SaveReport {
  std::filesystem::path path;         // of the checkpoint
  std::uint64_t bytes = 0;            // written by this rank
  std::vector<std::string> warnings;  // rank 0: leftovers and old checkpoints that could not be deleted
};

// Collective over `world`: every rank calls it with the same step, layout, config and state; rank 0's are
// written. Waits for the device's compute stream, then writes folder/step-<step>.tmp/, fsyncs all of it,
// renames it, fsyncs `folder`: when it returns, the checkpoint survives a power loss. Only then older ones
// are deleted. If any rank fails, all ranks throw the same Error, naming rank, file and reason; the temporary
// directory is removed and older checkpoints are untouched.
SaveReport save_checkpoint(const std::filesystem::path& folder, const CheckpointContent& content,
                           Device& device, Communicator& world, const Retention& retention,
                           std::size_t staging_bytes = kStagingBytes);

// Called with one line that a person should see.
using WarningSink = std::function<void(const std::string&)>;

// Immutable; read() and load() keep files open and are for one thread at a time.
class Checkpoint {
 public:
  // `path`: a checkpoint directory; or a folder of checkpoints (or a run's folder with "checkpoints" in it),
  // of which the newest valid one is taken, with a warning for each newer one saying what is wrong with it.
  // Valid: the manifest keeps every rule and matches its own hash, all files are there and have their sizes.
  static Checkpoint open(const std::filesystem::path& path, const WarningSink& warn);
  // The same on all ranks of `world`, with the content of all files verified against their hashes (each rank
  // verifies a share), so that a damaged checkpoint is passed over for the next older one. Collective; rank 0
  // warns. All ranks return the same checkpoint or throw the same Error.
  static Checkpoint open_verified(const std::filesystem::path& path, Communicator& world,
                                  const WarningSink& warn);

  const std::filesystem::path& path() const { return path_; }
  std::int64_t step() const { return manifest_.step; }
  const Layout& layout() const { return manifest_.layout; }
  const nlohmann::json& state() const { return manifest_.state; }
  const Manifest& manifest() const { return manifest_; }
  const std::vector<ManifestTensor>& tensors() const { return manifest_.tensors; }
  const ManifestTensor* find(const std::string& name) const;  // null if there is none
  std::string config() const;                                 // verified

  // Hashes every file; throws an Error that names the damaged ones.
  void verify() const;
  // The same with the files shared out among the ranks. Collective: all ranks return, or throw the same
  // Error.
  void verify(Communicator& world) const;

  // Copies the box of global coordinates [offset, offset + destination.shape) of a tensor into host memory,
  // whichever pieces it is stored in. destination: any strides; f32 and bf16 are converted into each other,
  // other types must be the stored ones.
  void read(const std::string& name, const Shape& offset, const Tensor& destination) const;

  // Fills the local tensors on the device; what no piece covers (padding) becomes zero. `writer` does not
  // matter. Refuses before anything is copied if a tensor is missing or has another shape or dtype. Tensors
  // of the checkpoint that are not asked for are left out.
  void load(const std::vector<CheckpointTensor>& tensors, Device& device,
            std::size_t staging_bytes = kStagingBytes) const;

 private:
  Checkpoint(std::filesystem::path path, Manifest manifest);
  static Checkpoint parse(const std::filesystem::path& path, const std::string& manifest_text);
  void check_sizes() const;
  std::string damage(int rank,
                     int ranks) const;  // of the files that are rank's share; empty if there is none
  const ManifestTensor& at(const std::string& name) const;
  const SafetensorsReader& reader(const std::string& file) const;
  void read_piece(const ManifestTensor& tensor, const ManifestPiece& piece, const Box& wanted,
                  const Tensor& destination) const;

  std::filesystem::path path_;
  Manifest manifest_;
  std::unordered_map<std::string, std::size_t> by_name_;
  mutable std::map<std::string, SafetensorsReader> readers_;  // the files read from lately
};

// One line of `heddle inspect`.
struct CheckpointSummary {
  std::int64_t step = 0;
  std::filesystem::path path;
  bool best = false;
  std::string
      problem;  // empty: valid as far as open() checks; otherwise what is wrong, and `manifest` is empty
  Manifest manifest;  // layout, state, files with sizes and hashes, tensors with pieces
};

// Of the checkpoint, or of each checkpoint in the folder by increasing step. Throws Error if there is none.
std::vector<CheckpointSummary> describe(const std::filesystem::path& path);

}  // namespace heddle
