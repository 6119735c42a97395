#include "parallel/plan_communicator.h"

#include <algorithm>
#include <limits>

#include "kernels/error.h"
#include "parallel/mesh.h"

namespace heddle {

PlanCommunicator::PlanCommunicator(std::string name, int rank, int size)
    : name_(std::move(name)), rank_(rank), size_(size) {}

void PlanCommunicator::count(CollectiveKind kind, const char* label, std::size_t bytes) {
  if (size_ == 1) return;  // the real mesh has no call there either
  auto entry = std::find_if(traffic_.begin(), traffic_.end(),
                            [&](const Traffic& t) { return t.kind == kind && t.label == label; });
  if (entry == traffic_.end()) entry = traffic_.insert(entry, Traffic{kind, label});
  entry->calls += 1;
  entry->bytes += bytes;
  entry->sent += bytes_sent(kind, bytes, size_);
}

void PlanCommunicator::all_reduce(const Tensor& x, Reduction, Stream&, const char* label) {
  count(CollectiveKind::all_reduce, label, x.bytes());
}
void PlanCommunicator::all_reduce(const Tensor& x, Reduction, Event&, Event&, const char* label) {
  count(CollectiveKind::all_reduce, label, x.bytes());
}
void PlanCommunicator::all_gather(const Tensor&, const Tensor& out, Stream&, const char* label) {
  count(CollectiveKind::all_gather, label, out.bytes());
}
void PlanCommunicator::all_gather(const Tensor&, const Tensor& out, Event&, Event&, const char* label) {
  count(CollectiveKind::all_gather, label, out.bytes());
}
void PlanCommunicator::reduce_scatter(const Tensor& in, const Tensor&, Stream&, const char* label) {
  count(CollectiveKind::reduce_scatter, label, in.bytes());
}
void PlanCommunicator::reduce_scatter(const Tensor& in, const Tensor&, Event&, Event&, const char* label) {
  count(CollectiveKind::reduce_scatter, label, in.bytes());
}
void PlanCommunicator::broadcast(const Tensor& x, int, Stream&, const char* label) {
  count(CollectiveKind::broadcast, label, x.bytes());
}

void PlanCommunicator::all_reduce_host(double*, int n, Reduction, const char* label) {
  count(CollectiveKind::all_reduce, label, static_cast<std::size_t>(n) * sizeof(double));
}
void PlanCommunicator::all_reduce_host(std::int64_t*, int n, Reduction, const char* label) {
  count(CollectiveKind::all_reduce, label, static_cast<std::size_t>(n) * sizeof(std::int64_t));
}
std::vector<std::string> PlanCommunicator::all_gather_host(const std::string& bytes, const char* label) {
  count(CollectiveKind::all_gather, label, bytes.size() * static_cast<std::size_t>(size_));
  return std::vector<std::string>(static_cast<std::size_t>(size_), bytes);
}
void PlanCommunicator::broadcast_host(std::string& bytes, int, const char* label) {
  count(CollectiveKind::broadcast, label, bytes.size());
}
void PlanCommunicator::barrier(const char* label) {
  count(CollectiveKind::barrier, label, 0);
}

std::unique_ptr<Mesh> make_plan_mesh(Layout layout, int rank) {
  if (layout.data_parallel < 1 || layout.tensor_parallel < 1)
    throw usage_error("data x tensor parallel = {}x{}: both must be at least 1", layout.data_parallel,
                      layout.tensor_parallel);
  const std::int64_t ranks = std::int64_t{layout.data_parallel} * layout.tensor_parallel;
  if (ranks > std::numeric_limits<int>::max() || rank < 0 || rank >= ranks)
    throw usage_error("there is no rank {} in a plan of {} ranks", rank, ranks);
  const auto make = [](const char* name, int r, int n) {
    return std::make_unique<PlanCommunicator>(name, r, n);
  };
  return std::make_unique<Mesh>(layout, rank, make("world", rank, layout.ranks()),
                                make("data", rank / layout.tensor_parallel, layout.data_parallel),
                                make("tensor", rank % layout.tensor_parallel, layout.tensor_parallel));
}

}  // namespace heddle
