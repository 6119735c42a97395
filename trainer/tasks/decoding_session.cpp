#include "trainer/tasks/decoding_session.h"

#include <algorithm>
#include <cassert>

#include "kernels/plan/plan_device.h"

namespace heddle {

namespace {

Context inference_context(Device& device, Mesh& mesh, Tape& tape, DType act) {
  return Context{.device = device, .ops = device.ops(), .mesh = mesh, .tape = tape, .act = act, .row_invariant = true};
}

Tensor tokens_in(const Memory& memory, std::int64_t count) {
  return Tensor(memory.data(), DType::i32, {count});
}

Batch batch_of(const Memory& ids, const Memory& positions, std::int64_t rows, std::int64_t length) {
  Batch batch;
  batch.samples = rows;
  batch.length = length;
  batch.ids = tokens_in(ids, rows * length);
  batch.positions = tokens_in(positions, rows * length);
  return batch;
}

Batch source_batch(const Memory& ids, const Memory& positions, const Memory& lengths, const DecodingSize& size) {
  Batch batch;
  batch.samples = size.sources;
  batch.source_length = size.source_length;
  batch.source_ids = tokens_in(ids, size.sources * size.source_length);
  batch.source_positions = tokens_in(positions, size.sources * size.source_length);
  batch.source_lengths = tokens_in(lengths, size.sources);
  return batch;
}

Tensor logits_tensor(const Memory& memory, const Model& model, Mesh& mesh, std::int64_t rows) {
  return Tensor(memory.data(), DType::f32, {mesh.layout().tensor_parallel, rows, model.local_vocabulary_rows()});
}

std::size_t decoding_bytes(Model& model, Device& planned, Mesh& mesh, DType act, const DecodingSize& size,
                           std::int64_t longest_feed) {
  const std::unique_ptr<Device> device = make_plan_device(&planned);
  const std::unique_ptr<Mesh> plan_mesh = make_plan_mesh(mesh.layout(), mesh.rank());
  Tape tape;
  Context context = inference_context(*device, *plan_mesh, tape, act);
  const Memory none;
  const std::unique_ptr<DecodingState> state = model.make_decoding_state(context, size);
  if (size.source_length > 0) model.encode(context, *state, source_batch(none, none, none, size));
  model.decode(context, *state, batch_of(none, none, size.rows, longest_feed), 0,
               logits_tensor(none, model, mesh, size.rows));
  return tape.peak_bytes();
}

}  // namespace

DecodingSession::DecodingSession(Model& model, Device& device, Mesh& mesh, DType act, const DecodingSize& size,
                                 std::int64_t longest_feed)
    : model_(model),
      device_(device),
      mesh_(mesh),
      act_(act),
      size_(size),
      tape_(device.allocate(decoding_bytes(model, device, mesh, act, size, longest_feed))) {
  const auto allocate = [&](std::int64_t count) { return device.allocate(static_cast<std::size_t>(count) * 4); };
  ids_ = allocate(size.rows * longest_feed);
  positions_ = allocate(size.rows * longest_feed);
  if (size.source_length > 0) {
    source_ids_ = allocate(size.sources * size.source_length);
    source_positions_ = allocate(size.sources * size.source_length);
    source_lengths_ = allocate(size.sources);
  }
  device_logits_ = allocate(size.rows * mesh.layout().tensor_parallel * model.local_vocabulary_rows());
  Context here = context();
  state_ = model.make_decoding_state(here, size);
}

DecodingSession::~DecodingSession() = default;

Context DecodingSession::context() {
  return inference_context(device_, mesh_, tape_, act_);
}

void DecodingSession::read(const std::vector<std::vector<std::int32_t>>& sources) {
  assert(static_cast<std::int64_t>(sources.size()) == size_.sources);
  const auto padded = static_cast<std::size_t>(size_.source_length);
  std::vector<std::int32_t> ids, positions, lengths;
  for (const std::vector<std::int32_t>& source : sources) {
    assert(!source.empty() && source.size() <= padded);
    lengths.push_back(static_cast<std::int32_t>(source.size()));
    for (std::size_t i = 0; i < padded; ++i) {
      ids.push_back(i < source.size() ? source[i] : source.back());
      positions.push_back(static_cast<std::int32_t>(i));
    }
  }
  const Batch batch = source_batch(source_ids_, source_positions_, source_lengths_, size_);
  Stream& stream = device_.compute_stream();
  device_.copy_to_device(stream, batch.source_ids, ids.data());
  device_.copy_to_device(stream, batch.source_positions, positions.data());
  device_.copy_to_device(stream, batch.source_lengths, lengths.data());
  Context here = context();
  model_.encode(here, *state_, batch);
  stream.synchronize();  // the host's arrays end here
}

void DecodingSession::feed(const std::vector<std::vector<std::int32_t>>& texts, std::int64_t first,
                           std::int64_t length) {
  std::vector<std::int32_t> ids, positions;
  for (const auto& text : texts)
    for (std::int64_t i = first; i < first + length; ++i) {
      ids.push_back(text[static_cast<std::size_t>(i)]);
      positions.push_back(static_cast<std::int32_t>(i));
    }
  const Batch batch = batch_of(ids_, positions_, size_.rows, length);
  const Tensor logits = logits_tensor(device_logits_, model_, mesh_, size_.rows);
  Stream& stream = device_.compute_stream();
  device_.copy_to_device(stream, batch.ids, ids.data());
  device_.copy_to_device(stream, batch.positions, positions.data());
  Context here = context();
  model_.decode(here, *state_, batch, first, logits);

  slices_.resize(static_cast<std::size_t>(logits.count()));
  device_.copy_to_host(stream, slices_.data(), logits);
  stream.synchronize();
  // [ranks, rows, local] -> [rows, vocabulary], without the padding after the last rank's part.
  const std::int64_t local = model_.local_vocabulary_rows(), vocabulary = model_.vocabulary_size();
  logits_.resize(static_cast<std::size_t>(size_.rows * vocabulary));
  for (std::int64_t row = 0; row < size_.rows; ++row)
    for (std::int64_t id = 0; id < vocabulary; id += local)
      std::copy_n(slices_.begin() + (id / local * size_.rows + row) * local, std::min(local, vocabulary - id),
                  logits_.begin() + row * vocabulary + id);
}

std::span<const float> DecodingSession::logits(std::int64_t row) const {
  const auto vocabulary = static_cast<std::size_t>(model_.vocabulary_size());
  return {logits_.data() + static_cast<std::size_t>(row) * vocabulary, vocabulary};
}

void DecodingSession::reorder(const std::vector<std::int32_t>& parents, std::int64_t used) {
  Context here = context();
  state_->reorder(here, parents, used);
}

}  // namespace heddle
