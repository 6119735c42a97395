#include "tests/emulator/nccl/rendezvous.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <vector>

#include "tests/emulator/host/work.h"

namespace heddle::emulator {

namespace {

using namespace std::chrono_literals;

constexpr char kMagic[8] = "emuNCCL";
constexpr int kRequestTag = 29000;     // on MPI_COMM_WORLD
constexpr int kFirstReplyTag = 29100;  // + the id's number modulo kTags
constexpr int kFirstGroupTag = 30100;  // of MPI_Comm_create_group
constexpr int kTags = 1000;

struct Id {
  char magic[8];
  int creator;  // rank in MPI_COMM_WORLD
  int number;
};

struct Request {
  int number, size, rank, world_rank, device;
  char host[64];
};

struct Reply {
  int status;  // ncclResult_t
  char text[200];
  // followed by the world ranks
};

bool mpi_runs() {
  int initialized = 0, finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  return initialized && !finalized;
}

int world_rank() {
  int rank = 0;
  if (mpi_runs()) MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

// What is wrong with a complete group; success if nothing.
ncclResult_t examine(const std::vector<Request>& members, std::string* text) {
  for (const Request& a : members)
    for (const Request& b : members) {
      if (&a == &b) continue;
      if (a.size != b.size || a.rank == b.rank || a.rank < 0 || a.rank >= a.size) {
        *text = fmt::format("rank {} of {} and rank {} of {} cannot be in one communicator", a.rank, a.size,
                            b.rank, b.size);
        return ncclInvalidUsage;
      }
      if (a.rank < b.rank && a.device == b.device && std::strcmp(a.host, b.host) == 0) {
        *text = fmt::format("Duplicate GPU detected : rank {} and rank {} both on CUDA device {}", a.rank,
                            b.rank, a.device);
        return ncclInvalidUsage;
      }
    }
  return ncclSuccess;
}

// The ids this process has made, and the thread that answers for them.
class Background {
 public:
  static Background& instance() {
    static auto* const background = new Background;
    return *background;
  }

  void start() {
    const std::lock_guard lock(mutex_);
    if (thread_.joinable() || !mpi_runs()) return;
    int key = MPI_KEYVAL_INVALID;
    MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, &Background::stop, &key, this);
    MPI_Comm_set_attr(MPI_COMM_SELF, key, this);  // deleted first of all by MPI_Finalize()
    thread_ = std::thread([this] { run(); });
  }

  std::atomic<int> pending = 0;

 private:
  static int stop(MPI_Comm, int, void*, void* self) {
    auto& background = *static_cast<Background*>(self);
    background.stopping_ = true;
    background.thread_.join();
    return MPI_SUCCESS;
  }

  void run() {
    while (!stopping_) {
      while (receive_request()) {
      }
      if (pending > 0) progress_in_background();
      std::this_thread::sleep_for(1ms);
    }
  }

  bool receive_request() {
    int found = 0;
    MPI_Message message;
    MPI_Improbe(MPI_ANY_SOURCE, kRequestTag, MPI_COMM_WORLD, &found, &message, MPI_STATUS_IGNORE);
    if (!found) return false;
    Request request;
    MPI_Mrecv(&request, sizeof request, MPI_BYTE, &message, MPI_STATUS_IGNORE);
    auto& members = meetings_[request.number];
    members.push_back(request);
    if (static_cast<int>(members.size()) >= request.size) {
      answer(members);
      meetings_.erase(request.number);
    }
    return true;
  }

  void answer(std::vector<Request>& members) {
    std::sort(members.begin(), members.end(),
              [](const Request& a, const Request& b) { return a.rank < b.rank; });
    std::string text;
    Reply reply{};
    reply.status = examine(members, &text);
    text.copy(reply.text, sizeof reply.text - 1);
    auto& bytes = replies_.emplace_back(sizeof reply + members.size() * sizeof(int));
    std::memcpy(bytes.data(), &reply, sizeof reply);
    for (std::size_t i = 0; i < members.size(); ++i)
      std::memcpy(bytes.data() + sizeof reply + i * sizeof(int), &members[i].world_rank, sizeof(int));
    for (const Request& member : members) {
      MPI_Request sent;
      MPI_Isend(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, member.world_rank,
                kFirstReplyTag + member.number % kTags, MPI_COMM_WORLD, &sent);
      MPI_Request_free(&sent);
    }
  }

  std::mutex mutex_;
  std::thread thread_;
  std::atomic<bool> stopping_ = false;
  std::map<int, std::vector<Request>> meetings_;  // by number
  std::deque<std::vector<char>> replies_;         // kept: nobody waits until they are sent
};

MPI_Comm make_comm(const int* world_ranks, int size, int number) {
  MPI_Group world, group;
  MPI_Comm comm = MPI_COMM_NULL;
  MPI_Comm_group(MPI_COMM_WORLD, &world);
  MPI_Group_incl(world, size, world_ranks, &group);
  MPI_Comm_create_group(MPI_COMM_WORLD, group, kFirstGroupTag + number % kTags, &comm);
  MPI_Group_free(&group);
  MPI_Group_free(&world);
  if (comm != MPI_COMM_NULL) MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
  return comm;
}

}  // namespace

ncclUniqueId make_unique_id() {
  static std::atomic<int> next = 0;
  start_background();
  Id id{};
  std::memcpy(id.magic, kMagic, sizeof kMagic);
  id.creator = world_rank();
  id.number = next++;
  ncclUniqueId bytes{};
  std::memcpy(bytes.internal, &id, sizeof id);
  return bytes;
}

ncclResult_t connect(Communicator& communicator, const ncclUniqueId& bytes, std::string* text) {
  Id id;
  std::memcpy(&id, bytes.internal, sizeof id);
  if (std::memcmp(id.magic, kMagic, sizeof kMagic) != 0) {
    *text = "this is no id of ncclGetUniqueId()";
    return ncclInvalidArgument;
  }
  if (communicator.size == 1) return ncclSuccess;
  if (!mpi_runs()) {
    *text = "the emulated NCCL needs MPI for more than one rank";
    return ncclSystemError;
  }
  start_background();
  Request request{id.number, communicator.size, communicator.rank, world_rank(), communicator.device, {}};
  gethostname(request.host, sizeof request.host - 1);
  MPI_Send(&request, sizeof request, MPI_BYTE, id.creator, kRequestTag, MPI_COMM_WORLD);
  int arrived = 0;
  while (!arrived) {
    if (communicator.aborted) return ncclInternalError;
    std::this_thread::sleep_for(200us);
    MPI_Iprobe(id.creator, kFirstReplyTag + id.number % kTags, MPI_COMM_WORLD, &arrived, MPI_STATUS_IGNORE);
  }
  std::vector<char> answer(sizeof(Reply) + static_cast<std::size_t>(communicator.size) * sizeof(int));
  MPI_Recv(answer.data(), static_cast<int>(answer.size()), MPI_BYTE, id.creator,
           kFirstReplyTag + id.number % kTags, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  Reply reply;
  std::memcpy(&reply, answer.data(), sizeof reply);
  *text = reply.text;
  if (reply.status != ncclSuccess) return static_cast<ncclResult_t>(reply.status);
  std::vector<int> world_ranks(static_cast<std::size_t>(communicator.size));
  std::memcpy(world_ranks.data(), answer.data() + sizeof reply, world_ranks.size() * sizeof(int));
  communicator.mpi = make_comm(world_ranks.data(), communicator.size, id.number);
  return communicator.mpi != MPI_COMM_NULL ? ncclSuccess : ncclSystemError;
}

void start_background() {
  Background::instance().start();
}

void count_pending(int change) {
  Background::instance().pending += change;
}

}  // namespace heddle::emulator
