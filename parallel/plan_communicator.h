// A communicator of pretended ranks: moves nothing, counts what would have moved.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "parallel/collective.h"
#include "parallel/communicator.h"

namespace heddle {

// All calls with one kind and label.
struct Traffic {
  CollectiveKind kind = CollectiveKind::none;
  std::string label;
  std::int64_t calls = 0;
  std::uint64_t bytes = 0;  // of the larger buffer, summed over the calls
  std::uint64_t sent = 0;   // by one rank: bytes_sent()
};

// Events are complete at once; reductions and broadcasts leave the values as they are; all_gather_host gives
// every rank this rank's bytes.
class PlanCommunicator final : public Communicator {
 public:
  PlanCommunicator(std::string name, int rank, int size);

  // In the order of the first call.
  const std::vector<Traffic>& traffic() const { return traffic_; }
  void reset_traffic() { traffic_.clear(); }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const std::string& name() const override { return name_; }

  void all_reduce(const Tensor& x, Reduction reduction, Stream& stream, const char* label) override;
  void all_reduce(const Tensor& x, Reduction reduction, Event& ready, Event& done,
                  const char* label) override;
  void all_gather(const Tensor& in, const Tensor& out, Stream& stream, const char* label) override;
  void all_gather(const Tensor& in, const Tensor& out, Event& ready, Event& done, const char* label) override;
  void reduce_scatter(const Tensor& in, const Tensor& out, Stream& stream, const char* label) override;
  void reduce_scatter(const Tensor& in, const Tensor& out, Event& ready, Event& done,
                      const char* label) override;
  void broadcast(const Tensor& x, int root, Stream& stream, const char* label) override;

  void all_reduce_host(double* values, int count, Reduction reduction, const char* label) override;
  void all_reduce_host(std::int64_t* values, int count, Reduction reduction, const char* label) override;
  std::vector<std::string> all_gather_host(const std::string& bytes, const char* label) override;
  void broadcast_host(std::string& bytes, int root, const char* label) override;
  void barrier(const char* label) override;

 private:
  void count(CollectiveKind kind, const char* label, std::size_t bytes);

  std::string name_;
  int rank_;
  int size_;
  std::vector<Traffic> traffic_;
};

}  // namespace heddle
