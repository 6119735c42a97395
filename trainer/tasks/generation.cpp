#include "trainer/tasks/generation.h"

#include <algorithm>

#include "kernels/error.h"

namespace heddle {

Generator::Generator(Model& model, Device& device, Mesh& mesh, DType act, std::int64_t samples)
    : model_(model),
      samples_(samples),
      session_(model, device, mesh, act, {samples, model.context_length()}, model.context_length()) {}

std::vector<std::vector<std::int32_t>> Generator::generate(const std::vector<std::int32_t>& prompt,
                                                           const GenerationSettings& settings,
                                                           const OnToken& on_token) {
  if (prompt.empty()) throw usage_error("generation needs at least one token of prompt");
  const std::int64_t context = model_.context_length();
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
    session_.feed(window, cached, length - cached);
    cached = length;
    for (std::size_t s = 0; s < samples; ++s) {
      const std::int32_t token =
          sample_token(session_.logits(static_cast<std::int64_t>(s)), settings.sampling, static_cast<std::uint64_t>(settings.first_sample) + s,
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
