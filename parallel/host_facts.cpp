// Facts about hosts and what is wrong with them.
#include <fmt/format.h>
#include <hwloc.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <set>

#include "kernels/cpu/memory_info.h"
#include "kernels/error.h"
#include "parallel/affinity.h"
#include "parallel/probe.h"
#include "parallel/shared_memory_transport.h"

namespace heddle {

namespace {

template <std::size_t size>
void copy_text(char (&to)[size], const std::string& from) {
  std::memcpy(to, from.data(), std::min(from.size(), size - 1));
}

void count_cores(RankFacts& facts) {
  struct Destroy {
    void operator()(hwloc_topology_t t) const { hwloc_topology_destroy(t); }
  };
  hwloc_topology_t raw;
  if (hwloc_topology_init(&raw) != 0) throw error("hwloc cannot describe this host");
  const std::unique_ptr<std::remove_pointer_t<hwloc_topology_t>, Destroy> topology(raw);
  if (hwloc_topology_load(raw) != 0) throw error("hwloc cannot describe this host");
  facts.host_cores = hwloc_get_nbobjs_by_type(raw, HWLOC_OBJ_CORE);
  facts.host_processors = hwloc_get_nbobjs_by_type(raw, HWLOC_OBJ_PU);
  facts.memory_nodes = hwloc_get_nbobjs_by_type(raw, HWLOC_OBJ_NUMANODE);
}

}  // namespace

RankFacts rank_facts(const MpiSession& session, int threads) {
  RankFacts facts;
  copy_text(facts.host, session.host());
  copy_text(facts.mpi_library, session.library_version());
  facts.local_rank = session.local_rank();
  facts.local_size = session.local_size();
  count_cores(facts);
  facts.threads = threads;
  facts.allowed = process_cores();
  facts.total_memory = total_memory();
  facts.available_memory = available_memory();
  struct statvfs space;
  if (statvfs("/dev/shm", &space) == 0)
    facts.shared_memory_space = std::uint64_t{space.f_bavail} * space.f_frsize;
  return facts;
}

std::vector<RankFacts> gather_rank_facts(Communicator& world, const RankFacts& mine) {
  const std::string bytes(reinterpret_cast<const char*>(&mine), sizeof mine);
  std::vector<RankFacts> all;
  for (const std::string& other : world.all_gather_host(bytes, "host facts")) {
    if (other.size() != sizeof(RankFacts)) throw error("the ranks run different versions of heddle");
    std::memcpy(&all.emplace_back(), other.data(), sizeof(RankFacts));
  }
  return all;
}

// --- what is wrong ---

namespace {

using Host = std::vector<const RankFacts*>;  // its ranks

class Examination {
 public:
  explicit Examination(const std::vector<RankFacts>& ranks) : ranks_(ranks) {
    for (const RankFacts& rank : ranks) hosts_[rank.host].push_back(&rank);
  }

  std::vector<Finding> run() {
    compare_libraries();
    for (const auto& [name, host] : hosts_) {
      examine_threads(name, host);
      examine_memory(name, host);
    }
    compare_hosts();
    std::stable_sort(findings_.begin(), findings_.end(),
                     [](const Finding& a, const Finding& b) { return a.severity > b.severity; });
    return std::move(findings_);
  }

 private:
  void add(Severity severity, std::string what, std::string remedy) {
    findings_.push_back({severity, std::move(what), std::move(remedy)});
  }

  void compare_libraries() {
    for (const RankFacts& rank : ranks_)
      if (std::strcmp(rank.mpi_library, ranks_[0].mpi_library) != 0)
        return add(Severity::failure,
                   fmt::format("host {} has {}, host {} has {}", ranks_[0].host, ranks_[0].mpi_library,
                               rank.host, rank.mpi_library),
                   "install the same MPI on all hosts");
  }

  void examine_threads(const std::string& name, const Host& host) {
    int threads = 0;
    cpu_set_t together;
    CPU_ZERO(&together);
    for (const RankFacts* rank : host) {
      threads += rank->threads;
      CPU_OR(&together, &together, &rank->allowed);
    }
    const int usable = CPU_COUNT(&together), present = host[0]->host_processors;
    const int ranks = static_cast<int>(host.size());
    for (const RankFacts* rank : host) {
      const int own = CPU_COUNT(&rank->allowed);
      if (own < rank->threads)
        return add(Severity::failure,
                   fmt::format("host {}: local rank {} may use {} core{} but runs {} threads", name,
                               rank->local_rank, own, own == 1 ? "" : "s", rank->threads),
                   fmt::format("mpirun --bind-to none, or --map-by ppr:{}:node:PE={}", ranks, rank->threads));
    }
    if (overlap(host))
      return add(Severity::failure,
                 fmt::format("host {}: ranks are bound to the same cores while others are free", name),
                 "mpirun --bind-to none, or map each rank to cores of its own");
    if (threads > usable)
      return add(
          Severity::failure,
          fmt::format("host {}: {} ranks run {} threads in all on {} cores", name, ranks, threads, usable),
          fmt::format("--threads {}, or fewer ranks per host", std::max(1, usable / ranks)));
    // Cores taken from all ranks by a container or scheduler are invisible to hwloc; what it sees is free to
    // use.
    if (2 * threads <= host[0]->host_cores)
      add(Severity::warning, fmt::format("host {}: {} of {} processors are used", name, threads, present),
          usable < present ? "mpirun --bind-to none: the ranks are bound to part of the host"
                           : fmt::format("--threads {}", std::max(1, host[0]->host_cores / ranks)));
  }

  // Two bound ranks with a core in common, although the host has cores that no rank may use.
  static bool overlap(const Host& host) {
    cpu_set_t together;
    CPU_ZERO(&together);
    int sum = 0;
    for (const RankFacts* rank : host) {
      CPU_OR(&together, &together, &rank->allowed);
      sum += CPU_COUNT(&rank->allowed);
    }
    return sum > CPU_COUNT(&together) && CPU_COUNT(&together) < host[0]->host_processors;
  }

  void examine_memory(const std::string& name, const Host& host) {
    constexpr double kGiB = 1 << 30;
    const RankFacts& first = *host[0];
    if (first.available_memory < first.total_memory / 10)
      add(Severity::warning,
          fmt::format("host {}: only {:.1f} of {:.1f} GiB of memory are available", name,
                      static_cast<double>(first.available_memory) / kGiB,
                      static_cast<double>(first.total_memory) / kGiB),
          "end other programs, or raise the container's limit");
    // A mesh has up to two groups of all ranks of a host.
    const std::uint64_t needed = 2 * SharedMemoryTransport::region_bytes(static_cast<int>(host.size()));
    if (host.size() > 1 && first.shared_memory_space < needed)
      add(Severity::warning,
          fmt::format("host {}: /dev/shm has {} KiB free, so ranks may have to exchange by slower messages",
                      name, first.shared_memory_space / 1024),
          "give the container more shared memory (docker run --shm-size=1g)");
  }

  void compare_hosts() {
    std::set<std::size_t> sizes;
    std::set<int> cores;
    for (const auto& [name, host] : hosts_) {
      sizes.insert(host.size());
      cores.insert(host[0]->host_cores);
    }
    if (sizes.size() > 1)
      add(Severity::warning,
          fmt::format("hosts run between {} and {} ranks", *sizes.begin(), *sizes.rbegin()),
          "the fullest host sets the pace: mpirun --map-by ppr:N:node");
    if (cores.size() > 1)
      add(Severity::note, fmt::format("hosts have between {} and {} cores", *cores.begin(), *cores.rbegin()),
          "the smallest host sets the pace");
  }

  const std::vector<RankFacts>& ranks_;
  std::map<std::string, Host> hosts_;
  std::vector<Finding> findings_;
};

}  // namespace

std::vector<Finding> examine_hosts(const std::vector<RankFacts>& ranks) {
  return Examination(ranks).run();
}

}  // namespace heddle
