#include "parallel/shared_region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <random>

#include "parallel/mpi_error.h"

namespace heddle {

namespace {

constexpr int kNameBytes = 64;

// A file descriptor that is closed at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_;
};

Memory map(const Descriptor& file, std::size_t bytes) {
  if (!file.valid()) return {};
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (data == MAP_FAILED) return {};
  return Memory(data, bytes, [bytes](void* p) { munmap(p, bytes); });
}

// The first rank's part: a new name, and the space behind it.
Memory create(char (&name)[kNameBytes], std::size_t bytes) {
  std::random_device random;
  std::snprintf(name, kNameBytes, "/heddle-%ld-%08x%08x", static_cast<long>(getpid()), random(), random());
  const Descriptor file(shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (file.valid() && posix_fallocate(file.get(), 0, static_cast<off_t>(bytes)) == 0) return map(file, bytes);
  if (file.valid()) shm_unlink(name);
  name[0] = '\0';
  return {};
}

}  // namespace

Memory map_shared_region(MPI_Comm comm, std::size_t bytes) {
  int rank = 0;
  mpi_check(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
  char name[kNameBytes] = "";
  Memory region;
  if (rank == 0) region = create(name, bytes);
  mpi_check(MPI_Bcast(name, kNameBytes, MPI_CHAR, 0, comm), "MPI_Bcast");
  if (rank != 0 && name[0]) region = map(Descriptor(shm_open(name, O_RDWR | O_CLOEXEC, 0)), bytes);
  // The same name in another container's /dev/shm would be another memory: its random part makes that
  // impossible.
  int mapped = region.data() != nullptr;
  mpi_check(MPI_Allreduce(MPI_IN_PLACE, &mapped, 1, MPI_INT, MPI_MIN, comm), "MPI_Allreduce");
  if (rank == 0 && name[0]) shm_unlink(name);
  return mapped ? std::move(region) : Memory();
}

}  // namespace heddle
