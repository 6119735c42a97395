// Stream capture and graphs.
//
// A captured stream's work becomes nodes; each comes after what is in front of it in its stream and after the
// events that the stream has waited for. A launch runs the nodes in a random order that respects this, other
// streams' work in between. Kernel arguments are those of the capture.
#include <algorithm>
#include <memory>
#include <set>
#include <vector>

#include "tests/emulator/host/api.h"
#include "tests/emulator/host/scheduler.h"

using Nodes = std::vector<CUgraphNode_st>;

struct CUgraph_st {
  std::shared_ptr<Nodes> nodes;
};

struct CUgraphExec_st {
  std::shared_ptr<const Nodes> nodes;
  std::shared_ptr<heddle::emulator::Record> last_launch;  // launches of one graph do not overlap
};

namespace heddle::emulator {

namespace {

// One launch of a graph.
class GraphLaunch : public Work {
 public:
  GraphLaunch(std::shared_ptr<const Nodes> nodes, std::shared_ptr<Record> previous,
              std::shared_ptr<Record> finished)
      : Work("graph"),
        nodes_(std::move(nodes)),
        previous_(std::move(previous)),
        finished_(std::move(finished)) {
    for (const CUgraphNode_st& node : *nodes_) works_.push_back(node.make());
    done_.resize(nodes_->size());
  }

  bool ready() const override { return !previous_ || previous_->done; }

  Progress advance() override {
    if (remaining() == 0) return finish();
    std::vector<std::size_t> candidates = runnable();
    Random& random = Scheduler::instance().random();
    while (!candidates.empty()) {
      const auto chosen = candidates.begin() + static_cast<std::ptrdiff_t>(random.below(candidates.size()));
      const std::size_t node = *chosen;
      candidates.erase(chosen);
      const Progress progress = advance_checked(*works_[node]);
      if (progress == Progress::idle) continue;
      if (progress == Progress::done) {
        done_[node] = true;
        works_[node].reset();
      }
      return remaining() == 0 ? finish() : Progress::some;
    }
    return Progress::idle;
  }

 private:
  std::vector<std::size_t> runnable() const {
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < nodes_->size(); ++i) {
      const auto& before = (*nodes_)[i].dependencies;
      if (!done_[i] && works_[i]->ready() &&
          std::all_of(before.begin(), before.end(), [&](std::size_t j) { return done_[j]; }))
        found.push_back(i);
    }
    return found;
  }
  std::ptrdiff_t remaining() const { return std::count(done_.begin(), done_.end(), false); }
  Progress finish() {
    finished_->done = true;
    return Progress::done;
  }

  std::shared_ptr<const Nodes> nodes_;
  std::shared_ptr<Record> previous_, finished_;
  std::vector<std::unique_ptr<Work>> works_;  // by node, null when done
  std::vector<bool> done_;
};

void add_unique(std::vector<std::size_t>& to, const std::vector<std::size_t>& from) {
  for (const std::size_t node : from)
    if (std::find(to.begin(), to.end(), node) == to.end()) to.push_back(node);
}

// Nodes that come before or among `tail`.
std::set<std::size_t> history(const Capture& capture, const std::vector<std::size_t>& tail) {
  std::set<std::size_t> found;
  std::vector<std::size_t> open = tail;
  while (!open.empty()) {
    const std::size_t node = open.back();
    open.pop_back();
    if (!found.insert(node).second) continue;
    const auto& before = capture.nodes[node].dependencies;
    open.insert(open.end(), before.begin(), before.end());
  }
  return found;
}

cudaError_t spoil(Capture& capture, cudaError_t status) {
  capture.invalid = true;
  return status;
}

// Whether all work of streams that joined the capture has come back to where it ends.
bool joined(const Scheduler& scheduler, const std::shared_ptr<Capture>& capture) {
  const auto reached = history(*capture, capture->origin->tail);
  for (const CUstream_st* stream : scheduler.streams())
    if (stream->capture == capture)
      for (const std::size_t node : stream->tail)
        if (!reached.contains(node)) return false;
  return true;
}

cudaError_t end_capture(Scheduler& scheduler, CUstream_st* stream, cudaGraph_t* graph) {
  const std::shared_ptr<Capture> capture = stream->capture;
  if (!capture) return cudaErrorInvalidValue;
  if (capture->origin != stream) return spoil(*capture, cudaErrorStreamCaptureUnmatched);
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id())
    return spoil(*capture, cudaErrorStreamCaptureWrongThread);
  const cudaError_t status = capture->invalid              ? cudaErrorStreamCaptureInvalidated
                             : !joined(scheduler, capture) ? cudaErrorStreamCaptureUnjoined
                                                           : cudaSuccess;
  capture->ended = true;
  for (CUstream_st* member : scheduler.streams())
    if (member->capture == capture) {
      member->capture.reset();
      member->tail.clear();
    }
  if (status == cudaSuccess) *graph = new CUgraph_st{std::make_shared<Nodes>(std::move(capture->nodes))};
  return status;
}

}  // namespace

cudaError_t capture_record(CUstream_st* stream, CUevent_st* event) {
  if (stream->capture->invalid) return cudaErrorStreamCaptureInvalidated;
  event->latest = std::make_shared<Record>();
  event->latest->capture = stream->capture;
  event->latest->nodes = stream->tail;
  return cudaSuccess;
}

cudaError_t capture_wait(CUstream_st* stream, CUevent_st* event, bool* handled) {
  const auto from = event->latest ? event->latest->capture : nullptr;
  *handled = from || stream->capture;
  if (!*handled || !event->latest) return cudaSuccess;
  if (stream->capture && stream->capture->invalid) return cudaErrorStreamCaptureInvalidated;
  if (!from || (from->ended && stream->capture))
    return spoil(*stream->capture, cudaErrorStreamCaptureIsolation);
  if (from->ended) return cudaErrorCapturedEvent;
  if (stream->capture && stream->capture != from) {
    from->invalid = true;
    return spoil(*stream->capture, cudaErrorStreamCaptureMerge);
  }
  if (!stream->capture) {  // joins
    stream->capture = from;
    stream->tail.clear();
  }
  add_unique(stream->tail, event->latest->nodes);
  return cudaSuccess;
}

}  // namespace heddle::emulator

using namespace heddle::emulator;

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return call([&](Scheduler& scheduler, auto&) {
    if (!stream) return cudaErrorStreamCaptureUnsupported;  // the default stream cannot be captured
    if (!scheduler.known(stream)) return cudaErrorInvalidResourceHandle;
    if (stream->capture) return cudaErrorInvalidValue;
    stream->capture = std::make_shared<Capture>();
    stream->capture->origin = stream;
    stream->capture->mode = mode;
    stream->capture->thread = std::this_thread::get_id();
    stream->tail.clear();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return call([&](Scheduler& scheduler, auto&) {
    *graph = nullptr;
    if (!stream || !scheduler.known(stream)) return cudaErrorInvalidResourceHandle;
    return end_capture(scheduler, stream, graph);
  });
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  return call([&](Scheduler& scheduler, auto&) {
    const CUstream_st* stream = find_stream(scheduler, handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    *status = !stream->capture           ? cudaStreamCaptureStatusNone
              : stream->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                         : cudaStreamCaptureStatusActive;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, std::size_t* count) {
  if (!graph || !count) return remember(cudaErrorInvalidValue);
  if (nodes) {
    *count = std::min(*count, graph->nodes->size());
    for (std::size_t i = 0; i < *count; ++i) nodes[i] = &(*graph->nodes)[i];
  } else {
    *count = graph->nodes->size();
  }
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  return call([&](auto&, auto&) {
    if (!graph || !executable) return cudaErrorInvalidValue;
    *executable = new CUgraphExec_st{graph->nodes, nullptr};
    return cudaSuccess;
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t handle) {
  return call([&](Scheduler& scheduler, auto&) {
    CUstream_st* stream = find_stream(scheduler, handle);
    if (!executable || !stream) return cudaErrorInvalidResourceHandle;
    if (stream->capture) return spoil(*stream->capture, cudaErrorStreamCaptureUnsupported);
    auto finished = std::make_shared<Record>();
    scheduler.push(stream,
                   std::make_unique<GraphLaunch>(executable->nodes, executable->last_launch, finished));
    executable->last_launch = finished;
    scheduler.queued();
    return cudaSuccess;
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

}  // extern "C"
