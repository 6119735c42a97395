// How a folder of prepared data comes to be: made again only if it is not up to date, and replaced as a
// whole.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "trainer/data/dataset_manifest.h"
#include "trainer/data/fingerprint.h"

namespace heddle {

struct PrepareProgress {
  const char* stage = "";  // "comparing", "reading", "learning the tokenizer", "merging", "encoding"
  std::int64_t done = 0;   // bytes of the stored files; tokens of the vocabulary when merging
  std::int64_t total = 0;
};
using PrepareReport = std::function<void(const PrepareProgress&)>;

struct PrepareResult {
  bool up_to_date = false;  // all was there already
  DatasetManifest manifest;
};

using FileLists = std::initializer_list<const std::vector<std::string>*>;

// Bytes of the files as they are stored.
std::int64_t stored_bytes(FileLists lists);

// Adds the files' content and order; not their names, but for the format that these stand for.
void add_files(Fingerprint& fingerprint, FileLists lists, const PrepareReport& report);

// If `folder` holds data of `fingerprint`, complete and whole, nothing is done. Otherwise `make` writes
// shards and tokenizers into the empty folder it is given and returns their manifest (the fingerprint is
// filled in here), and then these replace what `folder` held. dataset.json goes first and comes last, so a
// folder that has one is complete; if `make` throws, the earlier data stays as it was.
PrepareResult update_prepared_folder(const std::string& folder, const std::string& fingerprint,
                                     const std::function<DatasetManifest(const std::string& workshop)>& make);

}  // namespace heddle
