#include "trainer/config/config_file.h"

#include <gtest/gtest.h>

#include "tests/trainer/test_files.h"
#include "trainer/config/check.h"
#include "trainer/config/options.h"

namespace heddle {
namespace {

std::string bad(const std::string& text) {
  return error_of([&] { parse_config(text, "x.cfg"); });
}

TEST(ConfigFile, SetsFieldsOfEveryType) {
  const Options options = parse_config(R"(
# a comment
[model]
num_layers = 4   # another
  activation=swiglu
bias = no
dropout = 0.1
[train]
length = 2Mt
run_folder = runs/a b
[data]
data = a.txt
data = folder of/b
[train]
resume = on
)",
                                       "x.cfg");
  Options expected;
  expected.model.num_layers = 4;
  expected.model.activation = decltype(expected.model.activation)::swiglu;
  expected.model.bias = false;
  expected.model.dropout = 0.1;
  expected.train.length = in_tokens(2'000'000);
  expected.train.run_folder = "runs/a b";
  expected.train.resume = true;
  expected.data.data = {"a.txt", "folder of/b"};
  EXPECT_TRUE(options == expected);
  EXPECT_TRUE(parse_config("", "x.cfg") == Options{});
  EXPECT_EQ(parse_config("model.num_layers = 3", "x.cfg").model.num_layers, 3);
  EXPECT_EQ(parse_config("[train]\r\nseed = 7\r\n", "x.cfg").train.seed, 7);
}

TEST(ConfigFile, ErrorsNameLineAndRemedy) {
  EXPECT_EQ(bad("[model]\n\nnum_layer = 3"),
            "usage: x.cfg:3: unknown key 'num_layer' in [model]; did you mean num_layers?");
  EXPECT_EQ(bad("[device]\nfoo = 3"),
            "usage: x.cfg:2: unknown key 'foo' in [device]; it knows device, autotune, graph");
  EXPECT_EQ(bad("[model]\nseed = 3"), "usage: x.cfg:2: 'seed' belongs under [train], not under [model]");
  EXPECT_EQ(bad("seed = 3"), "usage: x.cfg:1: 'seed' belongs under [train]");
  EXPECT_EQ(bad("train.sed = 3"),
            "usage: x.cfg:1: unknown key 'train.sed' before the first [section]; did you mean train.seed?");
  EXPECT_TRUE(bad("[data]\ntrain.seed = 3")
                  .starts_with("usage: x.cfg:2: unknown key 'train.seed' in [data]; it knows data, "));
  EXPECT_EQ(bad("# c\n[modle]\n"), "usage: x.cfg:2: unknown section [modle]; did you mean [model]?");
  EXPECT_EQ(bad("[model]\nnum_layers = 3\n# c\nnum_layers = 4"),
            "usage: x.cfg:4: 'num_layers' is already set in line 2; remove one of the two");
  EXPECT_EQ(bad("[model]\nnum_layers"),
            "usage: x.cfg:2: expected [section] or name = value, found 'num_layers'");
  EXPECT_EQ(bad("[model]\n; old style"),
            "usage: x.cfg:2: expected [section] or name = value, found '; old style'");
  EXPECT_EQ(bad("[model]\n= 3"), "usage: x.cfg:2: expected [section] or name = value, found '= 3'");
  EXPECT_EQ(bad("[model\n"), "usage: x.cfg:1: expected [section] or name = value, found '[model'");
  EXPECT_EQ(bad("\xef\xbb\xbf[model]"),
            "usage: x.cfg:1: begins with a byte order mark; save it as UTF-8 without one");
  EXPECT_EQ(
      bad("[data]\ndata = /a#b"),
      "usage: x.cfg:2: '#' would end the value of data at '/a'; write \\x23 for a '#', or a blank before a "
      "comment");
}

TEST(ConfigFile, ValuesAreBounded) {
  EXPECT_EQ(bad("[model]\nnum_layers = 12x"), "usage: x.cfg:2: num_layers: '12x' is not a whole number");
  EXPECT_EQ(bad("[model]\nnum_layers ="), "usage: x.cfg:2: num_layers: '' is not a whole number");
  EXPECT_EQ(bad("[model]\nnum_layers = -1"),
            "usage: x.cfg:2: num_layers: '-1' is out of range: it must be from 1 to 10000");
  EXPECT_EQ(bad("[model]\nhead_size = 257"),
            "usage: x.cfg:2: head_size: '257' is out of range: it must be from 0 to 256");
  EXPECT_EQ(bad("[model]\ndropout = 1"),
            "usage: x.cfg:2: dropout: '1' is out of range: it must be at least 0 and below 1");
  EXPECT_EQ(
      bad("[model]\nactivation = gelu_tan"),
      "usage: x.cfg:2: activation: 'gelu_tan' is none of gelu_tanh, gelu_erf, relu, swiglu; did you mean "
      "gelu_tanh?");
  EXPECT_EQ(bad("[train]\nprecision = fp16"), "usage: x.cfg:2: precision: 'fp16' is none of fp32, bf16");
  EXPECT_EQ(bad("[optimizer]\nwarmup = 10min"),
            "usage: x.cfg:2: warmup: '10min' is a time, but steps, tokens or epochs are needed here");
  EXPECT_EQ(bad("[train]\nlength = 0"), "usage: x.cfg:2: length: '0' is out of range: it must be above 0");
  EXPECT_EQ(bad("[parallel]\ntimeout = 10steps"),
            "usage: x.cfg:2: timeout: '10steps' is not a time: write 90s, 10min or 1h");
  EXPECT_EQ(bad("[generation]\ntop_p = 0"),
            "usage: x.cfg:2: top_p: '0' is out of range: it must be above 0 and at most 1");
  // The first wrong line is the one that is named.
  EXPECT_EQ(bad("[train]\nseed = x\n[model]\nnum_layers = y"),
            "usage: x.cfg:2: seed: 'x' is not a whole number");
}

TEST(ConfigFile, UnreadableFilesAreNamed) {
  const TestFolder folder;
  EXPECT_EQ(error_of([] { read_config_file("/nonexistent/x.cfg"); }),
            "usage: cannot read config /nonexistent/x.cfg: No such file or directory");
  const std::string here = (folder / "").string();
  EXPECT_EQ(error_of([&] { read_config_file(here); }),
            "usage: cannot read config " + here + ": it is a folder, not a file");
  const std::string large = folder.write("large", std::string((1 << 20) + 1, ' ')).string();
  EXPECT_EQ(error_of([&] { read_config_file(large); }),
            "usage: config " + large + " is larger than 1 MiB: not a config file");
  const std::string binary = folder.write("binary", std::string("a\0b", 3)).string();
  EXPECT_EQ(error_of([&] { read_config_file(binary); }),
            "usage: config " + binary + " holds binary data: not a config file");
  EXPECT_EQ(read_config_file(folder.write("good.cfg", "[train]\n").string()), "[train]\n");
}

TEST(ResolvedConfig, ReadsBackToTheSameOptions) {
  Options options;
  EXPECT_TRUE(parse_config(resolved_config(options), "x") == options);

  options.model.dropout = 0.1;
  options.model.norm_epsilon = 1.0000000000000002e-5;
  options.model.tie_embeddings = false;
  options.data.data = {"a#b.txt", " with blanks ", "back\\slash"};
  options.train.length = in_epochs(1.0 / 3);
  options.train.run_folder = "runs/x;y = z";
  options.train.precision = Precision::bf16;
  options.parallel.timeout = in_seconds(90.5);
  options.checkpoint.save_every = in_tokens(1'234'567);
  EXPECT_TRUE(parse_config(resolved_config(options), "x") == options);

  // Sections outside a run are left out unless they are asked for.
  options.generation.prompt = "two\nlines\t# 1";
  EXPECT_FALSE(parse_config(resolved_config(options), "x") == options);
  EXPECT_EQ(resolved_config(options, {"device", "load"}),
            "[device]\ndevice = cpu\nautotune = false\ngraph = true\n\n[load]\ncheckpoint =\nbest = false\n");
  auto sections = training_sections();
  sections.insert(sections.end(), {"generation", "load"});
  EXPECT_TRUE(parse_config(resolved_config(options, sections), "x") == options);
}

TEST(ConfigFile, EveryConfigOfTheProjectIsGood) {
  int configs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(HEDDLE_SOURCE_DIR "/configs")) {
    const std::string path = entry.path().string();
    EXPECT_EQ(error_of([&] { check(parse_config(read_config_file(path), path)); }), "no error");
    ++configs;
  }
  EXPECT_GT(configs, 0);
}

template <typename Change>
std::string refused(Change change, int ranks = 0) {
  Options options;
  change(options);
  return error_of([&] { check(options, ranks); });
}

TEST(Check, NamesTheValuesThatWork) {
  EXPECT_EQ(refused([](Options&) {}), "no error");
  EXPECT_EQ(refused([](Options& o) { o.model.num_heads = 7; }),
            "usage: num_heads = 7 does not divide hidden_size = 768: 3, 4, 6, 8, 12, 16, 24 would, or set "
            "head_size");
  EXPECT_EQ(refused([](Options& o) { o.model.num_heads = 7, o.model.head_size = 64; }), "no error");
  EXPECT_EQ(refused([](Options& o) { o.model.num_heads = 2; }),
            "usage: hidden_size = 768 and num_heads = 2 make heads of 384, but at most 256 is supported: "
            "num_heads = "
            "3, 4, 6, 8, 12, 16, 24 would work");
  EXPECT_EQ(refused([](Options& o) { o.optimizer.learning_rate = 1e-5; }),
            "usage: min_learning_rate = 6e-5 is above learning_rate = 1e-5; lower it or raise the other");
  EXPECT_EQ(refused([](Options& o) { o.optimizer.schedule = decltype(o.optimizer.schedule)::wsd; }),
            "usage: schedule = wsd needs a cooldown, for example cooldown = 100steps");
  EXPECT_EQ(refused([](Options& o) { o.optimizer.cooldown = in_steps(5); }),
            "usage: cooldown = 5steps is of schedule = wsd only; remove it or set schedule = wsd");
  EXPECT_EQ(
      refused([](Options& o) {
        o.optimizer.schedule = decltype(o.optimizer.schedule)::noam;
        o.optimizer.warmup = {};
      }),
      "usage: schedule = noam divides by its warmup, which is 0; set warmup, for example warmup = 100steps");
  EXPECT_EQ(refused([](Options& o) { o.optimizer.stochastic_rounding = true; }),
            "usage: stochastic_rounding rounds the weights of precision = bf16, but precision = fp32; remove it or "
            "set precision = bf16");
  EXPECT_EQ(refused([](Options& o) {
              o.optimizer.stochastic_rounding = true;
              o.train.precision = Precision::bf16;
            }),
            "no error");
  EXPECT_EQ(refused([](Options& o) { o.parallel.tensor_parallel = 5; }),
            "usage: tensor_parallel = 5 must divide num_heads = 12 and ffn_size = 3072: 1, 2, 3, 4, 6, 12 "
            "would work");
  EXPECT_EQ(
      refused([](Options& o) { o.train.micro_batch = 5; }),
      "usage: micro_batch = 5 does not divide the 32 samples per replica (global_batch = 32, data_parallel = "
      "1): 1, 2, 4, 8, 16, 32 would");
  EXPECT_EQ(refused([](Options& o) { o.parallel.data_parallel = 3; }),
            "usage: global_batch = 32 cannot be shared by data_parallel = 3 replicas: 15, 18, 21, 24, 27, "
            "30, 33 could");
  EXPECT_EQ(
      refused([](Options& o) { o.parallel.data_parallel = 4, o.train.micro_batch = 16; }),
      "usage: micro_batch = 16 does not divide the 8 samples per replica (global_batch = 32, data_parallel = "
      "4): 1, 2, 4, 8 would");
  EXPECT_EQ(refused([](Options& o) { o.generation.prompt = o.generation.prompt_file = "x"; }),
            "usage: prompt and prompt_file are both given; remove one of the two");
}

TEST(Check, LayoutFollowsTheNumberOfRanks) {
  Options options;
  EXPECT_EQ(layout_for(options, 4).data_parallel, 4);
  options.parallel.tensor_parallel = 2;
  EXPECT_EQ(layout_for(options, 4).data_parallel, 2);
  EXPECT_EQ(layout_for(options, 4).tensor_parallel, 2);
  EXPECT_EQ(
      error_of([&] { layout_for(options, 5); }),
      "usage: data_parallel = 2 x tensor_parallel = 2 needs 4 ranks, but there are 5; 5 x 1 would work");
  options.parallel.data_parallel = 3;
  EXPECT_EQ(error_of([&] { layout_for(options, 4); }),
            "usage: data_parallel = 3 x tensor_parallel = 2 needs 6 ranks, but there are 4; 4 x 1, 2 x 2, 1 "
            "x 4 would "
            "work");
  EXPECT_EQ(refused([](Options&) {}, 3),
            "usage: global_batch = 32 cannot be shared by data_parallel = 3 replicas: "
            "15, 18, 21, 24, 27, 30, 33 could");
}

}  // namespace
}  // namespace heddle
