// Stochastic rounding in training: the values that the layers see are a function of the masters and the
// update.
#include <gtest/gtest.h>

#include "kernels/cpu/device.h"
#include "tests/trainer/model_test_support.h"

namespace heddle {
namespace {

std::vector<std::uint16_t> bits_of(const Tensor& values) {
  std::vector<std::uint16_t> bits;
  for (std::int64_t i = 0; i < values.count(); ++i) bits.push_back(values.as<bfloat16>()[i].bits);
  return bits;
}

TEST(StochasticRounding, ValuesAreThoseThatRefreshingFinds) {
  const ModelOptions model = small_gpt();
  const RandomTokens tokens(4, model.context_length, model.vocabulary_size);
  for (const bool stochastic : {false, true}) {
    CpuDevice device(2);
    const auto mesh = single_rank_mesh(device);
    EngineSettings settings = small_engine(model);
    settings.act = DType::bf16;
    settings.optimizer.stochastic_rounding = stochastic;
    Engine engine(settings, device, *mesh);
    ParameterTable& table = engine.parameters();
    for (std::int64_t step = 0; step < 3; ++step) engine.step(step, tokens.batch(), 1e-3);

    const std::vector<std::uint16_t> values = bits_of(table.flat_values());
    std::int64_t up = 0, beside_nearest = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float master = table.flat_masters().as<float>()[i];
      const auto below = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(master) >> 16);
      if (stochastic) {
        ASSERT_TRUE(values[i] == below || values[i] == below + 1) << master;
      }
      up += values[i] != below;
      beside_nearest += values[i] != bfloat16(master).bits;
    }
    EXPECT_GT(up, static_cast<std::int64_t>(values.size() / 4));
    EXPECT_EQ(beside_nearest > 0, stochastic);

    table.refresh_values(device, 2);
    EXPECT_EQ(bits_of(table.flat_values()) == values, !stochastic);
    table.refresh_values(device, 3);
    EXPECT_EQ(bits_of(table.flat_values()), values);
  }
}

}  // namespace
}  // namespace heddle
