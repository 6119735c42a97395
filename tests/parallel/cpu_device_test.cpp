#include <gtest/gtest.h>

#include <cstdint>
#include <thread>
#include <vector>

#include "kernels/cpu/device.h"
#include "kernels/cpu/memory_info.h"
#include "kernels/error.h"

namespace heddle {
namespace {

TEST(CpuDevice, MemoryIsAlignedAndZeroAlsoWhenItIsUsedAgain) {
  CpuDevice device(2);
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{1000}, std::size_t{5} << 20}) {
    for (int again = 0; again < 2; ++again) {
      const Memory memory = device.allocate(bytes);
      ASSERT_NE(memory.data(), nullptr);
      EXPECT_EQ(memory.bytes(), bytes);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.data()) % 64, 0u);
      auto* data = static_cast<unsigned char*>(memory.data());
      for (std::size_t i = 0; i < bytes; ++i) ASSERT_EQ(data[i], 0) << i << " of " << bytes;
      std::fill(data, data + bytes, 7);
    }
  }
}

TEST(CpuDevice, TooMuchMemoryIsAClearError) {
  CpuDevice device(1);
  for (const std::size_t bytes :
       {static_cast<std::size_t>(available_memory()) + (std::size_t{1} << 30), ~std::size_t{0}}) {
    try {
      device.allocate(bytes);
      FAIL() << bytes;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("GiB are available"), std::string::npos) << e.what();
    }
  }
}

TEST(CpuDevice, CopiesContiguousTensorsOnly) {
  const auto device = make_cpu_device(1);
  std::vector<float> host = {1, 2, 3, 4, 5, 6}, back(6);
  const Memory memory = device->allocate(24);
  const Tensor x(memory.data(), DType::f32, {2, 3});
  device->copy_to_device(device->compute_stream(), x, host.data());
  device->copy_to_host(device->compute_stream(), back.data(), x);
  EXPECT_EQ(back, host);
  const Tensor part = x.slice(1, 0, 2);
  EXPECT_THROW(device->copy_to_device(device->compute_stream(), part, host.data()), Error);
  EXPECT_THROW(device->copy_to_host(device->compute_stream(), back.data(), part), Error);
}

TEST(CpuDevice, SaysWhatItIs) {
  EXPECT_NE(CpuDevice(3).description().find(", 3 threads"), std::string::npos);
  EXPECT_EQ(CpuDevice(0).threads(), allowed_cores());
  EXPECT_THROW(CpuDevice(-1), Error);
}

TEST(CpuEvent, IsReadyUntilBegunAndWakesItsWaiters) {
  CpuEvent event;
  EXPECT_TRUE(event.ready());
  event.synchronize();
  for (int round = 0; round < 200; ++round) {
    int value = 0;
    event.begin();
    EXPECT_FALSE(event.ready());
    std::thread worker([&] {
      if (round % 2)
        std::this_thread::sleep_for(std::chrono::microseconds(200));  // the waiter is asleep by then
      value = round;
      event.complete();
    });
    event.synchronize();
    EXPECT_EQ(value, round);
    EXPECT_TRUE(event.ready());
    EXPECT_FALSE(event.awaited());
    worker.join();
  }
}

TEST(CpuEvent, HandsAFailureToEveryWaiterUntilItBeginsAgain) {
  CpuEvent event;
  event.begin();
  event.fail(std::make_exception_ptr(error("lost")));
  EXPECT_TRUE(event.ready());
  EXPECT_THROW(event.synchronize(), Error);
  EXPECT_THROW(event.synchronize(), Error);
  event.begin();
  event.complete();
  event.synchronize();
}

TEST(CpuStream, RecordsAndWaits) {
  CpuStream stream;
  CpuEvent event;
  event.begin();
  stream.record(event);  // nothing is queued on the CPU: all work before is done
  EXPECT_TRUE(event.ready());
  event.begin();
  std::thread worker([&] { event.complete(); });
  stream.wait(event);
  EXPECT_TRUE(event.ready());
  worker.join();
}

}  // namespace
}  // namespace heddle
