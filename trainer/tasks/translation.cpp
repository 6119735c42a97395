#include "trainer/tasks/translation.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <numeric>
#include <string>

#include "kernels/error.h"
#include "trainer/tasks/decoding_session.h"

namespace heddle {

namespace {

// Sources in the order of their lengths, cut into batches.
std::vector<std::vector<std::size_t>> batches_of(const std::vector<std::vector<std::int32_t>>& sources,
                                                 const TranslationSettings& settings) {
  std::vector<std::size_t> order(sources.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return sources[a].size() > sources[b].size(); });
  std::vector<std::vector<std::size_t>> batches;
  std::size_t room = 0;  // sources that the current batch still takes: its first is its longest
  for (std::size_t i : order) {
    if (room == 0) {
      batches.emplace_back();
      const auto tokens = static_cast<std::size_t>(settings.search.beam) * sources[i].size();
      room = std::max<std::size_t>(1, static_cast<std::size_t>(settings.batch_tokens) / tokens);
    }
    batches.back().push_back(i);
    --room;
  }
  return batches;
}

// Hypotheses as bytes between ranks of one job.
class Packer {
 public:
  template <typename T>
  void put(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void put(std::size_t number, const std::vector<Hypothesis>& hypotheses) {
    put<std::uint64_t>(number);
    put<std::uint64_t>(hypotheses.size());
    for (const Hypothesis& h : hypotheses) {
      put(h.log_probability);
      put(h.score);
      put(h.ended);
      put<std::uint64_t>(h.tokens.size());
      bytes_.append(reinterpret_cast<const char*>(h.tokens.data()), h.tokens.size() * sizeof(std::int32_t));
    }
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

class Unpacker {
 public:
  explicit Unpacker(const std::string& bytes) : bytes_(bytes) {}
  bool empty() const { return at_ == bytes_.size(); }
  template <typename T>
  T get() {
    T value;
    read(&value, sizeof value);
    return value;
  }
  std::vector<Hypothesis> hypotheses() {
    std::vector<Hypothesis> all(get<std::uint64_t>());
    for (Hypothesis& h : all) {
      h.log_probability = get<double>();
      h.score = get<double>();
      h.ended = get<bool>();
      h.tokens.resize(get<std::uint64_t>());
      read(h.tokens.data(), h.tokens.size() * sizeof(std::int32_t));
    }
    return all;
  }

 private:
  void read(void* to, std::size_t bytes) {
    assert(bytes <= bytes_.size() - at_);
    if (bytes > 0) std::memcpy(to, bytes_.data() + at_, bytes);
    at_ += bytes;
  }
  const std::string& bytes_;
  std::size_t at_ = 0;
};

}  // namespace

std::vector<std::vector<Hypothesis>> Translator::translate(const std::vector<std::vector<std::int32_t>>& sources,
                                                           const TranslationSettings& settings) {
  const std::vector<std::vector<std::size_t>> batches = batches_of(sources, settings);
  const auto ranks = static_cast<std::size_t>(mesh_.layout().data_parallel),
             rank = static_cast<std::size_t>(mesh_.data_rank());
  Packer mine;
  for (std::size_t b = rank; b < batches.size(); b += ranks) {
    std::vector<std::vector<std::int32_t>> batch;
    for (std::size_t i : batches[b]) batch.push_back(sources[i]);
    const std::vector<std::vector<Hypothesis>> found = translate_batch(batch, settings);
    for (std::size_t i = 0; i < found.size(); ++i) mine.put(batches[b][i], found[i]);
  }
  std::vector<std::vector<Hypothesis>> results(sources.size());
  for (const std::string& part : mesh_.data().all_gather_host(mine.bytes(), "translations")) {
    Unpacker all(part);
    while (!all.empty()) {
      const auto number = all.get<std::uint64_t>();
      results[number] = all.hypotheses();
    }
  }
  return results;
}

std::vector<std::vector<Hypothesis>> Translator::translate_batch(const std::vector<std::vector<std::int32_t>>& sources,
                                                                 const TranslationSettings& settings) {
  std::vector<std::int64_t> longest;
  DecodingSize size;
  for (const std::vector<std::int32_t>& source : sources) {
    const auto length = static_cast<std::int64_t>(source.size());
    size.source_length = std::max(size.source_length, length);
    longest.push_back(std::min(length + settings.extra_tokens, model_.context_length()));
  }
  size.sources = static_cast<std::int64_t>(sources.size());
  size.rows = size.sources * settings.search.beam;
  size.length = *std::max_element(longest.begin(), longest.end());
  size.reorders = settings.cache && settings.search.beam > 1;
  DecodingSession session(model_, device_, mesh_, act_, size, settings.cache ? 1 : size.length);
  session.read(sources);
  BeamSearch search(settings.search, longest);
  for (std::int64_t length = 1; !search.done(); ++length) {
    session.feed(search.texts(), settings.cache ? length - 1 : 0, settings.cache ? 1 : length);
    const std::vector<std::int32_t> parents = search.advance([&](std::int64_t row) { return session.logits(row); });
    if (size.reorders && !search.done()) session.reorder(parents, length);
  }
  return search.results();
}

}  // namespace heddle
