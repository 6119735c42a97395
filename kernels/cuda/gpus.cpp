// Which GPUs there are, and the way to one of them.
#include <cublasLt.h>

#include "kernels/cuda/cuda_error.h"
#include "kernels/cuda/device.h"

namespace heddle {

using cuda::check;

namespace {

// With the bus address for a person, and the UUID because the parts of a divided GPU share that address.
std::string id_of(const cudaDeviceProp& properties) {
  std::string id = fmt::format("{:04x}:{:02x}:{:02x} ", properties.pciDomainID, properties.pciBusID,
                               properties.pciDeviceID);
  for (const char byte : properties.uuid.bytes) id += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return id;
}

std::string cuda_version(int version) {
  return fmt::format("CUDA {}.{}", version / 1000, version % 1000 / 10);
}

Error driver_error() {
  int driver = 0, runtime = 0;
  cudaRuntimeGetVersion(&runtime);
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
    return error("CUDA cannot be used on this host: it has no NVIDIA driver");
  return error("CUDA cannot be used on this host: its driver is for {} and heddle needs one for {} or newer",
               cuda_version(driver), cuda_version(runtime));
}

}  // namespace

std::vector<GpuDescription> cuda_devices() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorNoDevice) return {};
  if (status == cudaErrorInsufficientDriver) throw driver_error();
  if (status != cudaSuccess)
    throw error("CUDA cannot be used on this host: {} ({})", cudaGetErrorString(status), cudaGetErrorName(status));
  std::vector<GpuDescription> devices;
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
    devices.push_back({properties.name, id_of(properties), properties.totalGlobalMem,
                       properties.major * 10 + properties.minor});
  }
  return devices;
}

std::string cuda_versions() {
  int driver = 0, runtime = 0;
  cudaRuntimeGetVersion(&runtime);
  const bool has_driver = cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0;
  const std::size_t cublas = cublasLtGetVersion();  // 130100: 13.1.0
  return fmt::format("{}, {}, cuBLASLt {}.{}.{}", cuda_version(runtime),
                     has_driver ? "driver for " + cuda_version(driver) : "no driver", cublas / 10000,
                     cublas / 100 % 100, cublas % 100);
}

std::unique_ptr<Device> make_cuda_device(int index, bool autotune) {
  const auto count = static_cast<int>(cuda_devices().size());
  if (index < 0 || index >= count)
    throw error("there is no GPU {}: this process sees {} (nvidia-smi and CUDA_VISIBLE_DEVICES tell which)", index,
                count);
  auto device = std::make_unique<CudaDevice>(index);
  device->cuda_ops().set_autotune(autotune);
  return device;
}

}  // namespace heddle
