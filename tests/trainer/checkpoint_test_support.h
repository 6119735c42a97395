// What the checkpoint tests share: threads as ranks, host memory as a device, a small model with known
// values.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "kernels/cpu/device.h"
#include "kernels/error.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/files.h"

namespace heddle::test {

namespace fs = std::filesystem;

// ---- threads as ranks ----

// Every rank puts in bytes, and gets those of all ranks.
class Exchange {
 public:
  explicit Exchange(int ranks) : size_(ranks), next_(ranks) {}

  std::vector<std::string> operator()(int rank, const std::string& bytes) {
    std::unique_lock lock(mutex_);
    next_[rank] = bytes;
    const int round = round_;
    if (++arrived_ == size_) {
      result_ = next_;
      arrived_ = 0;
      ++round_;
      changed_.notify_all();
    } else {
      changed_.wait(lock, [&] { return round_ != round; });
    }
    return result_;  // the next round cannot finish before this rank joins it
  }

  int size() const { return size_; }

 private:
  int size_, arrived_ = 0, round_ = 0;
  std::vector<std::string> next_, result_;
  std::mutex mutex_;
  std::condition_variable changed_;
};

// Only what works on host values.
class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(Exchange& exchange, int rank) : exchange_(exchange), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return exchange_.size(); }
  const std::string& name() const override { return name_; }

  void all_reduce(const Tensor&, Reduction, Stream&, const char*) override { refuse(); }
  void all_reduce(const Tensor&, Reduction, Event&, Event&, const char*) override { refuse(); }
  void all_gather(const Tensor&, const Tensor&, Stream&, const char*) override { refuse(); }
  void all_gather(const Tensor&, const Tensor&, Event&, Event&, const char*) override { refuse(); }
  void reduce_scatter(const Tensor&, const Tensor&, Stream&, const char*) override { refuse(); }
  void reduce_scatter(const Tensor&, const Tensor&, Event&, Event&, const char*) override { refuse(); }
  void broadcast(const Tensor&, int, Stream&, const char*) override { refuse(); }
  void all_reduce_host(double*, int, Reduction, const char*) override { refuse(); }

  void all_reduce_host(std::int64_t* values, int count, Reduction reduction, const char*) override {
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(std::int64_t);
    const auto all = exchange_(rank_, std::string(reinterpret_cast<const char*>(values), bytes));
    for (int r = 0; r < size(); ++r)
      for (int i = 0; i < count; ++i) {
        std::int64_t value;
        std::memcpy(&value, all[r].data() + i * sizeof(value), sizeof(value));
        if (r == 0)
          values[i] = value;
        else
          values[i] = reduction == Reduction::sum ? values[i] + value : std::max(values[i], value);
      }
  }
  std::vector<std::string> all_gather_host(const std::string& bytes, const char*) override {
    return exchange_(rank_, bytes);
  }
  void broadcast_host(std::string& bytes, int root, const char*) override {
    bytes = exchange_(rank_, bytes)[root];
  }
  void barrier(const char*) override { exchange_(rank_, ""); }

 private:
  [[noreturn]] static void refuse() { throw error("not available in this test"); }

  Exchange& exchange_;
  int rank_;
  std::string name_ = "world";
};

// Runs `body` as every rank; returns what each rank threw ("" for nothing).
inline std::vector<std::string> run_ranks(int ranks, const std::function<void(Communicator&)>& body) {
  Exchange exchange(ranks);
  std::vector<std::string> failures(ranks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] {
      ThreadCommunicator world(exchange, rank);
      try {
        body(world);
      } catch (const std::exception& reason) {
        failures[rank] = reason.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  return failures;
}

// ---- folders ----

// In memory where possible: these tests call fsync thousands of times.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    const fs::path memory = "/dev/shm";
    const fs::path parent = access(memory.c_str(), W_OK) == 0 ? memory : fs::temp_directory_path();
    std::string name = (parent / "heddle-test-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw error("cannot make {}", name);
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }
  fs::path operator/(const std::string& name) const { return path_ / name; }

 private:
  fs::path path_;
};

inline void overwrite(const fs::path& path, const std::string& content) {
  fs::remove(path);
  File file = File::create(path);
  file.write(content.data(), content.size());
  file.close();
}

inline std::string content_of(const fs::path& path) {
  return read_small_file(path, 1 << 30);
}

// What `action` throws as Error; a failure of the test if it throws nothing.
template <typename Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& reason) {
    EXPECT_EQ(std::string(reason.what()).find('\n'), std::string::npos) << reason.what();
    return reason.what();
  }
  ADD_FAILURE() << "no Error was thrown";
  return "";
}

// ---- a model ----

struct Spec {
  std::string name;
  Shape shape;
  Sharding sharding;
  DType dtype = DType::f32;
};

// Column and row parallel, packed Q|K|V, a vocabulary that no rank count divides, scalars, five dimensions.
inline std::vector<Spec> small_model() {
  return {
      {"wte.weight", {50, 12}, {0, 1, 8}},
      {"h.0.attn.c_attn.weight", {36, 12}, {0, 3}},
      {"h.0.attn.c_attn.bias", {36}, {0, 3}},
      {"h.0.attn.c_proj.weight", {12, 12}, {1}},
      {"h.0.conv", {6, 3, 12, 2, 5}, {2}},
      {"h.0.ln.weight", {12}, {}},
      {"h.0.half", {24, 6}, {0}, DType::bf16},
      {"counts", {7}, {0}, DType::i32},
      {"scale", {}, {}},
      {"empty", {0, 4}, {}},
  };
}

// The bytes of element `i` of a tensor: different for every tensor, element and version, NaN patterns among
// them.
inline std::uint32_t element_bits(const std::string& name, std::int64_t i, int version) {
  std::uint64_t x = std::hash<std::string>()(name) + static_cast<std::uint64_t>(i) * 0x9e3779b97f4a7c15ull +
                    static_cast<std::uint64_t>(version) * 0xd1b54a32d192ed03ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  return static_cast<std::uint32_t>(x >> 32);
}

// Calls visit(global element, local element) for every element that the pieces hold. The plainest loops
// possible: the definition against which the code is tested.
inline void for_each_element(const CheckpointTensor& tensor,
                             const std::function<void(std::int64_t, std::int64_t)>& visit) {
  for (const ShardPiece& piece : tensor.pieces)
    for (std::int64_t i = 0; i < piece.extent.count(); ++i) {
      std::int64_t rest = i, global = 0, local = 0, global_stride = 1, local_stride = 1;
      for (int d = piece.extent.rank() - 1; d >= 0; --d) {
        const std::int64_t at = rest % piece.extent[d];
        rest /= piece.extent[d];
        global += (piece.global_offset[d] + at) * global_stride;
        local += (piece.local_offset[d] + at) * local_stride;
        global_stride *= tensor.global_shape[d];
        local_stride *= tensor.local.shape[d];
      }
      visit(global, local);
    }
}

// One rank's share of a model, in its own memory.
class RankModel {
 public:
  RankModel(const std::vector<Spec>& specs, int tensor_rank, int tensor_parallel, int data_rank = 0) {
    for (const Spec& spec : specs) {
      const Shape local = local_shape(spec.shape, spec.sharding, tensor_parallel);
      const std::size_t bytes = static_cast<std::size_t>(local.count()) * size_of(spec.dtype);
      memory_.push_back(device.allocate(bytes));
      tensors.push_back({spec.name, spec.shape, Tensor(memory_.back().data(), spec.dtype, local),
                         shard_pieces(spec.shape, spec.sharding, tensor_rank, tensor_parallel),
                         data_rank == 0 && (tensor_rank == 0 || !spec.sharding.replicated())});
    }
  }

  void fill(int version) {
    for (CheckpointTensor& tensor : tensors)
      for_each_element(tensor, [&](std::int64_t global, std::int64_t local) {
        const std::uint32_t bits = element_bits(tensor.name, global, version);
        const std::size_t size = size_of(tensor.local.dtype);
        std::memcpy(static_cast<char*>(tensor.local.data) + local * size, &bits, size);
      });
  }

  // Something that no padding should contain after a load.
  void fill_with_junk() {
    for (CheckpointTensor& tensor : tensors) std::memset(tensor.local.data, 0xab, tensor.local.bytes());
  }

  // Every byte, padding (zero) included.
  bool equals(const RankModel& other) const {
    for (std::size_t i = 0; i < tensors.size(); ++i)
      if (std::memcmp(tensors[i].local.data, other.tensors[i].local.data, tensors[i].local.bytes()) != 0)
        return false;
    return true;
  }

  mutable CpuDevice device{1};
  std::vector<CheckpointTensor> tensors;

 private:
  std::vector<Memory> memory_;
};

inline const std::string kConfig = "[model]\nfamily = gpt2\nhidden_size = 12\n";

inline nlohmann::json state_of(int version) {
  return {{"samples", 123456789012345}, {"loss_scale", 0.1 + version}, {"schedule", {{"warmup", true}}}};
}

// Saves the model as `data_parallel` x `tensor_parallel` ranks; returns what each rank threw.
inline std::vector<std::string> save(const fs::path& folder, std::int64_t step, int version,
                                     Layout layout = {1, 2}, Retention retention = {0},
                                     std::size_t staging_bytes = kStagingBytes,
                                     const std::vector<Spec>& specs = small_model()) {
  return run_ranks(layout.ranks(), [&](Communicator& world) {
    RankModel model(specs, world.rank() % layout.tensor_parallel, layout.tensor_parallel,
                    world.rank() / layout.tensor_parallel);
    model.fill(version);
    const nlohmann::json state = state_of(version);
    save_checkpoint(folder, {step, layout, model.tensors, kConfig, state}, model.device, world, retention,
                    staging_bytes);
  });
}

// Is every tensor of `checkpoint` that of `version`, on every rank of a layout?
inline bool holds_version(const Checkpoint& checkpoint, int version, int tensor_parallel = 1,
                          std::size_t staging_bytes = kStagingBytes) {
  for (int rank = 0; rank < tensor_parallel; ++rank) {
    RankModel expected(small_model(), rank, tensor_parallel), loaded(small_model(), rank, tensor_parallel);
    expected.fill(version);
    loaded.fill_with_junk();
    checkpoint.load(loaded.tensors, loaded.device, staging_bytes);
    if (!loaded.equals(expected)) return false;
  }
  return checkpoint.state() == state_of(version) && checkpoint.config() == kConfig;
}

}  // namespace heddle::test
