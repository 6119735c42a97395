// A causal attention that forward kernels are tried on, sound ones and mutants:
// kernels/cuda/attention_forward.h compiled with a word redefined, in a namespace of its own. Includes all
// that the header needs, so that nothing else is redefined.
#pragma once

#include <cmath>
#include <random>
#include <vector>

#include "kernels/cuda/attention_arguments.h"
#include "kernels/cuda/attention_dropout.h"
#include "kernels/cuda/attention_products.h"
#include "kernels/cuda/attention_tiles.h"
#include "tests/emulator/tests/emulated.h"

namespace heddle::emulator {

// One head of kLength queries and keys: several tiles of both.
class AttentionProblem {
 public:
  static constexpr int kLength = 300, kHeadSize = 64;

  AttentionProblem() : q_(random_rows()), k_(random_rows()), v_(random_rows()) { compute_expected(); }

  // How many of the seeds 0 to count - 1 give a wrong output or a Fault.
  template <auto Kernel, typename Arguments, typename Tiles>
  int count_wrong(int count) const {
    int wrong = 0;
    for (int seed = 0; seed < count; ++seed) {
      set_seed(static_cast<std::uint64_t>(seed));
      try {
        wrong += !is_right(run<Kernel, Arguments, Tiles>());
      } catch (const Fault&) {
        ++wrong;
      }
    }
    return wrong;
  }

 private:
  static constexpr float kScale = 0.125f;

  static std::vector<bfloat16> random_rows() {
    static std::mt19937 generator(1);
    std::normal_distribution<float> normal;
    std::vector<bfloat16> rows(kLength * kHeadSize);
    for (bfloat16& x : rows) x = bfloat16(normal(generator));
    return rows;
  }

  void compute_expected() {
    expected_.resize(kLength * kHeadSize);
    for (int i = 0; i < kLength; ++i) {
      std::vector<double> weight(i + 1);
      double sum = 0;
      for (int j = 0; j <= i; ++j) {
        double score = 0;
        for (int d = 0; d < kHeadSize; ++d)
          score += double(q_[i * kHeadSize + d]) * double(k_[j * kHeadSize + d]);
        sum += weight[j] = std::exp(kScale * score);
      }
      for (int j = 0; j <= i; ++j)
        for (int d = 0; d < kHeadSize; ++d)
          expected_[i * kHeadSize + d] += weight[j] / sum * double(v_[j * kHeadSize + d]);
    }
  }

  template <auto Kernel, typename Arguments, typename Tiles>
  std::vector<bfloat16> run() const {
    std::vector<bfloat16> o(q_.size(), bfloat16(NAN));
    std::vector<float> log_sum_exp(kLength);
    const auto heads = [](auto* data) {
      return cuda::Heads<std::remove_pointer_t<decltype(data)>>{data, 0, kHeadSize, 0};
    };
    const Arguments arguments{.q = heads(q_.data()),
                              .k = heads(k_.data()),
                              .v = heads(v_.data()),
                              .o = heads(o.data()),
                              .log_sum_exp = log_sum_exp.data(),
                              .sizes = {1, kLength, kLength, 1, 1, 1, kHeadSize},
                              .visibility = {kLength, 0, nullptr},
                              .dropout = {Dropout{}, 0, kLength, kLength},
                              .scale_log2 = kScale * 1.4426950408889634f,
                              .packs = true};
    run_now<Kernel>(
        {(kLength + Tiles::kQueries - 1) / Tiles::kQueries, Tiles::kThreads, sizeof(typename Tiles::Shared)},
        arguments);
    return o;
  }

  bool is_right(const std::vector<bfloat16>& o) const {
    for (std::size_t i = 0; i < o.size(); ++i)
      if (!(std::abs(double(o[i]) - expected_[i]) < 0.05)) return false;
    return true;
  }

  std::vector<bfloat16> q_, k_, v_;
  std::vector<double> expected_;
};

}  // namespace heddle::emulator
