// Checks that need more than one option but no data.
#pragma once

#include "parallel/mesh.h"
#include "trainer/config/options.h"

namespace heddle {

// Throws UsageError that names the options, their values and what would work. `ranks` is the size of the job,
// or 0 where it is not known yet.
void check(const Options& options, int ranks = 0);

// The layout of a job of `ranks` ranks; throws UsageError that lists the layouts that work.
Layout layout_for(const Options& options, int ranks);

}  // namespace heddle
