// Mesh: where a rank stands in the data x tensor parallel grid, and the communicators of its groups.
//
// Ranks of one tensor group are neighbours (rank = data_rank * tensor_parallel + tensor_rank), so that tensor
// parallelism stays inside a host when ranks are mapped to hosts in order.
#pragma once

#include <memory>

#include "parallel/communicator.h"

namespace heddle {

struct Layout {
  int data_parallel = 1;
  int tensor_parallel = 1;
  int ranks() const { return data_parallel * tensor_parallel; }
};

class Mesh {
 public:
  Mesh(Layout layout, int rank, std::unique_ptr<Communicator> world, std::unique_ptr<Communicator> data,
       std::unique_ptr<Communicator> tensor)
      : layout_(layout), rank_(rank), world_(std::move(world)), data_(std::move(data)), tensor_(std::move(tensor)) {}

  const Layout& layout() const { return layout_; }
  int rank() const { return rank_; }
  int data_rank() const { return rank_ / layout_.tensor_parallel; }
  int tensor_rank() const { return rank_ % layout_.tensor_parallel; }
  bool capturable() const { return data_->capturable() && tensor_->capturable(); }
  Communicator& world() { return *world_; }    // all ranks
  Communicator& data() { return *data_; }      // same shard of the model, other samples
  Communicator& tensor() { return *tensor_; }  // same samples, other shards of the model

 private:
  Layout layout_;
  int rank_;
  std::unique_ptr<Communicator> world_, data_, tensor_;
};

// A mesh of pretended ranks whose communicators only count: for plans and inspections of any layout.
std::unique_ptr<Mesh> make_plan_mesh(Layout layout, int rank);

}  // namespace heddle
