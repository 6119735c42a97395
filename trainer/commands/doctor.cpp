// heddle doctor: is this cluster, and this way of starting, good for a run?
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "parallel/probe.h"
#include "parallel/thread_binding.h"
#include "trainer/commands/command.h"
#include "trainer/commands/with_mpi.h"

namespace heddle {

namespace {

constexpr double kGiB = 1 << 30;
constexpr std::int64_t kLargestAllReduce = std::int64_t{64} << 20;

void print_hosts(const std::vector<RankFacts>& ranks) {
  fmt::print("{}, {} rank{}\n\n", ranks[0].mpi_library, ranks.size(), ranks.size() == 1 ? "" : "s");
  fmt::print("{:<20} {:>5} {:>8} {:>6} {:>8} {:>5} {:>19}\n", "host", "ranks", "threads", "cores", "allowed",
             "NUMA", "memory free / GiB");
  std::map<std::string, std::vector<const RankFacts*>> hosts;
  for (const RankFacts& rank : ranks) hosts[rank.host].push_back(&rank);
  for (const auto& [name, members] : hosts) {
    const RankFacts& first = *members[0];
    int threads = 0;
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    for (const RankFacts* rank : members) {
      threads += rank->threads;
      CPU_OR(&allowed, &allowed, &rank->allowed);
    }
    fmt::print("{:<20} {:>5} {:>8} {:>6} {:>8} {:>5} {:>19}\n", name, members.size(), threads,
               first.host_cores, CPU_COUNT(&allowed), first.memory_nodes,
               fmt::format("{:.1f} / {:.1f}", static_cast<double>(first.available_memory) / kGiB,
                           static_cast<double>(first.total_memory) / kGiB));
  }
}

// What this rank sees: a line for each GPU, or why there is none.
std::string gpu_lines(const std::string& host) {
  if (cuda_versions().empty()) return "";
  std::string lines;
  try {
    for (const GpuDescription& gpu : cuda_devices())
      lines +=
          fmt::format("{:<20} {:<28} {:>10.1f} {:>10.1f}   {}\n", host, gpu.name,
                      static_cast<double>(gpu.memory_bytes) / kGiB, gpu.compute_capability / 10.0, gpu.id);
  } catch (const Error& e) {
    return fmt::format("{:<20} {}\n", host, e.what());
  }
  return lines.empty() ? fmt::format("{:<20} none\n", host) : lines;
}

void print_gpus(const std::vector<std::string>& lines_of_ranks) {
  const std::string versions = gpu_libraries();
  if (versions.empty()) {
    fmt::print("\nGPUs: not used, this heddle was built without CUDA\n");
    return;
  }
  fmt::print("\n{}\n{:<20} {:<28} {:>10} {:>10}   {}\n", versions, "host", "GPU", "memory GiB", "capability",
             "id");
  std::set<std::string> printed;  // ranks of a host see the same ones, or each its own
  for (const std::string& lines : lines_of_ranks) {
    std::istringstream in(lines);
    for (std::string line; std::getline(in, line);)
      if (printed.insert(line).second) fmt::print("{}\n", line);
  }
}

void print_links(const std::vector<RankFacts>& ranks, const std::vector<Link>& links) {
  if (links.empty()) return;
  fmt::print("\n{:<16} {:>6} {:>28} {:>28}\n", "links", "pairs", "latency us (min med max)",
             "GB/s (min med max)");
  for (const bool inside : {true, false}) {
    std::vector<double> latency, bandwidth;
    for (const Link& link : links) {
      const std::string a = ranks[static_cast<std::size_t>(link.first)].host;
      if ((a == ranks[static_cast<std::size_t>(link.second)].host) != inside) continue;
      latency.push_back(link.latency_us);
      bandwidth.push_back(link.gigabytes_per_second);
    }
    if (latency.empty()) continue;
    const auto summary = [](std::vector<double>& v) {
      std::sort(v.begin(), v.end());
      return fmt::format("{:.2f} {:.2f} {:.2f}", v.front(), v[v.size() / 2], v.back());
    };
    fmt::print("{:<16} {:>6} {:>28} {:>28}\n", inside ? "within a host" : "between hosts", latency.size(),
               summary(latency), summary(bandwidth));
  }
}

void print_all_reduce(const std::vector<AllReduceTime>& times) {
  fmt::print("\n{:<16} {:>12} {:>14}\n", "all_reduce bytes", "us", "bus GB/s");
  for (const AllReduceTime& t : times)
    fmt::print("{:<16} {:>12.1f} {:>14.2f}\n", t.bytes, t.microseconds, t.bus_gigabytes_per_second);
}

void print_findings(const std::vector<Finding>& findings) {
  if (findings.empty()) fmt::print("\nnothing is wrong\n");
  for (const Finding& f : findings) {
    const char* severity = f.severity == Severity::failure   ? "wrong"
                           : f.severity == Severity::warning ? "warning"
                                                             : "note";
    fmt::print("\n{}: {}\n  mend: {}\n", severity, f.what, f.remedy);
  }
}

// Prints hosts, GPUs, links, all_reduce times and findings on rank 0. kExitFailure on all ranks if a finding
// is a failure.
int run_doctor(const Options& options, MpiSession& session) {
  const int asked = static_cast<int>(options.parallel.threads);
  const int threads = asked > 0 ? asked : threads_per_rank(session.local_size());
  const RankFacts mine = rank_facts(session, threads);
  const bool on_cpu = options.device.device == DeviceKind::cpu;
  const std::unique_ptr<Device> device = on_cpu ? make_cpu_device(threads) : make_device(options, session);
  const auto mesh = session.make_mesh({session.size(), 1}, *device);
  Communicator& world = mesh->world();
  const std::vector<RankFacts> ranks = gather_rank_facts(world, mine);
  const std::vector<std::string> gpus = world.all_gather_host(gpu_lines(mine.host), "GPUs");
  const std::vector<Link> links = measure_links(session, world);
  std::vector<AllReduceTime> times;
  if (session.size() > 1) times = measure_all_reduce(world, *device, kLargestAllReduce);

  std::vector<Finding> findings = examine_hosts(ranks);
  for (Finding& finding : examine_links(ranks, links)) findings.push_back(std::move(finding));
  const bool failed = std::any_of(findings.begin(), findings.end(),
                                  [](const Finding& f) { return f.severity == Severity::failure; });
  if (session.rank() == 0) {
    print_hosts(ranks);
    print_gpus(gpus);
    print_links(ranks, links);
    if (!times.empty()) print_all_reduce(times);
    print_findings(findings);
  }
  return failed ? kExitFailure : kExitDone;
}

}  // namespace

Command doctor_command() {
  Command command;
  command.name = "doctor";
  command.summary = "check hosts, cores, memory, GPUs and the links between ranks, and say what to mend";
  command.sections = {"parallel", "device"};
  command.examples = {"heddle doctor", "mpirun -np 8 heddle doctor --threads 4",
                      "mpirun -np 8 heddle doctor --device cuda"};
  command.run = [](const CommandLine& line) {
    return with_mpi(line, [&](MpiSession& session) { return run_doctor(line.options, session); });
  };
  return command;
}

}  // namespace heddle
