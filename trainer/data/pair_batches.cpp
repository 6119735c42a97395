#include "trainer/data/pair_batches.h"

#include <algorithm>
#include <bit>

#include "kernels/error.h"
#include "kernels/philox.h"

namespace heddle {
namespace {

// rounded_length() of 1 to max_length, and which of the grid's lengths it is.
struct Grid {
  explicit Grid(std::int64_t max_length) : cell_of(static_cast<std::size_t>(max_length) + 1) {
    for (std::int64_t length = 1; length <= max_length; ++length) {
      const std::int64_t rounded = rounded_length(length, max_length);
      if (lengths.empty() || lengths.back() != rounded) lengths.push_back(rounded);
      cell_of[static_cast<std::size_t>(length)] = static_cast<std::uint32_t>(lengths.size() - 1);
    }
  }

  std::vector<std::uint32_t> cell_of;
  std::vector<std::int64_t> lengths;
};

}  // namespace

std::int64_t rounded_length(std::int64_t length, std::int64_t max_length) {
  const std::int64_t step = std::max<std::int64_t>(
      2, static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(length) / 8)));
  return std::min((length + step - 1) / step * step, max_length);
}

PairBatches::PairBatches(const std::vector<PairLength>& lengths, const PairBatchOptions& options)
    : lengths_(lengths), options_(options) {
  if (options.max_length < 1) throw usage_error("a context_length of {} is not possible", options.max_length);
  if (options.batch_tokens < 0 || (options.batch_tokens == 0 && options.global_batch < 1))
    throw usage_error("a batch of {} pairs or {} tokens is not possible", options.global_batch,
                      options.batch_tokens);
  if (lengths.size() > UINT32_MAX) throw error("{} pairs are more than heddle can train on", lengths.size());
  sort(options.max_length);
  cut();
  if (options.shuffled) batch_order_.emplace_back(philox_key(options.seed, "data/pairs"), batches());
}

// Fills order_ and classes_; shapes_ gets a shape per class, which cut() makes batches of.
void PairBatches::sort(std::int64_t max_length) {
  std::int32_t longest = 0;
  for (const PairLength& pair : lengths_) {
    if (std::max(pair.source, pair.target) <= max_length)
      longest = std::max({longest, pair.source, pair.target});
  }
  const Grid grid(longest);
  const std::size_t width = grid.lengths.size();
  const auto for_each_pair = [&](auto&& visit) {
    for (std::size_t i = 0; i < lengths_.size(); ++i) {
      const PairLength& pair = lengths_[i];
      if (std::max(pair.source, pair.target) > max_length) continue;
      visit(i, grid.cell_of[static_cast<std::size_t>(pair.target)] * width +
                   grid.cell_of[static_cast<std::size_t>(pair.source)]);
    }
  };
  std::vector<std::int64_t> count(width * width), place(width * width);
  for_each_pair([&](std::size_t i, std::size_t cell) {
    ++count[cell];
    source_tokens_ += lengths_[i].source;
    target_tokens_ += lengths_[i].target;
  });
  std::int64_t places = 0;
  for (std::size_t target = 0, rows = 0; target < width; ++target) {
    const bool up = rows % 2 == 0;
    const std::int64_t row_begin = places;
    for (std::size_t i = 0; i < width; ++i) {
      const std::size_t source = up ? i : width - 1 - i, cell = target * width + source;
      if (count[cell] == 0) continue;
      place[cell] = places;
      const std::uint64_t key = philox_key(
          options_.seed, fmt::format("data/pairs/{}/{}", grid.lengths[target], grid.lengths[source]));
      classes_.push_back({places, KeyedPermutation(key, count[cell])});
      shapes_.push_back({count[cell], grid.lengths[target], grid.lengths[source]});
      places += count[cell];
    }
    rows += places > row_begin;
  }
  order_.resize(static_cast<std::size_t>(places));
  for_each_pair([&](std::size_t i, std::size_t cell) {
    order_[static_cast<std::size_t>(place[cell]++)] = static_cast<std::uint32_t>(i);
  });
  left_out_ = static_cast<std::int64_t>(lengths_.size()) - places;
  if (places == 0) {
    throw error("all {} pairs are longer than context_length = {}; use a larger one", lengths_.size(),
                max_length);
  }
}

void PairBatches::cut() {
  std::vector<Shape> batches;
  for (const Shape& of_class : shapes_) {
    std::int64_t left = of_class.pairs;
    while (left > 0) {
      const Shape last = batches.empty() ? Shape{} : batches.back();
      // What the last batch would be if it took more.
      const std::int64_t length = std::max(last.length, of_class.length),
                         source_length = std::max(last.source_length, of_class.source_length);
      const std::int64_t room = options_.batch_tokens > 0
                                    ? options_.batch_tokens / std::max(length, source_length)
                                    : options_.global_batch;
      if (last.pairs > 0 && last.pairs < room) {
        const std::int64_t taken = std::min(room - last.pairs, left);
        batches.back() = {last.pairs + taken, length, source_length};
        left -= taken;
      } else {
        batches.push_back({1, of_class.length, of_class.source_length});
        --left;
      }
    }
  }
  shapes_ = std::move(batches);
  std::int64_t place = 0;
  for (const Shape& shape : shapes_) {
    first_places_.push_back(place);
    place += shape.pairs;
  }
}

std::size_t PairBatches::batch_of(std::int64_t step) const {
  const std::int64_t epoch = step / batches(), index = step % batches();
  return static_cast<std::size_t>(batch_order_.empty() ? index : batch_order_.front()(epoch, index));
}

// Calls visit(pair) for the pairs of a batch in order.
template <typename Visit>
void PairBatches::visit(std::int64_t step, const Visit& visit) const {
  const std::int64_t epoch = step / batches();
  const std::size_t batch = batch_of(step);
  const std::int64_t begin = first_places_[batch], end = begin + shapes_[batch].pairs;
  auto found = std::upper_bound(classes_.begin(), classes_.end(), begin,
                                [](std::int64_t place, const Class& c) { return place < c.first_place; });
  --found;
  for (std::int64_t place = begin; place < end; ++place) {
    std::int64_t member = place - found->first_place;
    if (member == found->permutation.size()) {
      ++found;
      member = 0;
    }
    if (options_.shuffled) member = found->permutation(epoch, member);
    visit(static_cast<std::int64_t>(order_[static_cast<std::size_t>(found->first_place + member)]));
  }
}

void PairBatches::list(std::int64_t step, std::vector<std::int64_t>& pairs) const {
  pairs.clear();
  visit(step, [&](std::int64_t pair) { pairs.push_back(pair); });
}

std::int64_t PairBatches::target_tokens(std::int64_t step) const {
  std::int64_t tokens = 0;
  visit(step, [&](std::int64_t pair) { tokens += lengths_[static_cast<std::size_t>(pair)].target; });
  return tokens;
}

PairBatches::Waste PairBatches::waste() const {
  std::int64_t source = 0, target = 0;
  for (const Shape& shape : shapes_) {
    source += shape.pairs * shape.source_length;
    target += shape.pairs * shape.length;
  }
  const auto share = [](std::int64_t tokens, std::int64_t positions) {
    return 1 - static_cast<double>(tokens) / static_cast<double>(positions);
  };
  return {share(source_tokens_, source), share(target_tokens_, target),
          share(source_tokens_ + target_tokens_, source + target)};
}

}  // namespace heddle
