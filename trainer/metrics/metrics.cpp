#include "trainer/metrics/metrics.h"

#include <fmt/format.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>

#include "kernels/error.h"
#include "trainer/files.h"
#include "trainer/strict_json.h"

namespace heddle {
namespace {

constexpr std::size_t kMaxLineBytes = 1 << 16;

// The optional numbers of a record: key in metrics.jsonl, tag in TensorBoard.
struct Field {
  const char* key;
  const char* tag;
  std::optional<double> MetricsRecord::*value;
};
constexpr Field kFields[] = {
    {"loss", "train/loss", &MetricsRecord::loss},
    {"validation_loss", "validation/loss", &MetricsRecord::validation_loss},
    {"learning_rate", "train/learning_rate", &MetricsRecord::learning_rate},
    {"gradient_norm", "train/gradient_norm", &MetricsRecord::gradient_norm},
    {"step_seconds", "speed/step_seconds", &MetricsRecord::step_seconds},
    {"tokens_per_second", "speed/tokens_per_second", &MetricsRecord::tokens_per_second},
    {"mfu", "speed/mfu", &MetricsRecord::mfu},
};

double parse_real(const nlohmann::json& value, const std::string& where) {
  if (value.is_number()) return value.get<double>();
  if (value == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (value == "inf") return std::numeric_limits<double>::infinity();
  if (value == "-inf") return -std::numeric_limits<double>::infinity();
  throw error("{}: not a number", where);
}

std::int64_t parse_count(const nlohmann::json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_unsigned() ||
      found->get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    throw error("{}: '{}' is not a count", where, key);
  return found->get<std::int64_t>();
}

}  // namespace

std::string to_json(const MetricsRecord& record) {
  std::string text = fmt::format("{{\"step\":{},\"tokens\":{}", record.step, record.tokens);
  for (const Field& field : kFields) {
    const std::optional<double>& value = record.*field.value;
    if (!value) continue;
    const char* quote = std::isfinite(*value) ? "" : "\"";
    const double shown = std::isnan(*value) ? std::numeric_limits<double>::quiet_NaN() : *value;  // no "-nan"
    text += fmt::format(",\"{}\":{}{:.9g}{}", field.key, quote, shown, quote);
  }
  return text + '}';
}

MetricsRecord parse_metrics(const std::string& line, const std::string& where) {
  const nlohmann::json object = parse_strict_json(line, where, /*max_depth=*/4);
  MetricsRecord record;
  record.step = parse_count(object, "step", where);
  record.tokens = parse_count(object, "tokens", where);
  for (const Field& field : kFields) {
    const auto found = object.find(field.key);
    if (found != object.end())
      record.*field.value = parse_real(*found, fmt::format("{}: '{}'", where, field.key));
  }
  return record;  // other keys are left alone: a newer heddle may write more
}

std::vector<MetricsRecord> read_metrics(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file || std::filesystem::is_directory(path))
    throw error("cannot read {}: {}", path.string(), file ? "it is a folder" : std::strerror(errno));
  std::vector<MetricsRecord> records;
  std::string line(kMaxLineBytes, '\0');
  std::vector<char> buffer(kMaxLineBytes);
  for (int number = 1; file.getline(buffer.data(), static_cast<std::streamsize>(buffer.size())); ++number) {
    if (file.eof()) return records;  // no newline: torn
    line.assign(buffer.data(), static_cast<std::size_t>(file.gcount()) - 1);
    records.push_back(parse_metrics(line, fmt::format("{}:{}", path.string(), number)));
  }
  if (!file.eof()) throw error("{}:{}: not a metrics record", path.string(), records.size() + 1);
  return records;
}

MetricsWriter::MetricsWriter(const RunFolder& folder, std::int64_t resumed_step, bool tensorboard)
    : path_(folder.metrics()) {
  if (std::filesystem::exists(path_)) {
    std::string kept;
    for (const MetricsRecord& record : read_metrics(path_))
      if (record.step <= resumed_step) kept += to_json(record) + '\n';
    write_file_atomically(path_, kept);
  }
  file_.reset(std::fopen(path_.c_str(), "ab"));
  if (!file_) throw error("cannot open {}: {}", path_.string(), std::strerror(errno));
  if (tensorboard) events_.emplace(folder.events(), resumed_step + 1);
}

void MetricsWriter::write(const MetricsRecord& record) {
  const std::string line = to_json(record) + '\n';
  if (std::fwrite(line.data(), 1, line.size(), file_.get()) != line.size() || std::fflush(file_.get()) != 0)
    throw error("cannot write {}: {}", path_.string(), std::strerror(errno));
  if (!events_) return;
  std::vector<Scalar> scalars;
  for (const Field& field : kFields)
    if (record.*field.value) scalars.push_back({field.tag, *(record.*field.value)});
  events_->write(record.step, scalars);
}

}  // namespace heddle
