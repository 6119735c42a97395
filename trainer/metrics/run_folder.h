// RunFolder: where a run keeps what it makes, runs/<name>/
//
//   config.cfg      the resolved options, a config file that repeats the run
//   metrics.jsonl   one record per logging step
//   events/         TensorBoard event files
//   checkpoints/    of the checkpoint writer
#pragma once

#include <filesystem>
#include <string>

namespace heddle {

class RunFolder {
 public:
  // Makes the folder. One that already holds a run is refused (UsageError) unless `resume`, under which one
  // that does not exist yet is made as well: a job that is requeued always passes --resume.
  RunFolder(std::filesystem::path path, bool resume);

  const std::filesystem::path& path() const { return path_; }
  std::string name() const;
  std::filesystem::path config() const { return path_ / "config.cfg"; }
  std::filesystem::path metrics() const { return path_ / "metrics.jsonl"; }
  std::filesystem::path events() const { return path_ / "events"; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }

  // Replaces config.cfg; `text` is resolved_config() of the run's options.
  void write_config(const std::string& text) const;

 private:
  std::filesystem::path path_;
};

}  // namespace heddle
