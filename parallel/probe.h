// What the hardware and the launch give a job: facts about each rank's host, measured links between ranks,
// and what is wrong with them. All functions are collective over the world unless they say otherwise.
#pragma once

#include <sched.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "parallel/communicator.h"
#include "parallel/mpi_session.h"

namespace heddle {

// Of one rank. Plain data.
struct RankFacts {
  char host[64] = {};
  char mpi_library[64] = {};
  std::int32_t local_rank = 0;
  std::int32_t local_size = 1;
  std::int32_t host_cores = 0;       // physical cores of the host, by hwloc
  std::int32_t host_processors = 0;  // with hardware threads: what affinity masks count
  std::int32_t memory_nodes = 0;     // NUMA
  std::int32_t threads = 0;          // OpenMP threads this rank will use
  cpu_set_t allowed = {};            // processors this rank may run on
  std::uint64_t total_memory = 0;
  std::uint64_t available_memory = 0;
  std::uint64_t shared_memory_space = 0;  // free in /dev/shm
};

// This rank's own; not collective.
RankFacts rank_facts(const MpiSession& session, int threads);
std::vector<RankFacts> gather_rank_facts(Communicator& world, const RankFacts& mine);

// Between two ranks, by MPI messages there and back.
struct Link {
  int first = 0;
  int second = 0;
  double latency_us = 0;            // half of the round trip of 8 bytes; the best of many
  double gigabytes_per_second = 0;  // of 4 MiB messages; the best of several
};

// Every pair once, in rounds in which each rank is part of one pair; with more than 64 ranks only the first
// 63 rounds, which are different pairs for every rank. All ranks get all links.
std::vector<Link> measure_links(const MpiSession& session, Communicator& world);

struct AllReduceTime {
  std::int64_t bytes = 0;
  double microseconds = 0;              // the best of several, of the slowest rank
  double bus_gigabytes_per_second = 0;  // 2 (n - 1) / n bytes / time, as nccl-tests define it
};

std::vector<AllReduceTime> measure_all_reduce(Communicator& world, Device& device,
                                              std::int64_t largest_bytes);

enum class Severity { note, warning, failure };

struct Finding {
  Severity severity = Severity::note;
  std::string what;
  std::string remedy;
};

// What is wrong, worst first. Pure functions of what was gathered.
std::vector<Finding> examine_hosts(const std::vector<RankFacts>& ranks);
std::vector<Finding> examine_links(const std::vector<RankFacts>& ranks, const std::vector<Link>& links);

}  // namespace heddle
