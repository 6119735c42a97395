// Acting together when one rank may fail: either all ranks go on or all throw the same error.
#pragma once

#include <functional>

#include "parallel/communicator.h"

namespace heddle {

// Runs `action` on this rank, then all ranks tell each other how it went. If it threw on any rank, every rank
// throws the Error of the lowest such rank (with "rank R: " in front unless all failed alike or R is 0), marked
// on_all_ranks(). `action` must not contain collectives that a failed rank would miss.
void agree(Communicator& world, const char* label, const std::function<void()>& action);

}  // namespace heddle
