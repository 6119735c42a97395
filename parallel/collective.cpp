#include "parallel/collective.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace heddle {

const char* name_of(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::none: return "none";
    case CollectiveKind::all_reduce: return "all_reduce";
    case CollectiveKind::all_gather: return "all_gather";
    case CollectiveKind::reduce_scatter: return "reduce_scatter";
    case CollectiveKind::broadcast: return "broadcast";
    case CollectiveKind::barrier: return "barrier";
  }
  return "?";
}

std::size_t size_of(Element element) {
  switch (element) {
    case Element::f32: return 4;
    case Element::bf16: return 2;
    case Element::i32: return 4;
    case Element::u8: return 1;
    case Element::f64: return 8;
    case Element::i64: return 8;
  }
  return 0;
}

const char* name_of(Element element) {
  switch (element) {
    case Element::f32: return "f32";
    case Element::bf16: return "bf16";
    case Element::i32: return "i32";
    case Element::u8: return "u8";
    case Element::f64: return "f64";
    case Element::i64: return "i64";
  }
  return "?";
}

Element element_of(DType dtype) {
  switch (dtype) {
    case DType::f32: return Element::f32;
    case DType::bf16: return Element::bf16;
    case DType::i32: return Element::i32;
    case DType::u8: return Element::u8;
    case DType::f64: return Element::f64;
  }
  return Element::u8;
}

CollectiveCall::CollectiveCall(CollectiveKind kind, Element element, std::int64_t count, const char* label,
                               Reduction reduction, int root)
    : kind(kind), element(element), reduction(reduction), root(root), count(count) {
  const std::size_t length = std::min<std::size_t>(std::strlen(label), kLabelBytes - 1);
  std::memcpy(this->label, label, length);
}

bool CollectiveCall::operator==(const CollectiveCall& other) const {
  return kind == other.kind && element == other.element && reduction == other.reduction &&
         root == other.root && count == other.count && std::strncmp(label, other.label, kLabelBytes) == 0;
}

std::uint64_t CollectiveCall::hash() const {
  std::uint64_t h = 14695981039346656037u;  // FNV-1a
  const auto mix = [&h](std::uint64_t value) { h = (h ^ value) * 1099511628211u; };
  mix(static_cast<std::uint64_t>(kind));
  mix(static_cast<std::uint64_t>(element));
  mix(static_cast<std::uint64_t>(reduction));
  mix(static_cast<std::uint64_t>(root));
  mix(static_cast<std::uint64_t>(count));
  for (const char* c = label; *c; ++c) mix(static_cast<unsigned char>(*c));
  return h ^ (h >> 32);
}

std::string CollectiveCall::to_string() const {
  std::string text = fmt::format("{} \"{}\"", name_of(kind), label);
  if (kind != CollectiveKind::barrier) text += fmt::format(" of {} {}", count, name_of(element));
  return text;
}

std::uint64_t bytes_sent(CollectiveKind kind, std::uint64_t bytes, int ranks) {
  const auto n = static_cast<std::uint64_t>(ranks);
  const std::uint64_t share = bytes / n * (n - 1) + bytes % n * (n - 1) / n;
  switch (kind) {
    case CollectiveKind::none:
    case CollectiveKind::barrier: return 0;
    case CollectiveKind::all_reduce: return 2 * share;
    case CollectiveKind::all_gather:
    case CollectiveKind::reduce_scatter:
    case CollectiveKind::broadcast: return share;
  }
  return 0;
}

}  // namespace heddle
