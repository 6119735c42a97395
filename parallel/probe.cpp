// Measured links and collectives.
#include "parallel/probe.h"

#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>

#include "kernels/error.h"
#include "parallel/collective.h"
#include "parallel/mpi_error.h"
#include "parallel/unique_comm.h"

namespace heddle {

namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The fastest of `repetitions` round trips of `bytes`, in seconds; the same answer on both sides is not
// needed.
double round_trip(MPI_Comm comm, int peer, bool first, std::vector<char>& buffer, int bytes,
                  int repetitions) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < repetitions; ++i) {
    const double start = seconds_now();
    if (first) mpi_check(MPI_Send(buffer.data(), bytes, MPI_CHAR, peer, 0, comm), "MPI_Send");
    mpi_check(MPI_Recv(buffer.data(), bytes, MPI_CHAR, peer, 0, comm, MPI_STATUS_IGNORE), "MPI_Recv");
    if (!first) mpi_check(MPI_Send(buffer.data(), bytes, MPI_CHAR, peer, 0, comm), "MPI_Send");
    best = std::min(best, seconds_now() - start);
  }
  return best;
}

// The partner of `rank` in `round` of a round-robin tournament of `players` (even): the last player stays,
// the others go around in a circle. -1: a pause, with the pretended player that makes an odd number of ranks
// even.
int partner(int rank, int round, int players, int ranks) {
  const int circle = players - 1;
  int other;
  if (rank == circle) {
    other = round;
  } else if (rank == round) {
    other = circle;
  } else {
    other = ((2 * round - rank) % circle + circle) % circle;
  }
  return other < ranks ? other : -1;
}

}  // namespace

std::vector<Link> measure_links(const MpiSession& session, Communicator& world) {
  constexpr int kMessage = 4 << 20;
  constexpr int kMostRounds = 63;
  const int ranks = session.size(), rank = session.rank();
  const int players = ranks + ranks % 2;
  const UniqueComm comm = UniqueComm::duplicate(MPI_COMM_WORLD);
  std::vector<char> buffer(kMessage);
  std::string mine;
  for (int round = 0; round < std::min(players - 1, kMostRounds); ++round) {
    world.barrier("link probe");
    const int other = partner(rank, round, players, ranks);
    if (other < 0) continue;
    const bool first = rank < other;
    Link link{rank, other};
    link.latency_us = round_trip(comm.get(), other, first, buffer, 8, 200) / 2 * 1e6;
    link.gigabytes_per_second =
        2.0 * kMessage / round_trip(comm.get(), other, first, buffer, kMessage, 8) / 1e9;
    if (first) mine.append(reinterpret_cast<const char*>(&link), sizeof link);
  }
  std::vector<Link> links;
  for (const std::string& bytes : world.all_gather_host(mine, "link probe")) {
    const std::size_t count = bytes.size() / sizeof(Link), old = links.size();
    links.resize(old + count);
    if (count > 0) std::memcpy(&links[old], bytes.data(), count * sizeof(Link));
  }
  return links;
}

std::vector<AllReduceTime> measure_all_reduce(Communicator& world, Device& device,
                                              std::int64_t largest_bytes) {
  std::vector<AllReduceTime> times;
  for (std::int64_t bytes = 1024; bytes <= largest_bytes; bytes *= 16) {
    const Memory memory = device.allocate(static_cast<std::size_t>(bytes));
    const Tensor x(memory.data(), DType::f32, {bytes / 4});
    double best = std::numeric_limits<double>::infinity();
    for (int round = 0; round < 10; ++round) {
      constexpr int kRepetitions = 5;
      world.barrier("all_reduce probe");
      const double start = seconds_now();
      for (int i = 0; i < kRepetitions; ++i)
        world.all_reduce(x, Reduction::sum, device.compute_stream(), "all_reduce probe");
      device.compute_stream().synchronize();
      double time = (seconds_now() - start) / kRepetitions;
      world.all_reduce_host(&time, 1, Reduction::max, "all_reduce probe");
      best = std::min(best, time);
    }
    const auto sent = static_cast<double>(
        bytes_sent(CollectiveKind::all_reduce, static_cast<std::uint64_t>(bytes), world.size()));
    times.push_back({bytes, best * 1e6, sent / best / 1e9});
  }
  return times;
}

std::vector<Finding> examine_links(const std::vector<RankFacts>& ranks, const std::vector<Link>& links) {
  const auto host = [&](int rank) { return std::string(ranks[static_cast<std::size_t>(rank)].host); };
  std::vector<Finding> findings;
  for (const bool inside :
       {true, false}) {  // links within a host are compared with each other, and so are the others
    std::vector<Link> kind;
    std::copy_if(links.begin(), links.end(), std::back_inserter(kind),
                 [&](const Link& l) { return (host(l.first) == host(l.second)) == inside; });
    if (kind.size() < 3) continue;
    std::sort(kind.begin(), kind.end(),
              [](const Link& a, const Link& b) { return a.gigabytes_per_second < b.gigabytes_per_second; });
    const double median = kind[kind.size() / 2].gigabytes_per_second;
    constexpr std::size_t kNamed = 5;
    for (std::size_t i = 0; i < std::min(kNamed, kind.size()) && kind[i].gigabytes_per_second < median / 3;
         ++i)
      findings.push_back({Severity::warning,
                          fmt::format("ranks {} (host {}) and {} (host {}) reach {:.2f} GB/s, others {:.2f}",
                                      kind[i].first, host(kind[i].first), kind[i].second,
                                      host(kind[i].second), kind[i].gigabytes_per_second, median),
                          inside ? "look for other programs on this host"
                                 : "check the cable, port and driver of these hosts"});
  }
  return findings;
}

}  // namespace heddle
