// Which rank computes on which GPU, decided from what all ranks see. No CUDA here.
#pragma once

#include <string>
#include <vector>

namespace heddle {

// What one rank sees.
struct VisibleGpus {
  std::string host;
  std::vector<std::string> ids;  // by index; the same GPU has the same id for all ranks of its host
  std::string problem;           // why CUDA cannot be used; empty: it can
};

// As one string, to be sent to the other ranks.
std::string to_bytes(const VisibleGpus& gpus);
VisibleGpus visible_gpus_from(const std::string& bytes);

// For each rank, in order, the index of the visible GPU that the fewest ranks of its host have so far, the first of
// several: the local rank's number where all ranks see all GPUs, and its own where a launcher shows each rank one.
// Throws a usage Error on all ranks that names the host or rank: CUDA cannot be used, no GPU is visible, or, unless
// `share`, there are more ranks than GPUs.
std::vector<int> assign_gpus(const std::vector<VisibleGpus>& ranks, bool share);

}  // namespace heddle
