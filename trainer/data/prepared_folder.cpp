#include "trainer/data/prepared_folder.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include "kernels/error.h"
#include "trainer/data/text_source.h"
#include "trainer/files.h"

namespace heddle {
namespace {

namespace fs = std::filesystem;

// Inside the data's folder; what an earlier preparation left there stays whole until the new one is finished.
constexpr const char* kWorkshopName = "preparing.tmp";

// What an earlier preparation left, if it is complete and of this fingerprint.
std::optional<DatasetManifest> find_prepared(const std::string& folder, const std::string& fingerprint) {
  if (!is_prepared_folder(folder)) return std::nullopt;
  try {
    DatasetManifest manifest = read_manifest(folder);
    if (manifest.fingerprint != fingerprint) return std::nullopt;
    for (const auto& [name, split] : manifest.splits) open_split(folder, manifest, name);
    open_tokenizer(folder, manifest);
    if (manifest.pairs) open_target_tokenizer(folder, manifest);
    return manifest;
  } catch (const Error&) {
    return std::nullopt;  // damaged: made again
  }
}

bool is_shard_name(const std::string& name) {
  return name.ends_with(".heddle") && (name.starts_with(std::string(kTrainSplit) + "-") ||
                                       name.starts_with(std::string(kValidationSplit) + "-"));
}

bool is_tokenizer_name(const std::string& name) {
  return name == kDatasetTokenizerName || name == kDatasetSourceTokenizerName ||
         name == kDatasetTargetTokenizerName;
}

// The files that a manifest speaks of.
std::set<std::string> files_of(const DatasetManifest& manifest) {
  const std::vector<std::string> tokenizers = tokenizer_files(manifest);
  std::set<std::string> files(tokenizers.begin(), tokenizers.end());
  for (const auto& [name, split] : manifest.splits) {
    for (const DatasetSplit::Shard& shard : split.shards) files.insert(shard.file);
  }
  return files;
}

// Removes what an earlier preparation left and this one did not replace.
void remove_other_files(const fs::path& folder, const std::set<std::string>& kept) {
  std::vector<fs::path> others;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if ((is_shard_name(name) || is_tokenizer_name(name)) && !kept.contains(name))
      others.push_back(entry.path());
  }
  for (const fs::path& path : others) remove_tree(path);
}

// Moves finished data from the workshop to its folder. The folder has no manifest while it is in between.
void publish(const fs::path& workshop, const fs::path& folder, const DatasetManifest& manifest) {
  const std::set<std::string> files = files_of(manifest);
  remove_tree(folder / kDatasetManifestName);
  sync_directory(folder);
  for (const std::string& file : files) rename_path(workshop / file, folder / file);
  sync_directory(folder);
  write_manifest(folder.string(), manifest);
  remove_other_files(folder, files);
  remove_tree(workshop);
}

}  // namespace

std::int64_t stored_bytes(FileLists lists) {
  std::int64_t bytes = 0;
  for (const auto* files : lists) {
    for (const std::string& path : *files) bytes += static_cast<std::int64_t>(File::open(path).size());
  }
  return bytes;
}

void add_files(Fingerprint& fingerprint, FileLists lists, const PrepareReport& report) {
  const std::int64_t total = stored_bytes(lists);
  std::int64_t done = 0;
  std::vector<char> buffer(std::size_t{1} << 20);
  for (const auto* files : lists) {
    fingerprint.number(files->size());
    for (const std::string& path : *files) {
      const File file = File::open(path);
      Digest content;
      for (std::uint64_t offset = 0; offset < file.size();) {
        const std::size_t count =
            static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), file.size() - offset));
        file.read_at(offset, buffer.data(), count);
        content.update(buffer.data(), count);
        offset += count;
        done += static_cast<std::int64_t>(count);
        if (report) report({"comparing", done, total});
      }
      fingerprint.string(content.hex());
      fingerprint.string(text_format_name(path));
    }
  }
}

PrepareResult update_prepared_folder(const std::string& folder, const std::string& fingerprint,
                                     const std::function<DatasetManifest(const std::string&)>& make) {
  if (std::optional<DatasetManifest> manifest = find_prepared(folder, fingerprint)) {
    return {true, std::move(*manifest)};
  }
  const fs::path workshop = fs::path(folder) / kWorkshopName;
  make_directories(folder);
  remove_tree(workshop);
  make_directory(workshop);
  PrepareResult result;
  try {
    result.manifest = make(workshop.string());
    result.manifest.fingerprint = fingerprint;
    publish(workshop, folder, result.manifest);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(workshop, ignored);
    throw;
  }
  return result;
}

}  // namespace heddle
