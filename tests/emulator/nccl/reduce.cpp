#include "tests/emulator/nccl/reduce.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/tensor.h"

namespace heddle::emulator {

namespace {

template <typename Sum>
Sum combine(ncclRedOp_t operation, Sum a, Sum b) {
  switch (operation) {
    case ncclMax: return std::max(a, b);
    case ncclMin: return std::min(a, b);
    default: break;
  }
  if constexpr (std::is_integral_v<Sum>)  // wraps around
    return static_cast<Sum>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
  else
    return a + b;
}

template <typename T>
T load(const std::byte* data, std::size_t i) {
  T value;
  std::memcpy(&value, data + i * sizeof(T), sizeof value);
  return value;
}

template <typename T, typename Sum = T>
void reduce_as(ncclRedOp_t operation, const std::vector<const std::byte*>& parts, std::size_t count,
               std::byte* out) {
  for (std::size_t i = 0; i < count; ++i) {
    Sum sum = static_cast<Sum>(load<T>(parts[0], i));
    for (std::size_t p = 1; p < parts.size(); ++p)
      sum = combine<Sum>(operation, sum, static_cast<Sum>(load<T>(parts[p], i)));
    const T result = static_cast<T>(sum);
    std::memcpy(out + i * sizeof(T), &result, sizeof result);
  }
}

}  // namespace

std::size_t size_of(ncclDataType_t type) {
  switch (type) {
    case ncclInt8:
    case ncclUint8: return 1;
    case ncclBfloat16: return 2;
    case ncclInt32:
    case ncclFloat32: return 4;
    case ncclInt64:
    case ncclFloat64: return 8;
    default: return 0;
  }
}

const char* name_of(ncclDataType_t type) {
  switch (type) {
    case ncclInt8: return "i8";
    case ncclUint8: return "u8";
    case ncclBfloat16: return "bf16";
    case ncclInt32: return "i32";
    case ncclFloat32: return "f32";
    case ncclInt64: return "i64";
    case ncclFloat64: return "f64";
    default: return "elements of an unknown type";
  }
}

const char* name_of(ncclRedOp_t operation) {
  switch (operation) {
    case ncclSum: return "sum";
    case ncclMax: return "max";
    case ncclMin: return "min";
    default: return "unknown reduction";
  }
}

bool is_emulated(ncclRedOp_t operation) {
  return operation == ncclSum || operation == ncclMax || operation == ncclMin;
}

void reduce(ncclDataType_t type, ncclRedOp_t operation, const std::vector<const std::byte*>& parts,
            std::size_t count, std::byte* out) {
  switch (type) {
    case ncclInt8: return reduce_as<std::int8_t>(operation, parts, count, out);
    case ncclUint8: return reduce_as<std::uint8_t>(operation, parts, count, out);
    case ncclBfloat16: return reduce_as<bfloat16, float>(operation, parts, count, out);
    case ncclInt32: return reduce_as<std::int32_t>(operation, parts, count, out);
    case ncclFloat32: return reduce_as<float>(operation, parts, count, out);
    case ncclInt64: return reduce_as<std::int64_t>(operation, parts, count, out);
    case ncclFloat64: return reduce_as<double>(operation, parts, count, out);
    default: return;
  }
}

}  // namespace heddle::emulator
