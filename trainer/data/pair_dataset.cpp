#include "trainer/data/pair_dataset.h"

#include <algorithm>
#include <utility>

#include "kernels/error.h"

namespace heddle {
namespace {

constexpr std::int64_t kBlockTokens = 1 << 16;

[[noreturn]] void refuse(const std::string& folder, const std::string& split, const std::string& reason) {
  throw error("{}: the {} split is damaged: {}; prepare the data again", folder, split, reason);
}

// Where each text begins, and at last where the last one ends. `documents`, which is not trusted, says how
// many there should be.
std::vector<std::int64_t> find_texts(const TokenDataset& tokens, std::int32_t end, std::int64_t documents,
                                     const std::string& folder, const std::string& split) {
  if (documents > tokens.size())
    refuse(folder, split, fmt::format("{} texts in {} tokens", documents, tokens.size()));
  std::vector<std::int64_t> begins{0};
  begins.reserve(static_cast<std::size_t>(documents) + 1);
  std::vector<std::int32_t> block(static_cast<std::size_t>(std::min(kBlockTokens, tokens.size())));
  for (std::int64_t position = 0; position < tokens.size();) {
    const std::int64_t count = std::min(kBlockTokens, tokens.size() - position);
    tokens.read(position, count, block.data());
    for (std::int64_t i = 0; i < count; ++i) {
      if (block[static_cast<std::size_t>(i)] != end) continue;
      const std::int64_t text_end = position + i + 1;
      if (static_cast<std::int64_t>(begins.size()) > documents)
        refuse(folder, split, fmt::format("more than the {} texts that its manifest names", documents));
      if (text_end - begins.back() > INT32_MAX)
        refuse(folder, split, fmt::format("text {} has {} tokens", begins.size(), text_end - begins.back()));
      begins.push_back(text_end);
    }
    position += count;
  }
  const std::int64_t found = static_cast<std::int64_t>(begins.size()) - 1;
  if (found != documents)
    refuse(folder, split,
           fmt::format("{} texts instead of the {} that its manifest names", found, documents));
  if (begins.back() != tokens.size()) refuse(folder, split, "its last text has no end");
  return begins;
}

}  // namespace

PairDataset PairDataset::open(const std::string& folder, const DatasetManifest& manifest,
                              const std::string& split) {
  if (!manifest.pairs)
    throw error("{} holds text, not pairs of texts: prepare --source and --target", folder);
  const auto open_side = [&](PairSide side, const Tokenizer& tokenizer) {
    const std::string name = pair_split(split, side);
    TokenDataset tokens = open_split(folder, manifest, name);
    const std::optional<std::int32_t> end = tokenizer.end_of_text();
    if (!end) throw error("{}: its tokenizer has no end-of-text token; prepare the data again", folder);
    std::vector<std::int64_t> begins =
        find_texts(tokens, *end, manifest.splits.at(name).documents, folder, name);
    return Side{std::move(tokens), *end, std::move(begins)};
  };
  Side source = open_side(PairSide::source, *open_tokenizer(folder, manifest));
  Side target = open_side(PairSide::target, *open_target_tokenizer(folder, manifest));
  if (source.begins.size() != target.begins.size())
    refuse(folder, split,
           fmt::format("{} source and {} target texts", source.begins.size() - 1, target.begins.size() - 1));
  std::vector<PairLength> lengths(source.begins.size() - 1);
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    lengths[i] = {static_cast<std::int32_t>(source.begins[i + 1] - source.begins[i]),
                  static_cast<std::int32_t>(target.begins[i + 1] - target.begins[i])};
  }
  return {std::move(source), std::move(target), std::move(lengths)};
}

}  // namespace heddle
