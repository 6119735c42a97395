// heddle bench translate: tokens/s of decoding with an encoder-decoder of random weights.
#pragma once

#include <cstdint>

#include "parallel/mpi_session.h"
#include "trainer/commands/command.h"

namespace heddle {

struct TranslateBenchOptions {
  std::int64_t sentences = 64;      // per data rank
  std::int64_t sentence_length = 0;  // tokens of source and of target; 0: half the context
  std::int64_t beam = 4;
};

// ceiling_seconds: spent on the matmul rate that the figures are compared with.
int bench_translate(const CommandLine& line, const TranslateBenchOptions& bench, double ceiling_seconds,
                    MpiSession& session);

}  // namespace heddle
