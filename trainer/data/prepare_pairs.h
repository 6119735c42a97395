// Prepared pairs of texts: parallel text -> tokenizers -> token shards, once; what a run of a model that
// reads one text and writes another does first. As prepare.h does for text, with the same rules of when it is
// done and what a failure leaves.
//
// Every text of every pair is a document: its ids, then its tokenizer's end-of-text token, which such a
// tokenizer must have. The folder is described in dataset_manifest.h. Nothing is left out for its length
// here: the limit is the model's.
#pragma once

#include <cstdint>
#include <string>

#include "trainer/data/pair_source.h"
#include "trainer/data/prepared_folder.h"

namespace heddle {

struct PreparePairsOptions {
  PairFiles files;             // see pair_source.h
  PairFiles validation_files;  // if empty, the last validation_fraction of the pairs of `files` that are not
                               // left out
  double validation_fraction = 0.1;  // in [0, 1); 0: no validation data
  std::string folder;                // is made if need be; what an earlier preparation left there is replaced
  bool joint_vocabulary = true;      // one tokenizer of both sides, learnt from both
  // "byte", "bpe" or "word" (learnt from the training pairs), or the path of a tokenizer.
  std::string tokenizer = "bpe";
  std::string target_tokenizer;        // of the target side if joint_vocabulary is off; empty: as `tokenizer`
  std::int64_t bpe_vocabulary = 8192;  // of each tokenizer that is learnt
  bool lowercase = false;               // of "word"
  std::int64_t word_minimum_count = 2;  // of "word"
  // A tokenizer is learnt from the first so many bytes of its training text.
  std::int64_t learning_bytes = std::int64_t{1} << 30;
  std::int64_t tokens_per_shard = std::int64_t{1} << 28;
  int threads = 0;  // 0: all cores; the result does not depend on it
};

// Throws UsageError for settings that cannot work, Error for text that cannot be used; both name the file or
// setting.
PrepareResult prepare_pairs(const PreparePairsOptions& options, const PrepareReport& progress = {});

}  // namespace heddle
