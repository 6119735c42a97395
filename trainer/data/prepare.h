// Prepared data: text -> tokenizer -> token shards, once; what `heddle prepare` and a training run that is
// given text do.
//
// The folder afterwards (dataset_manifest.h): dataset.json, tokenizer.json, train-00000.heddle ...,
// validation-00000.heddle ... . All is made in a folder within and moved when it is finished; a preparation
// that fails leaves the earlier one as it was. The same inputs (by content) and settings again: nothing is
// done. Several processes must not prepare one folder at once; in a job, rank 0 does it.
//
// End of text: a tokenizer that has such a token gets one after every document of a split that has more than
// one; a split of a single document has none (so Shakespeare has the tokens known from nanoGPT). Tokenizers
// without one join documents with nothing between.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/data/prepared_folder.h"

namespace heddle {

struct PrepareOptions {
  std::vector<std::string> texts;             // files and folders, see text_source.h
  std::vector<std::string> validation_texts;  // if empty, validation_fraction of `texts`, see split_source.h
  double validation_fraction = 0.1;           // in [0, 1); 0: no validation data
  std::string folder;  // is made if need be; what an earlier preparation left there is replaced
  // "byte", "char" (learnt from all of the text), "word" or "bpe" (learnt from the training text), or the
  // path of a tokenizer.
  std::string tokenizer = "bpe";
  std::int64_t bpe_vocabulary = 8192;
  // BPE is learnt from the first so many bytes of the training text: the memory it takes grows with distinct
  // words.
  std::int64_t bpe_bytes = std::int64_t{1} << 30;
  bool lowercase = false;               // of "word"
  std::int64_t word_minimum_count = 2;  // of "word"
  std::string text_field = "text";      // of .jsonl
  bool end_of_text =
      true;  // false: no end-of-text tokens; the byte tokenizer then has 256 ids instead of 257
  std::int64_t tokens_per_shard = std::int64_t{1} << 28;
  int threads = 0;  // 0: all cores; the result does not depend on it
};

// Throws UsageError for settings that cannot work, Error for text that cannot be used; both name the file or
// setting.
PrepareResult prepare(const PrepareOptions& options, const PrepareReport& progress = {});

}  // namespace heddle
