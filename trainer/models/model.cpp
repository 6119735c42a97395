#include "trainer/models/model.h"

#include <map>

#include "kernels/error.h"

namespace heddle {

namespace {

struct Family {
  ModelInput input;
  ModelFactory factory;
};

std::map<std::string, Family>& families() {
  static std::map<std::string, Family> map;
  return map;
}

const Family& find_family(const std::string& name) {
  const auto it = families().find(name);
  if (it != families().end()) return it->second;
  std::string known;
  for (const auto& [other, family] : families()) known += (known.empty() ? "" : ", ") + other;
  throw usage_error("model.family = {}: known families are {}", name, known);
}

}  // namespace

ModelFamily::ModelFamily(std::string name, ModelInput input, ModelFactory factory) {
  families().emplace(std::move(name), Family{input, std::move(factory)});
}

ModelInput model_input(const ModelOptions& options) { return find_family(options.family).input; }

std::unique_ptr<Model> make_model(const ModelOptions& options, std::uint64_t seed, ParameterTable& table) {
  return find_family(options.family).factory(options, seed, table);
}

void Model::encode(Context&, DecodingState&, const Batch&) {
  throw error("internal: this model has no encoder");
}

}  // namespace heddle
