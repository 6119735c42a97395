// MpiCommunicator: collectives on host memory among the ranks of one group.
//
// Each communicator has a thread that executes the event form of its collectives in order, beside the
// computation. The stream form and the host form run on the calling thread when nothing is queued before
// them, which saves two thread switches; else they queue up as well. Either way the group sees one sequence
// of calls.
//
// Ranks of one host exchange through shared memory, others by MPI messages; the bits are the same. Bytes that
// a rank sends per call are in bytes_sent() (collective.h): an all_reduce of S bytes costs 2 (n - 1) / n S,
// all_gather and reduce_scatter (n - 1) / n S with S the size of the larger buffer.
//
// After an error the communicator is broken: all further calls fail with it.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "kernels/cpu/device.h"
#include "parallel/communicator.h"
#include "parallel/transport.h"
#include "parallel/unique_comm.h"
#include "parallel/watchdog.h"

namespace heddle {

class MpiCommunicator final : public Communicator {
 public:
  // `watched` may be null: no watchdog.
  MpiCommunicator(std::string name, std::unique_ptr<Transport> transport,
                  std::shared_ptr<WatchedGroup> watched);
  // Gives up what is still queued: programs wait for their events first, unless an exception is on its way.
  ~MpiCommunicator() override;

  int rank() const override { return transport_->rank(); }
  int size() const override { return transport_->size(); }
  const std::string& name() const override { return name_; }
  const char* transport() const { return transport_->description(); }

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
  // At most kLongestHostBytes per rank.
  std::vector<std::string> all_gather_host(const std::string& bytes, const char* label) override;
  void broadcast_host(std::string& bytes, int root, const char* label) override;
  void barrier(const char* label) override;

  static constexpr std::int64_t kLongestHostBytes = std::int64_t{1} << 30;

 private:
  struct Operation {
    CollectiveCall call;
    const void* in = nullptr;
    void* out = nullptr;
    CpuEvent* ready = nullptr;
    CpuEvent* done = nullptr;  // null: the caller waits in run_now()
  };
  static constexpr std::size_t kQueueLength = 256;

  void run_now(const Operation& operation);  // blocks until it is done
  void enqueue(Operation operation, Event& ready, Event& done);
  void push(std::unique_lock<std::mutex>& lock, const Operation& operation);
  void execute(const Operation& operation, const Patience& patience);
  void fail(std::exception_ptr reason);
  void throw_if_broken() const;
  void serve();  // the thread

  std::string name_;
  std::unique_ptr<Transport> transport_;
  std::shared_ptr<WatchedGroup> watched_;

  std::mutex mutex_;  // of everything below, except cancelled_
  std::condition_variable changed_;
  std::array<Operation, kQueueLength> queue_;  // a ring: nothing is allocated inside a step
  std::size_t first_ = 0;
  std::size_t queued_ = 0;
  bool executing_ = false;  // a thread is inside transport_
  bool stopping_ = false;
  std::exception_ptr broken_;
  std::atomic<bool> cancelled_{false};
  CpuEvent turn_;  // of a run_now() that had to queue up

  std::thread thread_;
};

// Takes over `comm` (a duplicate of a group of two or more, returning errors). Collective. Shared memory is used if
// allowed and all ranks share a host.
std::unique_ptr<Communicator> make_mpi_communicator(UniqueComm comm, std::string name,
                                                    bool allow_shared_memory,
                                                    std::shared_ptr<WatchedGroup> watched);

}  // namespace heddle
