// The element types of safetensors files and their names.
#include <array>

#include "trainer/checkpoint/safetensors.h"

namespace heddle {

namespace {

struct TypeRow {
  std::string_view name;
  int bits;
};

// In the order of SafetensorsType.
constexpr std::array<TypeRow, 22> kTypes = {{
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
}};
static_assert(kTypes[static_cast<std::size_t>(SafetensorsType::U64)].name == "U64");
static_assert(kTypes[static_cast<std::size_t>(SafetensorsType::F32)].name == "F32");

}  // namespace

int bits_of(SafetensorsType type) {
  return kTypes[static_cast<std::size_t>(type)].bits;
}

std::string_view name_of(SafetensorsType type) {
  return kTypes[static_cast<std::size_t>(type)].name;
}

std::optional<SafetensorsType> safetensors_type_of(std::string_view name) {
  for (std::size_t i = 0; i < kTypes.size(); ++i)
    if (kTypes[i].name == name) return static_cast<SafetensorsType>(i);
  return std::nullopt;
}

SafetensorsType safetensors_type_of(DType dtype) {
  switch (dtype) {
    case DType::f32: return SafetensorsType::F32;
    case DType::bf16: return SafetensorsType::BF16;
    case DType::i32: return SafetensorsType::I32;
    case DType::u8: return SafetensorsType::U8;
    case DType::f64: return SafetensorsType::F64;
  }
  return SafetensorsType::U8;
}

std::optional<DType> dtype_of(SafetensorsType type) {
  switch (type) {
    case SafetensorsType::F32: return DType::f32;
    case SafetensorsType::BF16: return DType::bf16;
    case SafetensorsType::I32: return DType::i32;
    case SafetensorsType::U8: return DType::u8;
    case SafetensorsType::F64: return DType::f64;
    default: return std::nullopt;
  }
}

}  // namespace heddle
