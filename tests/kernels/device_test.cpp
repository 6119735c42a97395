// What devices offer beside operations: copies, events, graphs and measurements of themselves.
#include <vector>

#include "kernels/error.h"
#include "kernels/profiler.h"
#include "tests/kernels/op_test.h"

namespace heddle {
namespace {

class DeviceTest : public testing::TestWithParam<const test::Backend*> {
 protected:
  DeviceTest() : device_(GetParam()->make()) {}
  Device& device() { return *device_; }
  Stream& stream() { return device_->compute_stream(); }

  Memory put(const std::vector<float>& values) {
    Memory memory = device_->allocate(values.size() * sizeof(float));
    set(memory, values);
    return memory;
  }
  Tensor tensor(const Memory& memory) const {
    return Tensor(memory.data(), DType::f32, {static_cast<std::int64_t>(memory.bytes() / sizeof(float))});
  }
  void set(const Memory& memory, const std::vector<float>& values) {
    device_->copy_to_device(stream(), tensor(memory), values.data());
    stream().synchronize();
  }
  std::vector<float> values(const Memory& memory) {
    std::vector<float> values(memory.bytes() / sizeof(float));
    device_->copy_to_host(stream(), values.data(), tensor(memory));
    stream().synchronize();
    return values;
  }

 private:
  std::unique_ptr<Device> device_;
};

std::vector<const test::Backend*> backends() {
  std::vector<const test::Backend*> all;
  for (const test::Backend& backend : test::all_backends()) all.push_back(&backend);
  return all;
}
INSTANTIATE_TEST_SUITE_P(, DeviceTest, testing::ValuesIn(backends()),
                         [](const auto& info) { return info.param->name; });

TEST_P(DeviceTest, CopiesInItsMemoryInTheOrderOfAStream) {
  const Memory a = put({1, 2, 3}), b = put({0, 0, 0}), c = put({0, 0, 0});
  const auto other = device().make_stream();
  const auto event = device().make_event();
  device().copy_on_device(stream(), tensor(a), tensor(b));
  stream().record(*event);
  other->wait(*event);
  device().copy_on_device(*other, tensor(b), tensor(c));
  other->record(*event);
  stream().wait(*event);
  EXPECT_EQ(values(c), (std::vector<float>{1, 2, 3}));
  EXPECT_THROW(device().copy_on_device(stream(), tensor(a), tensor(b).slice(0, 0, 2)), Error);
}

TEST_P(DeviceTest, AGraphRunsWhenItIsLaunched) {
  const Memory from = put({1, 2}), over = put({0, 0}), to = put({0, 0});
  const auto other = device().make_stream();
  const auto there = device().make_event(), back = device().make_event();
  const auto work = [&] {
    device().copy_on_device(stream(), tensor(from), tensor(over));
    stream().record(*there);
    other->wait(*there);
    device().copy_on_device(*other, tensor(over), tensor(to));
    other->record(*back);
    stream().wait(*back);
  };
  if (!device().has_graphs()) {
    EXPECT_THROW(device().capture(work), Error);
    return;
  }
  const auto graph = device().capture(work);
  EXPECT_EQ(graph->node_count(), 2u);
  EXPECT_EQ(values(to), (std::vector<float>{0, 0})) << "while it is recorded";
  for (const float value : {3.0f, 4.0f}) {
    set(from, {value, 5});
    graph->launch(stream());
    EXPECT_EQ(values(to), (std::vector<float>{value, 5}));
  }
}

TEST_P(DeviceTest, AnExceptionEndsARecording) {
  if (!device().has_graphs()) GTEST_SKIP() << "no graphs";
  const Memory from = put({1}), to = put({0});
  EXPECT_THROW(device().capture([&] {
    device().copy_on_device(stream(), tensor(from), tensor(to));
    throw error("in the middle");
  }),
               Error);
  EXPECT_EQ(values(to), (std::vector<float>{0}));
  device().copy_on_device(stream(), tensor(from), tensor(to));  // the stream records no longer
  EXPECT_EQ(values(to), (std::vector<float>{1}));
  EXPECT_THROW(device().capture([&] { device().capture([] {}); }), Error) << "a recording inside another";
  EXPECT_GT(
      device().capture([&] { device().copy_on_device(stream(), tensor(from), tensor(to)); })->node_count(),
      0u);
}

TEST_P(DeviceTest, MeasuresWhatItReaches) {
  for (const DType act : {DType::f32, DType::bf16}) EXPECT_GT(device().matmul_flops(act, 0.02), 1e5);
  EXPECT_GT(device().copy_bandwidth(0.02), 1e6);
}

TEST(Profiler, RangesBeginAndEnd) {
  static int depth = 0, begun = 0;
  const ProfilerHooks before = profiler_hooks;
  profiler_hooks = {[](const char*) { ++depth, ++begun; }, [] { --depth; }};
  {
    const ProfilerRange step("step");
    const ProfilerRange forward("forward");
    EXPECT_EQ(depth, 2);
  }
  profiler_hooks = before;
  { const ProfilerRange unseen("unseen"); }
  EXPECT_EQ(depth, 0);
  EXPECT_EQ(begun, 2);
}

}  // namespace
}  // namespace heddle
