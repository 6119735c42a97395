// Commands that run on all ranks: MPI, the device and the mesh around a body, and one orderly end.
#pragma once

#include <functional>
#include <memory>

#include "kernels/device.h"
#include "parallel/mpi_session.h"
#include "trainer/commands/command.h"

namespace heddle {

// Starts MPI and calls `body` on every rank. Of an Error that all ranks throw alike one of them speaks, and all end
// with its exit code; any other failure is this rank's alone: it is printed and all ranks are ended.
int with_mpi(const CommandLine& line, const std::function<int(MpiSession&)>& body);

// The device of this rank, by device.device. Collective. cpu: parallel.threads, bound to this rank's cores; cuda: a GPU
// of its host that no other rank has, or shares with parallel.share_gpu.
std::unique_ptr<Device> make_device(const Options& options, MpiSession& session);

}  // namespace heddle
