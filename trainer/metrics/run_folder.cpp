#include "trainer/metrics/run_folder.h"

#include "kernels/error.h"
#include "trainer/files.h"

namespace heddle {

RunFolder::RunFolder(std::filesystem::path path, bool resume) : path_(std::move(path)) {
  std::error_code ignored;
  if (std::filesystem::exists(path_, ignored) && !std::filesystem::is_directory(path_, ignored))
    throw usage_error("run folder {} is a file; choose another --run-folder", path_.string());
  if (!resume) {
    for (const auto& made : {config(), metrics(), events(), checkpoints()}) {
      if (!std::filesystem::exists(std::filesystem::symlink_status(made, ignored))) continue;
      throw usage_error("{} already holds a run; continue it with --resume or choose another --run-folder",
                        path_.string());
    }
  }
  make_directories(checkpoints());
}

std::string RunFolder::name() const {
  const std::filesystem::path normal = (path_ / "").lexically_normal().parent_path();
  return normal.filename().string();
}

void RunFolder::write_config(const std::string& text) const {
  write_file_atomically(config(), text);
}

}  // namespace heddle
