#include "trainer/models/model.h"

#include <map>

#include "kernels/error.h"

namespace heddle {

namespace {

std::map<std::string, ModelFactory>& families() {
  static std::map<std::string, ModelFactory> map;
  return map;
}

}  // namespace

ModelFamily::ModelFamily(std::string name, ModelFactory factory) {
  families().emplace(std::move(name), std::move(factory));
}

std::unique_ptr<Model> make_model(const ModelOptions& options, std::uint64_t seed, ParameterTable& table) {
  const auto it = families().find(options.family);
  if (it == families().end()) {
    std::string known;
    for (const auto& [name, factory] : families()) known += (known.empty() ? "" : ", ") + name;
    throw usage_error("model.family = {}: known families are {}", options.family, known);
  }
  return it->second(options, seed, table);
}

}  // namespace heddle
