#include "trainer/tasks/generation.h"

#include <algorithm>

#include "kernels/error.h"
#include "kernels/plan/plan_device.h"

namespace heddle {

namespace {

Context inference_context(Device& device, Mesh& mesh, Tape& tape, DType act) {
  return Context{
      .device = device, .ops = device.ops(), .mesh = mesh, .tape = tape, .act = act, .row_invariant = true};
}

Batch batch_of(const Memory& ids, const Memory& positions, std::int64_t samples, std::int64_t length) {
  Batch batch;
  batch.samples = samples;
  batch.length = length;
  batch.ids = Tensor(ids.data(), DType::i32, {samples * length});
  batch.positions = Tensor(positions.data(), DType::i32, {samples * length});
  return batch;
}

Tensor logits_tensor(const Memory& memory, const Model& model, Mesh& mesh, std::int64_t samples) {
  return Tensor(memory.data(), DType::f32,
                {mesh.layout().tensor_parallel, samples, model.local_vocabulary_rows()});
}

// Bytes of tape for a decode() of `samples` texts of full length.
std::size_t decoding_bytes(Model& model, Device& planned, Mesh& mesh, DType act, std::int64_t samples) {
  const std::unique_ptr<Device> device = make_plan_device(&planned);
  const std::unique_ptr<Mesh> plan_mesh = make_plan_mesh(mesh.layout(), mesh.rank());
  Tape tape;
  Context context = inference_context(*device, *plan_mesh, tape, act);
  const Memory none;
  const std::unique_ptr<DecodingState> state = model.make_decoding_state(context, {samples, model.context_length()});
  model.decode(context, *state, batch_of(none, none, samples, model.context_length()), 0,
               logits_tensor(none, model, mesh, samples));
  return tape.peak_bytes();
}

}  // namespace

Generator::Generator(Model& model, Device& device, Mesh& mesh, DType act, std::int64_t samples)
    : model_(model),
      device_(device),
      mesh_(mesh),
      act_(act),
      samples_(samples),
      tape_(device.allocate(decoding_bytes(model, device, mesh, act, samples))) {
  const auto tokens = static_cast<std::size_t>(samples * model.context_length());
  ids_ = device.allocate(tokens * 4);
  positions_ = device.allocate(tokens * 4);
  const auto rows = static_cast<std::size_t>(mesh.layout().tensor_parallel * model.local_vocabulary_rows());
  device_logits_ = device.allocate(static_cast<std::size_t>(samples) * rows * 4);
  Context context = inference_context(device, mesh, tape_, act);
  state_ = model.make_decoding_state(context, {samples, model.context_length()});
}

Generator::~Generator() = default;

// Feeds tokens [first, first + length) of every text and leaves the last position's logits in logits_.
void Generator::feed(const std::vector<std::vector<std::int32_t>>& texts, std::int64_t first, std::int64_t length) {
  std::vector<std::int32_t> ids, positions;
  for (const auto& text : texts)
    for (std::int64_t i = first; i < first + length; ++i) {
      ids.push_back(text[static_cast<std::size_t>(i)]);
      positions.push_back(static_cast<std::int32_t>(i));
    }
  const Batch batch = batch_of(ids_, positions_, samples_, length);
  const Tensor logits = logits_tensor(device_logits_, model_, mesh_, samples_);
  Stream& stream = device_.compute_stream();
  device_.copy_to_device(stream, batch.ids, ids.data());
  device_.copy_to_device(stream, batch.positions, positions.data());
  Context context = inference_context(device_, mesh_, tape_, act_);
  model_.decode(context, *state_, batch, first, logits);

  std::vector<float> slices(static_cast<std::size_t>(logits.count()));
  device_.copy_to_host(stream, slices.data(), logits);
  stream.synchronize();
  // [ranks, samples, rows] -> [samples, vocabulary], without the padding after the last rank's rows.
  const std::int64_t rows = model_.local_vocabulary_rows(), vocabulary = model_.vocabulary_size();
  logits_.resize(static_cast<std::size_t>(samples_ * vocabulary));
  for (std::int64_t s = 0; s < samples_; ++s)
    for (std::int64_t id = 0; id < vocabulary; ++id)
      logits_[static_cast<std::size_t>(s * vocabulary + id)] =
          slices[static_cast<std::size_t>((id / rows * samples_ + s) * rows + id % rows)];
}

std::vector<std::vector<std::int32_t>> Generator::generate(const std::vector<std::int32_t>& prompt,
                                                           const GenerationSettings& settings,
                                                           const OnToken& on_token) {
  if (prompt.empty()) throw usage_error("generation needs at least one token of prompt");
  const std::int64_t context = model_.context_length(), vocabulary = model_.vocabulary_size();
  const auto keep = static_cast<std::size_t>(std::max<std::int64_t>(context / 2, 1));
  const auto samples = static_cast<std::size_t>(samples_);

  std::vector<std::int32_t> start = prompt;
  if (start.size() > static_cast<std::size_t>(context)) start.erase(start.begin(), start.end() - context);
  std::vector<std::vector<std::int32_t>> window(samples, start), generated(samples);
  std::vector<bool> ended(samples, false);
  std::int64_t cached = 0;
  for (std::int64_t n = 0; n < settings.max_tokens; ++n) {
    if (window[0].size() > static_cast<std::size_t>(context)) {
      for (auto& text : window) text.erase(text.begin(), text.end() - static_cast<std::ptrdiff_t>(keep));
      cached = 0;
    }
    if (!settings.cache) cached = 0;
    const auto length = static_cast<std::int64_t>(window[0].size());
    feed(window, cached, length - cached);
    cached = length;
    for (std::size_t s = 0; s < samples; ++s) {
      const std::span<const float> logits(logits_.data() + s * static_cast<std::size_t>(vocabulary),
                                          static_cast<std::size_t>(vocabulary));
      const std::int32_t token =
          sample_token(logits, settings.sampling, static_cast<std::uint64_t>(settings.first_sample) + s,
                       static_cast<std::uint64_t>(n));
      window[s].push_back(token);  // an ended text goes on unseen, so that all texts keep one length
      if (ended[s]) continue;
      if (token == settings.end_of_text) {
        ended[s] = true;
        continue;
      }
      generated[s].push_back(token);
      if (on_token) on_token(static_cast<std::int64_t>(s), token);
    }
    if (std::all_of(ended.begin(), ended.end(), [](bool e) { return e; })) break;
  }
  return generated;
}

}  // namespace heddle
