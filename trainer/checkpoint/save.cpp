// Saving: each rank writes its file, rank 0 the rest, and every step is agreed upon by all ranks.
#include <algorithm>
#include <map>
#include <system_error>

#include "kernels/error.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/files.h"

namespace heddle {

namespace fs = std::filesystem;

namespace {

// What `action` failed with; empty if it did not. A failure of one rank must reach all, so nothing may
// escape.
template <typename Action>
std::string failure_of(Action action) {
  try {
    action();
    return "";
  } catch (const std::exception& reason) {
    return *reason.what() ? reason.what() : "unknown failure";
  }
}

// Throws the same Error on all ranks if any rank has a failure.
void agree(Communicator& world, const std::string& failure, const std::string& doing) {
  std::int64_t failed = failure.empty() ? 0 : 1;
  world.all_reduce_host(&failed, 1, Reduction::max, "checkpoint: success");
  if (failed == 0) return;
  const std::vector<std::string> failures = world.all_gather_host(failure, "checkpoint: failures");
  std::string message;
  int shown = 0, more = 0;
  for (int rank = 0; rank < world.size(); ++rank) {
    if (failures[rank].empty()) continue;
    if (shown == 3) {
      ++more;
      continue;
    }
    message += fmt::format("{}rank {}: {}", shown++ > 0 ? "; " : "", rank, failures[rank]);
  }
  if (more > 0) message += fmt::format("; and {} more ranks", more);
  throw error("{}: {}", doing, message);
}

// A box of a tensor on the device that becomes a tensor of the rank's file.
struct PieceToWrite {
  const CheckpointTensor* tensor;
  Box local;
  Box global;
};

void check_piece(const CheckpointTensor& tensor, const ShardPiece& piece) {
  const auto fits = [&](const Shape& shape, const Shape& offset) {
    return contains(shape, {offset, piece.extent});
  };
  if (!tensor.local.contiguous() || !fits(tensor.local.shape, piece.local_offset) ||
      !fits(tensor.global_shape, piece.global_offset))
    throw error("tensor {}: a piece of {} does not fit local shape {} and global shape {}", tensor.name,
                piece.extent.to_string(), tensor.local.shape.to_string(), tensor.global_shape.to_string());
}

// "name" for a whole tensor, so that a single rank's file can be used as a model file; else
// "name@row,column".
std::string key_of(const CheckpointTensor& tensor, const ShardPiece& piece) {
  if (piece.extent == tensor.global_shape) return tensor.name;
  std::string key = tensor.name;
  for (int i = 0; i < piece.global_offset.rank(); ++i)
    key += fmt::format("{}{}", i == 0 ? '@' : ',', piece.global_offset[i]);
  return key;
}

std::map<std::string, PieceToWrite> pieces_by_key(const std::vector<CheckpointTensor>& tensors) {
  std::map<std::string, PieceToWrite> pieces;
  for (const CheckpointTensor& tensor : tensors) {
    if (!tensor.writer) continue;
    for (const ShardPiece& piece : tensor.pieces) {
      check_piece(tensor, piece);
      if (piece.extent.count() == 0) continue;
      const std::string key = key_of(tensor, piece);
      const PieceToWrite to_write{
          &tensor, {piece.local_offset, piece.extent}, {piece.global_offset, piece.extent}};
      if (!pieces.emplace(key, to_write).second) throw error("tensor piece {} is there twice", key);
    }
  }
  return pieces;
}

// Copies boxes of device memory into a file through one bounded buffer.
class PieceStreamer {
 public:
  PieceStreamer(Device& device, std::size_t staging_bytes, SafetensorsWriter& writer)
      : device_(device), writer_(writer), staging_(device.allocate_host(staging_bytes)) {}

  void stream(const PieceToWrite& piece) {
    const Tensor& local = piece.tensor->local;
    const std::int64_t element = static_cast<std::int64_t>(size_of(local.dtype));
    const std::int64_t max_span =
        std::max<std::int64_t>(1, static_cast<std::int64_t>(staging_.bytes()) / element);
    // Between device and host one large copy beats many small ones: never cut into runs.
    for_each_slab(local.shape, piece.local, max_span, INT64_MAX, [&](const Slab& slab) {
      const Tensor source(static_cast<char*>(local.data) + slab.first * element, local.dtype, {slab.span});
      device_.copy_to_host(device_.compute_stream(), staging_.data(), source);
      device_.compute_stream().synchronize();
      if (slab.dense()) return writer_.append(staging_.data(), source.bytes());
      packed_.resize(static_cast<std::size_t>(slab.box.extent.count() * element));
      copy_host(view_of_slab(staging_.data(), local.dtype, local.shape, slab),
                Tensor(packed_.data(), local.dtype, slab.box.extent));
      writer_.append(packed_.data(), packed_.size());
    });
  }

 private:
  Device& device_;
  SafetensorsWriter& writer_;
  Memory staging_;
  std::vector<char> packed_;
};

std::vector<std::int64_t> to_vector(const Shape& shape) {
  std::vector<std::int64_t> sizes;
  for (int i = 0; i < shape.rank(); ++i) sizes.push_back(shape[i]);
  return sizes;
}

// What the manifest will say of a rank's tensors, whether it writes them or not.
std::vector<ManifestTensor> describe_tensors(const std::vector<CheckpointTensor>& tensors,
                                             const std::map<std::string, PieceToWrite>& pieces,
                                             const std::string& file) {
  std::vector<ManifestTensor> described;
  std::unordered_map<std::string, std::size_t> position;
  for (const CheckpointTensor& tensor : tensors)
    if (position.emplace(tensor.name, described.size()).second)
      described.push_back({tensor.name, tensor.local.dtype, tensor.global_shape, {}});
  for (const auto& [key, piece] : pieces)
    described[position.at(piece.tensor->name)].pieces.push_back({file, key, piece.global});
  return described;
}

// Writes this rank's file, if it has anything to write. Returns its contribution to the manifest.
nlohmann::json write_rank_file(const fs::path& directory, const CheckpointContent& content, Device& device,
                               int rank, std::size_t staging_bytes, std::uint64_t& bytes_written) {
  const std::string name = fmt::format("rank-{:05d}.safetensors", rank);
  const std::map<std::string, PieceToWrite> pieces = pieces_by_key(content.tensors);
  std::vector<ManifestFile> files;
  if (!pieces.empty()) {
    if (!fs::is_directory(directory))
      throw error("{} is not there: the folder must be on a file system that all hosts share",
                  directory.string());
    std::vector<SafetensorsEntry> entries;
    for (const auto& [key, piece] : pieces)
      entries.push_back(
          {key, safetensors_type_of(piece.tensor->local.dtype), to_vector(piece.global.extent), 0, 0});
    const SafetensorsHeader header = SafetensorsHeader::plan(
        std::move(entries), {{"format", "pt"}, {"step", fmt::format("{}", content.step)}});
    SafetensorsWriter writer(directory / name, header);
    PieceStreamer streamer(device, staging_size(content.tensors, staging_bytes), writer);
    for (const SafetensorsEntry& entry : header.tensors()) streamer.stream(pieces.at(entry.name));
    writer.finish();
    files.push_back({name, writer.bytes(), writer.digest()});
    bytes_written = writer.bytes();
  }
  return contribution_to_json(files, describe_tensors(content.tensors, pieces, name));
}

ManifestFile write_text(const fs::path& path, const std::string& text) {
  File file = File::create(path);
  file.write(text.data(), text.size());
  file.sync();
  file.close();
  return {path.filename(), text.size(), digest_of(text)};
}

// Rank 0, when all ranks have written: the manifest, and the rename that makes it a checkpoint.
void finish(const fs::path& folder, const fs::path& temporary, const CheckpointContent& content,
            const std::vector<std::string>& contributions) {
  const std::string where = temporary.string();
  if (content.config.size() > kMaxConfigBytes)
    throw error("{}: a configuration of {} bytes", where, content.config.size());
  if (!content.state.is_object()) throw error("{}: the trainer state is not a JSON object", where);
  Manifest manifest{content.step, content.layout, content.state, {}, {}};
  manifest.files.push_back(write_text(temporary / kConfigName, content.config));
  for (const std::string& contribution : contributions)
    add_contribution(manifest, nlohmann::json::parse(contribution), where);
  for (const ManifestFile& file : manifest.files)
    if (std::error_code reason; fs::file_size(temporary / file.name, reason) != file.bytes || reason)
      throw error("{} is not there as written: the folder must be on a file system that all hosts share",
                  (temporary / file.name).string());
  const std::string text = manifest_text(manifest, where);
  if (text.size() > kMaxManifestBytes)
    throw error("{}: a manifest of {} bytes is too long", where, text.size());
  write_text(temporary / kManifestName, text);
  sync_directory(temporary);
  commit_checkpoint(folder, content.step, temporary);
}

}  // namespace

SaveReport save_checkpoint(const fs::path& folder, const CheckpointContent& content, Device& device,
                           Communicator& world, const Retention& retention, std::size_t staging_bytes) {
  const bool first = world.rank() == 0;
  SaveReport report;
  report.path = folder / checkpoint_name(content.step);
  const fs::path temporary = report.path.string() + ".tmp";
  const std::string doing = "cannot save checkpoint " + report.path.string();
  const auto agree_or_remove = [&](const std::string& failure) {
    try {
      agree(world, failure, doing);
    } catch (const Error&) {
      if (first) failure_of([&] { remove_tree(temporary); });  // what is left is removed by the next save
      throw;
    }
  };

  agree_or_remove(first ? failure_of([&] {
    if (content.step < 0) throw error("step {} is negative", content.step);
    make_directories(folder);
    report.warnings = clean_up(folder);
    make_directory(temporary);
  })
                        : "");

  nlohmann::json contribution;
  agree_or_remove(failure_of([&] {
    device.compute_stream().synchronize();
    contribution = write_rank_file(temporary, content, device, world.rank(), staging_bytes, report.bytes);
  }));
  const std::vector<std::string> contributions =
      world.all_gather_host(contribution.dump(), "checkpoint: pieces");

  agree_or_remove(first ? failure_of([&] { finish(folder, temporary, content, contributions); }) : "");

  if (first)
    for (const std::string& warning : apply_retention(folder, content.step, retention))
      report.warnings.push_back(warning);
  return report;
}

}  // namespace heddle
