// The whole CUDA path: `heddle train --device cuda` against `--device cpu`, on one and several GPUs. Built
// twice: with the emulated CUDA of tests/emulator, and (label gpu) for the GPUs of this host, which ranks
// share where there are fewer.

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "kernels/device.h"
#include "kernels/error.h"
#include "tests/system/heddle_run.h"

namespace heddle {
namespace {

constexpr LayoutCase kLayouts[] = {{1, 1}, {2, 1}, {1, 2}, {2, 2}};

// The GPUs that ranks can have for themselves.
std::size_t gpu_count() {
#ifdef HEDDLE_REAL_GPUS
  try {
    return cuda_devices().size();
  } catch (const Error&) {
    return 0;
  }
#else
  return 8;
#endif
}

// Which device, and how several ranks find one each: through NCCL where there are enough.
std::vector<std::string> device_words(const std::string& device, int ranks) {
  std::vector<std::string> words = {"--device", device};
  if (device == "cuda" && static_cast<std::size_t>(ranks) > gpu_count()) words.push_back("--share-gpu");
  return words;
}

class CudaTraining : public ::testing::Test {
 protected:
  CudaTraining() : text_(make_text(folder_)) {}
  void SetUp() override {
    if (gpu_count() == 0) GTEST_SKIP() << "there is no GPU that CUDA can use";
  }

  // 20 steps (or what `more` says) in run folder `run`.
  void train(const std::string& run, LayoutCase layout, const std::string& device,
             const std::vector<std::string>& more = {}) {
    const std::vector<std::string> base = with(
        with(with(tiny_gpt(text_), {"--length", "20steps", "--decay-length", "20steps", "--context-length",
                                    "16", "--global-batch", "8", "--micro-batch", "2"}),
             layout.words()),
        device_words(device, layout.ranks()));
    const RunResult result =
        run_heddle(folder_, layout.ranks(), with(with(base, more), {"--run-folder", run}));
    ASSERT_EQ(result.exit_code, 0) << result.output;
  }

  // The largest relative differences of the losses and of the gradients' norms of two runs.
  std::pair<double, double> differences(const std::string& a, const std::string& b, std::size_t steps = 20) {
    const std::vector<MetricsRecord> one = metrics_of(folder_, a), other = metrics_of(folder_, b);
    EXPECT_EQ(one.size(), steps);
    EXPECT_EQ(other.size(), steps);
    double loss = 0, norm = 0;
    for (std::size_t i = 0; i < std::min(one.size(), other.size()); ++i) {
      loss = std::max(loss, std::abs(*one[i].loss / *other[i].loss - 1));
      norm = std::max(norm, std::abs(*one[i].gradient_norm / *other[i].gradient_norm - 1));
    }
    return {loss, norm};
  }

  std::vector<std::string> hashes(const std::string& run) { return checkpoint_hashes(folder_.path() / run); }

  TestFolder folder_;
  std::string text_;
};

// fp32: 1e-5. bf16: the bound of layouts (tests/system/layout_test.cpp) holds for backends as well, which
// also differ only in where they round.
TEST_F(CudaTraining, HasTheLossCurveOfTheCpu) {
  for (const char* precision : {"fp32", "bf16", "bf16_stochastic"}) {
    const bool bf16 = std::string(precision) != "fp32";
    const std::string cpu = std::string("cpu-") + precision;
    train(cpu, {1, 1}, "cpu", precision_words(precision));
    double worst_loss = 0, worst_norm = 0;
    for (const LayoutCase layout : kLayouts) {
      const std::string run = std::string("cuda-") + precision + "-" + layout.name();
      train(run, layout, "cuda", precision_words(precision));
      const auto [loss, norm] = differences(run, cpu);
      EXPECT_LE(loss, bf16 ? 1e-3 : 1e-5) << run;
      EXPECT_LE(norm, bf16 ? 1e-2 : 1e-4) << run;
      worst_loss = std::max(worst_loss, loss);
      worst_norm = std::max(worst_norm, norm);
    }
    std::printf("%s: largest relative difference of the loss %.2e, of the gradient norm %.2e\n", precision,
                worst_loss, worst_norm);
  }
}

// A recorded step has the bits of one that was not, and per-step values (learning rate, dropout, how weights are
// rounded) are not frozen in it; a repeated run and a resumed one have the same bits too.
TEST_F(CudaTraining, RepeatsReplaysAndResumesWithTheSameBits) {
  for (const LayoutCase layout : {LayoutCase{1, 1}, LayoutCase{2, 2}})
    for (const char* precision : {"fp32", "bf16", "bf16_stochastic"}) {
      const std::string name = layout.name() + "-" + precision;
      const std::vector<std::string> words = with(precision_words(precision), {"--length", "8steps"});
      train("once-" + name, layout, "cuda", words);
      train("again-" + name, layout, "cuda", words);
      train("unrecorded-" + name, layout, "cuda", with(words, {"--graph=false"}));
      train("halves-" + name, layout, "cuda", with(words, {"--length", "4steps"}));
      train("halves-" + name, layout, "cuda", with(words, {"--length", "8steps", "--resume"}));
      const std::vector<std::string> once = hashes("once-" + name);
      EXPECT_EQ(once, hashes("again-" + name)) << name << ": a repeated run";
      EXPECT_EQ(once, hashes("unrecorded-" + name)) << name << ": without a graph";
      EXPECT_EQ(once, hashes("halves-" + name)) << name << ": a resumed run";
      EXPECT_EQ(differences("once-" + name, "unrecorded-" + name, 8), std::make_pair(0.0, 0.0)) << name;
      EXPECT_EQ(differences("once-" + name, "halves-" + name, 8), std::make_pair(0.0, 0.0)) << name;
    }
}

TEST_F(CudaTraining, GoesOnFromACheckpointOfAnotherDeviceAndLayout) {
  train("straight", {1, 1}, "cpu");
  train("moved", {1, 1}, "cpu", {"--length", "5steps"});
  train("moved", {2, 2}, "cuda", {"--length", "10steps", "--resume"});
  train("moved", {1, 2}, "cuda", {"--length", "15steps", "--resume"});
  train("moved", {2, 1}, "cpu", {"--length", "20steps", "--resume"});
  EXPECT_LE(differences("moved", "straight").first, 1e-5);
}

TEST_F(CudaTraining, RecomputationGivesTheSameBits) {
  train("kept", {1, 1}, "cuda", {"--precision", "bf16", "--length", "5steps"});
  train("recomputed", {1, 1}, "cuda", {"--precision", "bf16", "--length", "5steps", "--recompute", "blocks"});
  EXPECT_EQ(hashes("kept"), hashes("recomputed"));
}

// Which algorithms win, and whether cuBLASLt's gradients of GELU and biases do, decides bits and nothing else.
TEST_F(CudaTraining, TimedProductsHaveTheLossCurveOfTheCpu) {
  train("cpu", {1, 1}, "cpu", {"--precision", "bf16"});
  train("timed", {1, 1}, "cuda", {"--precision", "bf16", "--autotune"});
  const auto [loss, norm] = differences("timed", "cpu");
  EXPECT_LE(loss, 1e-3);
  EXPECT_LE(norm, 1e-2);
}

TEST_F(CudaTraining, GeneratesTheTextOfTheCpu) {
  train("model", {1, 1}, "cuda", {"--length", "50steps", "--decay-length", "50steps"});
  std::vector<std::string> texts;
  for (const char* device : {"cpu", "cuda"}) {
    const RunResult result = run_heddle(folder_, 1,
                                        with({"generate", "--checkpoint", "model", "--prompt", "the king",
                                              "--max-tokens", "20", "--temperature", "0", "--threads", "1"},
                                             device_words(device, 1)));
    ASSERT_EQ(result.exit_code, 0) << result.output;
    texts.push_back(result.output);
  }
  EXPECT_EQ(texts[0], texts[1]);
  EXPECT_NE(texts[0].find("the king"), std::string::npos) << texts[0];
}

// The encoder-decoder: batches of many shapes, each a recording of its own, cross-attention, masks of padding.
class CudaTranslation : public CudaTraining {
 protected:
  CudaTranslation() {
    std::string pairs;
    for (int i = 0; i < 40; ++i) {
      std::string source, target;
      for (int word = 0; word <= i % 5; ++word) {
        const std::string name(1, static_cast<char>('a' + (i * 7 + word * 3) % 11));
        source += (word > 0 ? " " : "") + name;
        target = name + "x" + (word > 0 ? " " : "") + target;
      }
      pairs += source + "\t" + target + "\n";
    }
    std::ofstream(folder_ / "pairs.tsv") << pairs;
  }

  void train_pairs(const std::string& run, LayoutCase layout, const std::string& device,
                   const std::vector<std::string>& more = {}) {
    const std::vector<std::string> base = with(
        with({"train", "--family", "transformer", "--pairs", folder_ / "pairs.tsv", "--tokenizer", "word",
              "--word-minimum-count", "1", "--num-layers", "1", "--hidden-size", "32", "--num-heads", "2",
              "--context-length", "12", "--ffn-size", "48", "--norm-position", "post", "--positions", "sinusoidal",
              "--embedding-scale", "--initialization", "xavier", "--head-bias", "--dropout", "0.1", "--ffn-dropout",
              "0.1", "--label-smoothing", "0.1", "--batch-tokens", "40", "--length", "12steps", "--learning-rate",
              "1e-3", "--min-learning-rate", "0", "--schedule", "constant", "--warmup", "4steps", "--save-every", "0",
              "--validate-every", "0", "--tensorboard=false"},
             layout.words()),
        device_words(device, layout.ranks()));
    const RunResult result = run_heddle(folder_, layout.ranks(), with(with(base, more), {"--run-folder", run}));
    ASSERT_EQ(result.exit_code, 0) << result.output;
  }
};

TEST_F(CudaTranslation, HasTheLossCurveOfTheCpuAndTheBitsOfItsRecordings) {
  for (const char* precision : {"fp32", "bf16"}) {
    const bool bf16 = std::string(precision) == "bf16";
    const std::string cpu = std::string("cpu-") + precision;
    train_pairs(cpu, {1, 1}, "cpu", {"--precision", precision});
    for (const LayoutCase layout : {LayoutCase{1, 1}, LayoutCase{2, 2}}) {
      const std::string run = std::string("cuda-") + precision + "-" + layout.name();
      train_pairs(run, layout, "cuda", {"--precision", precision});
      const auto [loss, norm] = differences(run, cpu, 12);
      EXPECT_LE(loss, bf16 ? 1e-3 : 1e-5) << run;
      EXPECT_LE(norm, bf16 ? 1e-2 : 1e-4) << run;
      std::printf("%s: difference of the loss %.2e, of the gradient norm %.2e\n", run.c_str(), loss, norm);
      train_pairs(run + "-unrecorded", layout, "cuda", {"--precision", precision, "--graph=false"});
      EXPECT_EQ(hashes(run), hashes(run + "-unrecorded")) << run;
      train_pairs(run + "-halves", layout, "cuda", {"--precision", precision, "--length", "5steps"});
      train_pairs(run + "-halves", layout, "cuda", {"--precision", precision, "--resume"});
      EXPECT_EQ(hashes(run), hashes(run + "-halves")) << run;
    }
  }
}

TEST_F(CudaTranslation, TranslatesAsTheCpuDoes) {
  train_pairs("model", {1, 1}, "cpu", {"--length", "300steps", "--learning-rate", "3e-3"});
  std::ofstream(folder_ / "input") << "a b c\nd\n\nk j\n";
  std::vector<std::string> texts;
  for (const char* device : {"cpu", "cuda"}) {
    const RunResult result =
        run_heddle(folder_, 1, with({"translate", "model", "--input", folder_ / "input", "--beam", "2"}, device_words(device, 1)));
    ASSERT_EQ(result.exit_code, 0) << result.output;
    texts.push_back(result.output);
  }
  EXPECT_EQ(texts[0], texts[1]);
}

TEST_F(CudaTraining, StopsWithWordsWhenNumbersAreNotFinite) {
  const std::vector<std::string> words = with(
      with(
          with(tiny_gpt(text_), {"--length", "60steps", "--run-folder", "diverges", "--learning-rate", "1e20",
                                 "--warmup", "0steps", "--clip-norm", "0", "--schedule", "constant"}),
          LayoutCase{2, 1}.words()),
      device_words("cuda", 2));
  const RunResult result = run_heddle(folder_, 2, words);
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_NE(result.output.find("not finite"), std::string::npos) << result.output;
  EXPECT_LT(result.seconds, 60);
}

TEST_F(CudaTraining, SharesAGpuAmongRanks) {
  train("alone", {1, 1}, "cuda");
  for (const LayoutCase layout : {LayoutCase{2, 1}, LayoutCase{2, 2}}) {
    const std::string run = "shared-" + layout.name();
    train(run, layout, "cuda", {"--share-gpu"});
    EXPECT_LE(differences(run, "alone").first, 1e-5) << run;
  }
}

TEST_F(CudaTraining, DoctorNamesTheGpusAndMeasuresBetweenThem) {
  const RunResult result = run_heddle(folder_, 2, with({"doctor"}, device_words("cuda", 2)));
  EXPECT_EQ(result.exit_code, 0) << result.output;
#ifdef HEDDLE_REAL_GPUS
  const char* const gpu = "NVIDIA";
#else
  const char* const gpu = "Emulated GPU";
#endif
  for (const char* part : {gpu, "cuBLASLt", "67108864 "})
    EXPECT_NE(result.output.find(part), std::string::npos) << "no " << part << " in\n" << result.output;
}

TEST_F(CudaTraining, RefusesMoreRanksThanGpus) {
  // Every rank sees the same single GPU.
  setenv("CUDA_VISIBLE_DEVICES", "0", 1);
  setenv("HEDDLE_EMULATOR_GPUS", "1", 1);
  const RunResult result = run_heddle(
      folder_, 2,
      with(with(tiny_gpt(text_), {"--run-folder", "refused", "--micro-batch", "4"}), {"--device", "cuda"}));
  unsetenv("CUDA_VISIBLE_DEVICES");
  unsetenv("HEDDLE_EMULATOR_GPUS");
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_NE(result.output.find("--share-gpu"), std::string::npos) << result.output;
}

}  // namespace
}  // namespace heddle
