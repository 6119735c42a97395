// The pairs of texts of a run as its options name them: files of parallel text (prepared on the way), or a
// folder of prepared pairs.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "trainer/config/options.h"
#include "trainer/data/pair_dataset.h"

namespace heddle {

// Where prepared pairs are or will be. Throws UsageError if the options name no pairs.
std::string prepared_pairs_folder(const DataOptions& options);

// Makes the prepared folder from parallel text where that is needed; prints what it does on standard output.
// Rank 0 calls it before the job's MPI starts, so that the other ranks wait without a time limit.
void prepare_pair_run_data(const DataOptions& options);

// The splits of a run, opened on every rank.
struct PairRunData {
  PairDataset train;
  std::optional<PairDataset> validation;
  std::unique_ptr<Tokenizer> source_tokenizer, target_tokenizer;
  bool joint = true;  // these are one

  static PairRunData open(const DataOptions& options);
};

// The model's vocabularies: as set, or the data's. Throws UsageError if the data's are larger, or if the two
// sides have tokenizers of their own and the model one embedding for both.
void settle_vocabulary(ModelOptions& model, const PairRunData& data);

}  // namespace heddle
