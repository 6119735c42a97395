#include "tests/emulator/async_copies.h"

#include <algorithm>
#include <cstring>

namespace heddle::emulator {

void AsyncCopies::Copy::arrive() {
  if (arrived) return;
  if (bytes > 0) std::memcpy(shared, global, bytes);
  std::memset(shared + bytes, 0, size - bytes);
  arrived = true;
}

void AsyncCopies::issue(void* shared, const void* global, std::size_t size, std::size_t bytes,
                        const Where& where) {
  std::memset(shared, 0xff, size);
  waiting_.push_back({static_cast<std::byte*>(shared), global, static_cast<std::uint32_t>(size),
                      static_cast<std::uint32_t>(bytes), open_group_, false, where});
}

void AsyncCopies::wait(unsigned pending_groups) {
  // Groups before this one are done; copies that were not committed belong to no group yet.
  const std::uint64_t first_pending = open_group_ > pending_groups ? open_group_ - pending_groups : 0;
  const auto end = std::find_if(waiting_.begin(), waiting_.end(),
                                [&](const Copy& copy) { return copy.group >= first_pending; });
  std::for_each(waiting_.begin(), end, [](Copy& copy) { copy.arrive(); });
  waiting_.erase(waiting_.begin(), end);
}

void AsyncCopies::arrive_one(Random& random) {
  waiting_[random.below(waiting_.size())].arrive();
}

}  // namespace heddle::emulator
