// The pairs of one split of prepared data (dataset_manifest.h), read by number.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/data/dataset_manifest.h"

namespace heddle {

// In tokens, the end-of-text token of each side included.
struct PairLength {
  std::int32_t source = 0, target = 0;
};

class PairDataset {
 public:
  // `split` is kTrainSplit or kValidationSplit. Reads all tokens once to find where texts end. Throws Error
  // naming the folder or file if it holds no pairs, has no such split, or is not what its manifest says.
  static PairDataset open(const std::string& folder, const DatasetManifest& manifest,
                          const std::string& split);

  std::int64_t size() const { return static_cast<std::int64_t>(lengths_.size()); }
  const std::vector<PairLength>& lengths() const { return lengths_; }
  PairLength length(std::int64_t pair) const { return lengths_[static_cast<std::size_t>(pair)]; }

  // ids[0, length) of a pair's text and its end-of-text token. Throws Error naming the file if it was damaged
  // meanwhile. May be called from several threads; allocates nothing.
  void read_source(std::int64_t pair, std::int32_t* ids) const {
    source_.read(pair, lengths_[pair].source, ids);
  }
  void read_target(std::int64_t pair, std::int32_t* ids) const {
    target_.read(pair, lengths_[pair].target, ids);
  }

  // The end-of-text tokens.
  std::int32_t source_end() const { return source_.end; }
  std::int32_t target_end() const { return target_.end; }
  std::int64_t source_vocabulary_size() const { return source_.tokens.vocabulary_size(); }
  std::int64_t target_vocabulary_size() const { return target_.tokens.vocabulary_size(); }

 private:
  struct Side {
    TokenDataset tokens;
    std::int32_t end;
    std::vector<std::int64_t> begins;  // of each text in `tokens`

    void read(std::int64_t text, std::int32_t length, std::int32_t* ids) const {
      tokens.read(begins[static_cast<std::size_t>(text)], length, ids);
    }
  };

  PairDataset(Side source, Side target, std::vector<PairLength> lengths)
      : source_(std::move(source)), target_(std::move(target)), lengths_(std::move(lengths)) {}

  Side source_, target_;
  std::vector<PairLength> lengths_;
};

}  // namespace heddle
