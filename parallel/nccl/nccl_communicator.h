// NcclCommunicator: collectives on GPU memory, one GPU per rank.
//
// Each group has its own NCCL communicator and its own stream of high priority, on which the calls run in
// order beside the computation. No call blocks the host: the stream form is an event from the caller's
// stream, the collective, and an event back. Both forms can be captured in a graph.
//
// A thread looks at the calls some twenty times a second, outside of CUDA: it keeps the watchdog's view of
// the group up to date (which call the GPU is at, also inside a graph), and ends the job when NCCL reports an
// error, with the call and the step.
#pragma once

#include <nccl.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "parallel/gpu_communicator.h"
#include "parallel/nccl/queued_calls.h"

namespace heddle {

class NcclCommunicator final : public GpuCommunicator {
 public:
  explicit NcclCommunicator(GpuGroup group);
  // Waits for what is queued; gives it up when an exception is on its way.
  ~NcclCommunicator() override;
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  bool capturable() const override { return true; }

  void all_reduce(const Tensor& x, Reduction reduction, Stream& stream, const char* label) override;
  void all_reduce(const Tensor& x, Reduction reduction, Event& ready, Event& done,
                  const char* label) override;
  void all_gather(const Tensor& in, const Tensor& out, Stream& stream, const char* label) override;
  void all_gather(const Tensor& in, const Tensor& out, Event& ready, Event& done, const char* label) override;
  void reduce_scatter(const Tensor& in, const Tensor& out, Stream& stream, const char* label) override;
  void reduce_scatter(const Tensor& in, const Tensor& out, Event& ready, Event& done,
                      const char* label) override;
  void broadcast(const Tensor& x, int root, Stream& stream, const char* label) override;

 private:
  class CapturedCalls;

  void connect();
  void watch();  // the thread
  void run(const CollectiveCall& call, const Tensor& in, const Tensor& out, Stream& stream);
  void run(const CollectiveCall& call, const Tensor& in, const Tensor& out, Event& ready, Event& done);
  ncclResult_t enqueue(const CollectiveCall& call, const Tensor& in, const Tensor& out);
  void note(const CollectiveCall& call);
  void make_room(std::size_t calls);
  bool stream_is_capturing();

  CudaDevice& device_;
  std::shared_ptr<WatchedGroup> watched_;
  std::function<void(const std::string&)> fail_;
  CudaStream stream_;
  CudaEvent enter_, leave_;  // of the stream form
  QueuedCalls calls_;
  ncclComm_t comm_ = nullptr;

  int capture_number_ = 0;                           // the last capture this took part in
  std::vector<CollectiveCall>* captured_ = nullptr;  // its calls, which the graph owns

  std::mutex mutex_;  // of stopping_
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace heddle
