// What a run trains on, whichever kind of input its model family takes: text or pairs of texts.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "parallel/mesh.h"
#include "trainer/config/options.h"
#include "trainer/training/training_data.h"

namespace heddle {

// Makes the prepared data from text where that is needed. Rank 0 calls it before the job's MPI starts, so that the
// others wait without a time limit. Throws UsageError for options that name no data, or data of another kind than the
// model takes.
void prepare_run_input(const Options& options);
// The same checks alone.
void check_run_input(const Options& options);

class RunInput {
 public:
  virtual ~RunInput() = default;

  // Opens the prepared data on this rank.
  static std::unique_ptr<RunInput> open(const Options& options);

  // Fills in what the options leave to the data (vocabularies, the folder) and refuses a model that cannot take it.
  virtual void settle(Options& options) = 0;
  virtual void save_tokenizers(const std::filesystem::path& folder) const = 0;
  // This rank's batches; this must outlive them. Adds to `remarks` what a person should know about the data.
  virtual std::unique_ptr<TrainingData> batches(const Options& options, Layout layout, int data_rank,
                                                std::vector<std::string>& remarks) const = 0;
  // "8 x 128 tokens", "at most 4,096 tokens": what a step takes.
  virtual std::string step_size(const Options& options) const = 0;
};

}  // namespace heddle
