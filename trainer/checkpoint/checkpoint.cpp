#include "trainer/checkpoint/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <system_error>

#include "kernels/error.h"
#include "trainer/files.h"

namespace heddle {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kReadBytes = std::size_t{4} << 20;        // buffer of one read, about a cache's size
constexpr std::size_t kDirectRunBytes = std::size_t{64} << 10;  // from here on only what is wanted is read
constexpr std::size_t kMaxOpenFiles = 256;  // well below the usual limit of 1024 descriptors

bool is_checkpoint(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path / kManifestName, ignored) || step_of_name(path.filename()).has_value();
}

std::string read_manifest(const fs::path& path) {
  return read_small_file(path / kManifestName, kMaxManifestBytes);
}

// The checkpoints that `path` stands for, in the order in which they are tried.
std::vector<fs::path> candidates(const fs::path& given) {
  const fs::path path = given.filename().empty() ? given.parent_path() : given;  // "run/" means "run"
  std::error_code ignored;
  if (!fs::is_directory(path, ignored))
    throw error("{}: there is no such checkpoint or folder", path.string());
  if (is_checkpoint(path)) return {path};
  std::vector<CheckpointPath> found = list_checkpoints(path);
  if (found.empty()) found = list_checkpoints(path / "checkpoints");
  if (found.empty()) throw error("{}: there is no checkpoint in it", path.string());
  std::vector<fs::path> newest_first;
  for (auto next = found.rbegin(); next != found.rend(); ++next) newest_first.push_back(next->path);
  return newest_first;
}

// The first candidate that `try_open` does not refuse. One that was asked for by name has no substitute.
template <typename TryOpen>
Checkpoint first_valid(const std::vector<fs::path>& paths, const WarningSink& warn, TryOpen try_open) {
  for (std::size_t i = 0; i + 1 < paths.size(); ++i) {
    try {
      return try_open(paths[i]);
    } catch (const Error& reason) {
      if (warn) warn(fmt::format("checkpoint passed over for an older one: {}", reason.what()));
    }
  }
  return try_open(paths.back());
}

std::string digest_of_file(const fs::path& path, std::uint64_t expected_bytes) {
  const File file = File::open(path);
  if (file.size() != expected_bytes)
    throw error("{}: {} bytes, the manifest says {}", path.string(), file.size(), expected_bytes);
  Digest digest;
  std::vector<char> buffer(std::min<std::uint64_t>(kReadBytes, file.size()));
  for (std::uint64_t at = 0; at < file.size(); at += buffer.size()) {
    const std::size_t bytes = std::min<std::uint64_t>(buffer.size(), file.size() - at);
    file.read_at(at, buffer.data(), bytes);
    digest.update(buffer.data(), bytes);
  }
  return digest.hex();
}

}  // namespace

std::size_t staging_size(const std::vector<CheckpointTensor>& tensors, std::size_t limit) {
  std::size_t largest = sizeof(double);  // at least one element of any type
  for (const CheckpointTensor& tensor : tensors) largest = std::max(largest, tensor.local.bytes());
  return std::max(sizeof(double), std::min(largest, limit));
}

// ---- opening and verifying ----

Checkpoint::Checkpoint(fs::path path, Manifest manifest)
    : path_(std::move(path)), manifest_(std::move(manifest)) {
  for (std::size_t i = 0; i < manifest_.tensors.size(); ++i) by_name_.emplace(manifest_.tensors[i].name, i);
}

Checkpoint Checkpoint::parse(const fs::path& path, const std::string& manifest_text) {
  const std::string where = (path / kManifestName).string();
  Manifest manifest = parse_manifest(manifest_text, where);
  const std::optional<std::int64_t> step = step_of_name(path.filename());
  if (step && *step != manifest.step)
    throw error("{}: it is of step {}, the directory's name says {}", where, manifest.step, *step);
  return Checkpoint(path, std::move(manifest));
}

void Checkpoint::check_sizes() const {
  for (const ManifestFile& file : manifest_.files) {
    const fs::path path = path_ / file.name;
    std::error_code reason;
    const std::uint64_t bytes = fs::is_regular_file(path, reason) ? fs::file_size(path, reason) : 0;
    if (reason || !fs::is_regular_file(path, reason)) throw error("{}: the file is missing", path.string());
    if (bytes != file.bytes)
      throw error("{}: {} bytes, the manifest says {}: it is damaged", path.string(), bytes, file.bytes);
  }
}

Checkpoint Checkpoint::open(const fs::path& path, const WarningSink& warn) {
  return first_valid(candidates(path), warn, [](const fs::path& candidate) {
    Checkpoint checkpoint = parse(candidate, read_manifest(candidate));
    checkpoint.check_sizes();
    return checkpoint;
  });
}

Checkpoint Checkpoint::open_verified(const fs::path& path, Communicator& world, const WarningSink& warn) {
  // Rank 0 looks at the disk and tells the others what it saw, so that all ranks take the same decisions and
  // a thousand ranks do not read a thousand manifests.
  const bool first = world.rank() == 0;
  const auto from_first = [&](auto compute) {
    constexpr char kGood = '+', kBad = '-';
    std::string message;
    if (first) {
      try {
        message = kGood + compute();
      } catch (const std::exception& reason) {
        message = kBad + std::string(reason.what());
      }
    }
    world.broadcast_host(message, 0, "checkpoint: manifest");
    if (message.at(0) == kBad) throw Error(message.substr(1));
    return message.substr(1);
  };

  const std::string names = from_first([&] {
    std::string joined;
    for (const fs::path& candidate : candidates(path)) joined += candidate.string() + '\0';
    return joined;
  });
  std::vector<fs::path> paths;
  for (std::size_t begin = 0, end; (end = names.find('\0', begin)) != std::string::npos; begin = end + 1)
    paths.emplace_back(names.substr(begin, end - begin));

  return first_valid(paths, first ? warn : WarningSink(), [&](const fs::path& candidate) {
    const std::string text = from_first([&] {
      std::string manifest_text = read_manifest(candidate);
      parse(candidate, manifest_text).check_sizes();
      return manifest_text;
    });
    Checkpoint checkpoint = parse(candidate, text);
    checkpoint.verify(world);
    return checkpoint;
  });
}

std::string Checkpoint::damage(int rank, int ranks) const {
  std::string found;
  for (std::size_t i = static_cast<std::size_t>(rank); i < manifest_.files.size();
       i += static_cast<std::size_t>(ranks)) {
    const ManifestFile& file = manifest_.files[i];
    std::string problem;
    try {
      const std::string digest = digest_of_file(path_ / file.name, file.bytes);
      if (digest != file.xxh3_128)
        problem = fmt::format("{}: its content has XXH3-128 {}, the manifest says {}: it is damaged",
                              (path_ / file.name).string(), digest, file.xxh3_128);
    } catch (const std::exception& reason) {
      problem = reason.what();
    }
    if (!problem.empty()) found += (found.empty() ? "" : "; ") + problem;
  }
  return found;
}

void Checkpoint::verify() const {
  const std::string found = damage(0, 1);
  if (!found.empty()) throw Error(found);
}

void Checkpoint::verify(Communicator& world) const {
  std::string all;
  for (const std::string& found :
       world.all_gather_host(damage(world.rank(), world.size()), "checkpoint: verify"))
    if (!found.empty()) all += (all.empty() ? "" : "; ") + found;
  if (!all.empty()) throw Error(all);
}

std::string Checkpoint::config() const {
  const ManifestFile& file = *manifest_.find_file(kConfigName);
  std::string text = read_small_file(path_ / kConfigName, kMaxConfigBytes);
  if (digest_of(text) != file.xxh3_128)
    throw error("{}: its content does not match the manifest: it is damaged", (path_ / kConfigName).string());
  return text;
}

// ---- reading ----

const ManifestTensor* Checkpoint::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &manifest_.tensors[found->second];
}

const ManifestTensor& Checkpoint::at(const std::string& name) const {
  if (const ManifestTensor* tensor = find(name)) return *tensor;
  throw error("{}: there is no tensor {}: the checkpoint is of another model", path_.string(),
              printable(name));
}

const SafetensorsReader& Checkpoint::reader(const std::string& file) const {
  const auto found = readers_.find(file);
  if (found != readers_.end()) return found->second;
  if (readers_.size() >= kMaxOpenFiles) readers_.clear();
  return readers_.emplace(file, SafetensorsReader(path_ / file)).first->second;
}

void Checkpoint::read_piece(const ManifestTensor& tensor, const ManifestPiece& piece, const Box& wanted,
                            const Tensor& destination) const {
  const SafetensorsReader& file = reader(piece.file);
  const std::string where = fmt::format("{}: tensor {}", file.path().string(), printable(piece.key));
  const SafetensorsEntry* entry = file.header().find(piece.key);
  if (entry == nullptr) throw error("{} is not in the file: the file belongs to another checkpoint", where);
  Shape stored;
  for (std::size_t i = 0; i < entry->shape.size() && i < Shape::kMaxRank; ++i)
    stored.push_back(entry->shape[i]);
  if (entry->shape.size() > Shape::kMaxRank || !(stored == piece.box.extent) ||
      dtype_of(entry->type) != tensor.dtype)
    throw error("{} is {} {} in the file and {} {} in the manifest", where, name_of(entry->type),
                stored.to_string(), name_of(safetensors_type_of(tensor.dtype)), piece.box.extent.to_string());

  const std::size_t element = size_of(tensor.dtype);
  const Box in_piece{difference(wanted.offset, piece.box.offset), wanted.extent};
  std::vector<char> buffer;
  for_each_slab(stored, in_piece, kReadBytes / element, kDirectRunBytes / element, [&](const Slab& slab) {
    buffer.resize(static_cast<std::size_t>(slab.span) * element);
    file.read(*entry, static_cast<std::uint64_t>(slab.first) * element, buffer.data(), buffer.size());
    Tensor target = destination;  // of `wanted`; the slab is a part of it
    target.shape = slab.box.extent;
    const Shape at = difference(slab.box.offset, in_piece.offset);
    std::int64_t elements = 0;
    for (int i = 0; i < at.rank(); ++i) elements += at[i] * destination.stride[i];
    target.data =
        static_cast<char*>(destination.data) + elements * static_cast<std::int64_t>(size_of(target.dtype));
    copy_host(view_of_slab(buffer.data(), tensor.dtype, stored, slab), target);
  });
}

void Checkpoint::read(const std::string& name, const Shape& offset, const Tensor& destination) const {
  const ManifestTensor& tensor = at(name);
  const Box wanted{offset, destination.shape};
  if (!contains(tensor.shape, wanted))
    throw error("{}: tensor {} has shape {}, {} at {} was asked for", path_.string(), printable(name),
                tensor.shape.to_string(), destination.shape.to_string(), offset.to_string());
  for (const ManifestPiece& piece : tensor.pieces) {
    const std::optional<Box> common = intersection(piece.box, wanted);
    if (!common) continue;
    Tensor part = destination;
    const Shape begin = difference(common->offset, offset);
    for (int i = 0; i < begin.rank(); ++i) part = part.slice(i, begin[i], begin[i] + common->extent[i]);
    read_piece(tensor, piece, *common, part);
  }
}

void Checkpoint::load(const std::vector<CheckpointTensor>& tensors, Device& device,
                      std::size_t staging_bytes) const {
  for (const CheckpointTensor& wanted : tensors) {
    const ManifestTensor& stored = at(wanted.name);
    if (!(stored.shape == wanted.global_shape))
      throw error("{}: tensor {} has shape {}, the model needs {}", path_.string(), printable(wanted.name),
                  stored.shape.to_string(), wanted.global_shape.to_string());
    if (stored.dtype != wanted.local.dtype)
      throw error("{}: tensor {} has dtype {}, the model needs {}", path_.string(), printable(wanted.name),
                  name_of(stored.dtype), name_of(wanted.local.dtype));
  }

  const Memory staging = device.allocate_host(staging_size(tensors, staging_bytes));
  Stream& stream = device.compute_stream();
  for (const CheckpointTensor& wanted : tensors) {
    const Tensor& local = wanted.local;
    const std::int64_t element = static_cast<std::int64_t>(size_of(local.dtype));
    const std::int64_t max_span =
        std::max<std::int64_t>(1, static_cast<std::int64_t>(staging.bytes()) / element);
    for_each_slab(local.shape, whole(local.shape), max_span, INT64_MAX, [&](const Slab& slab) {
      const Tensor host(staging.data(), local.dtype, slab.box.extent);
      std::memset(host.data, 0, host.bytes());
      for (const ShardPiece& piece : wanted.pieces) {
        const std::optional<Box> common = intersection({piece.local_offset, piece.extent}, slab.box);
        if (!common) continue;
        Tensor part = host;
        const Shape begin = difference(common->offset, slab.box.offset);
        for (int i = 0; i < begin.rank(); ++i) part = part.slice(i, begin[i], begin[i] + common->extent[i]);
        read(wanted.name, sum(piece.global_offset, difference(common->offset, piece.local_offset)), part);
      }
      device.copy_to_device(
          stream, Tensor(static_cast<char*>(local.data) + slab.first * element, local.dtype, {slab.span}),
          staging.data());
      stream.synchronize();  // the buffer is used again
    });
  }
}

// ---- describing ----

std::vector<CheckpointSummary> describe(const fs::path& path) {
  std::vector<CheckpointSummary> summaries;
  for (const fs::path& candidate : candidates(path)) {
    CheckpointSummary summary;
    summary.path = candidate;
    summary.step = step_of_name(candidate.filename()).value_or(0);
    try {
      const Checkpoint checkpoint = Checkpoint::open(candidate, nullptr);
      summary.step = checkpoint.step();
      summary.manifest = checkpoint.manifest();
      const std::optional<CheckpointPath> best = best_checkpoint(candidate.parent_path());
      summary.best = best && best->step == summary.step;
    } catch (const Error& reason) {
      summary.problem = reason.what();
    }
    summaries.push_back(std::move(summary));
  }
  std::reverse(summaries.begin(), summaries.end());
  return summaries;
}

}  // namespace heddle
