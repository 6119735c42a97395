// One line on a terminal that tells how far a preparation is, redrawn as it goes on; nothing elsewhere: what
// was done is said at the end.
#pragma once

#include "trainer/data/prepared_folder.h"

namespace heddle {

class PrepareLine {
 public:
  PrepareLine();
  ~PrepareLine();  // clears the line
  PrepareLine(const PrepareLine&) = delete;
  PrepareLine& operator=(const PrepareLine&) = delete;

  void show(const PrepareProgress& progress);

 private:
  const bool draws_;
};

}  // namespace heddle
