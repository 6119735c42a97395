// Which cores the threads of this process run on.
#pragma once

#include <sched.h>

#include <vector>

namespace heddle {

// The cores this process was given, as found at the first call; later pinning of single threads does not
// change it.
const cpu_set_t& process_cores();

// The same as numbers, ascending.
std::vector<int> process_core_list();

// Lets the calling thread run on all of process_cores(): for helper threads started by a pinned thread.
void use_process_cores();

}  // namespace heddle
