#include "parallel/collective.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "kernels/error.h"

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

namespace {

void require_contiguous(const char* collective, const Tensor& x, const char* label) {
  if (!x.contiguous())
    throw error("{} \"{}\": the tensor {} is not contiguous", collective, label, x.shape.to_string());
}

void require_numbers(const char* collective, const Tensor& x, const char* label) {
  require_contiguous(collective, x, label);
  if (x.dtype == DType::u8) throw error("{} \"{}\": u8 values cannot be reduced", collective, label);
}

}  // namespace

CollectiveCall all_reduce_call(const Tensor& x, Reduction reduction, const char* label) {
  require_numbers("all_reduce", x, label);
  return CollectiveCall(CollectiveKind::all_reduce, element_of(x.dtype), x.count(), label, reduction);
}

CollectiveCall all_gather_call(const Tensor& in, const Tensor& out, int ranks, const char* label) {
  require_contiguous("all_gather", in, label);
  require_contiguous("all_gather", out, label);
  if (in.dtype != out.dtype || in.count() * ranks != out.count())
    throw error("all_gather \"{}\": {} {} from each of {} ranks do not make {} {}", label, in.count(),
                name_of(in.dtype), ranks, out.count(), name_of(out.dtype));
  return CollectiveCall(CollectiveKind::all_gather, element_of(out.dtype), out.count(), label);
}

CollectiveCall reduce_scatter_call(const Tensor& in, const Tensor& out, int ranks, const char* label) {
  require_numbers("reduce_scatter", in, label);
  require_contiguous("reduce_scatter", out, label);
  if (in.dtype != out.dtype || out.count() * ranks != in.count())
    throw error("reduce_scatter \"{}\": {} {} for each of {} ranks do not make {} {}", label, out.count(),
                name_of(out.dtype), ranks, in.count(), name_of(in.dtype));
  return CollectiveCall(CollectiveKind::reduce_scatter, element_of(in.dtype), in.count(), label);
}

CollectiveCall broadcast_call(const Tensor& x, int root, int ranks, const char* label) {
  require_contiguous("broadcast", x, label);
  if (root < 0 || root >= ranks)
    throw error("broadcast \"{}\": there is no rank {} in a group of {}", label, root, ranks);
  return CollectiveCall(CollectiveKind::broadcast, element_of(x.dtype), x.count(), label, Reduction::sum, root);
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
