#include "trainer/tasks/attention_reader.h"

#include <algorithm>

#include "kernels/plan/plan_device.h"

namespace heddle {

namespace {

// Texts padded to one length, as a batch in device memory.
class TextBatch {
 public:
  TextBatch(Device& device, const std::vector<AttentionText>& texts) : device_(device) {
    batch_.samples = static_cast<std::int64_t>(texts.size());
    std::vector<std::int32_t> ids, positions, source_ids, source_positions;
    batch_.length = pad(texts, &AttentionText::text, ids, positions);
    batch_.source_length = pad(texts, &AttentionText::source, source_ids, source_positions);
    batch_.ids = upload(ids);
    batch_.positions = upload(positions);
    batch_.targets = upload(std::vector<std::int32_t>(ids.size(), -1));  // there is nothing to tell
    if (batch_.source_length == 0) return;
    std::vector<std::int32_t> lengths;
    for (const AttentionText& text : texts) lengths.push_back(static_cast<std::int32_t>(text.source.size()));
    batch_.source_ids = upload(source_ids);
    batch_.source_positions = upload(source_positions);
    batch_.source_lengths = upload(lengths);
  }
  const Batch& batch() const { return batch_; }

 private:
  // Padding repeats a text's last token.
  static std::int64_t pad(const std::vector<AttentionText>& texts,
                          std::vector<std::int32_t> AttentionText::*part, std::vector<std::int32_t>& ids,
                          std::vector<std::int32_t>& positions) {
    std::size_t length = 0;
    for (const AttentionText& text : texts) length = std::max(length, (text.*part).size());
    for (const AttentionText& text : texts)
      for (std::size_t i = 0; i < length; ++i) {
        ids.push_back((text.*part)[std::min(i, (text.*part).size() - 1)]);
        positions.push_back(static_cast<std::int32_t>(i));
      }
    return static_cast<std::int64_t>(length);
  }
  Tensor upload(const std::vector<std::int32_t>& values) {
    memory_.push_back(device_.allocate(values.size() * sizeof(std::int32_t)));
    const Tensor tensor(memory_.back().data(), DType::i32, {static_cast<std::int64_t>(values.size())});
    device_.copy_to_device(device_.compute_stream(), tensor, values.data());
    device_.compute_stream().synchronize();  // the host's array may end
    return tensor;
  }

  Device& device_;
  std::vector<Memory> memory_;
  Batch batch_;
};

std::size_t bytes_of_pass(Model& model, Device& planned, Mesh& mesh, DType act, const Batch& batch) {
  const std::unique_ptr<PlanDevice> device = make_plan_device(&planned);
  const std::unique_ptr<Mesh> plan_mesh = make_plan_mesh(mesh.layout(), mesh.rank());
  Tape tape;
  Context context{.device = *device, .ops = device->ops(), .mesh = *plan_mesh, .tape = tape, .act = act};
  model.evaluate(context, batch, Tensor(nullptr, DType::f32, {batch.samples * batch.length}));
  return tape.peak_bytes();
}

AttentionMap map_of(const AttentionLayer& layer, std::int64_t sample, std::int64_t head,
                    const AttentionText& text) {
  const AttentionKind kind = layer.place.kind;
  AttentionMap map{layer.place, head, 0, 0, {}};
  map.rows = std::ssize(kind == AttentionKind::encoder ? text.source : text.text);
  map.columns = std::ssize(kind == AttentionKind::decoder ? text.text : text.source);
  for (std::int64_t i = 0; i < map.rows; ++i) {
    const double* const row = layer.row(sample, head, i);
    map.weights.insert(map.weights.end(), row, row + map.columns);
  }
  return map;
}

}  // namespace

std::int64_t AttentionMap::strongest_column(std::int64_t row) const {
  const auto begin = weights.begin() + row * columns;
  return std::max_element(begin, begin + columns) - begin;
}

std::vector<std::vector<AttentionMap>> AttentionReader::read(const std::vector<AttentionText>& texts,
                                                             const AttentionSelection& selection) {
  const TextBatch texts_on_device(device_, texts);
  const Batch& batch = texts_on_device.batch();
  Tape tape(device_.allocate(bytes_of_pass(model_, device_, mesh_, act_, batch)));
  const std::int64_t tokens = batch.samples * batch.length;
  const Memory losses = device_.allocate(static_cast<std::size_t>(tokens) * sizeof(float));
  AttentionRecorder recorder(selection.kind, selection.layer);
  Context context{.device = device_,
                  .ops = device_.ops(),
                  .mesh = mesh_,
                  .tape = tape,
                  .act = act_,
                  .attention_observer = &recorder};
  model_.evaluate(context, batch, Tensor(losses.data(), DType::f32, {tokens}));
  device_.compute_stream().synchronize();

  std::vector<std::vector<AttentionMap>> maps(texts.size());
  for (const AttentionLayer& layer : recorder.take(mesh_.tensor()))
    for (std::size_t i = 0; i < texts.size(); ++i)
      for (std::int64_t head = 0; head < layer.heads; ++head)
        if (!selection.head || *selection.head == head)
          maps[i].push_back(map_of(layer, static_cast<std::int64_t>(i), head, texts[i]));
  return maps;
}

}  // namespace heddle
