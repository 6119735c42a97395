// CUDA's arithmetic and mathematical functions for device code. What the device approximates is computed
// exactly here, within float's rounding: tests against a device need their tolerance, tests here do not learn
// it.
#pragma once

#include <math.h>

#include <bit>
#include <cmath>
#include <cstdint>

// --- integers ---

inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<unsigned long long>(a) * b >> 32);
}
inline int __mulhi(int a, int b) {
  return static_cast<int>(static_cast<long long>(a) * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline long long __mul64hi(long long a, long long b) {
  return static_cast<long long>(static_cast<__int128>(a) * b >> 64);
}
inline int __popc(unsigned x) {
  return std::popcount(x);
}
inline int __popcll(unsigned long long x) {
  return std::popcount(x);
}
inline int __clz(int x) {
  return std::countl_zero(static_cast<unsigned>(x));
}
inline int __clzll(long long x) {
  return std::countl_zero(static_cast<unsigned long long>(x));
}
// Position of the lowest set bit, from 1; 0 if there is none.
inline int __ffs(int x) {
  return x == 0 ? 0 : 1 + std::countr_zero(static_cast<unsigned>(x));
}

constexpr int min(int a, int b) {
  return b < a ? b : a;
}
constexpr int max(int a, int b) {
  return a < b ? b : a;
}
constexpr unsigned min(unsigned a, unsigned b) {
  return b < a ? b : a;
}
constexpr unsigned max(unsigned a, unsigned b) {
  return a < b ? b : a;
}
constexpr long min(long a, long b) {
  return b < a ? b : a;
}
constexpr long max(long a, long b) {
  return a < b ? b : a;
}
constexpr unsigned long min(unsigned long a, unsigned long b) {
  return b < a ? b : a;
}
constexpr unsigned long max(unsigned long a, unsigned long b) {
  return a < b ? b : a;
}
constexpr long long min(long long a, long long b) {
  return b < a ? b : a;
}
constexpr long long max(long long a, long long b) {
  return a < b ? b : a;
}
constexpr unsigned long long min(unsigned long long a, unsigned long long b) {
  return b < a ? b : a;
}
constexpr unsigned long long max(unsigned long long a, unsigned long long b) {
  return a < b ? b : a;
}
// As fminf() and fmaxf(): of a number and a NaN, the number.
inline float min(float a, float b) {
  return fminf(a, b);
}
inline float max(float a, float b) {
  return fmaxf(a, b);
}
inline double min(double a, double b) {
  return fmin(a, b);
}
inline double max(double a, double b) {
  return fmax(a, b);
}

// --- bits of floats ---

inline unsigned __float_as_uint(float x) {
  return std::bit_cast<unsigned>(x);
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}
inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
inline float __int_as_float(int x) {
  return std::bit_cast<float>(x);
}

// --- floats ---

inline float rsqrtf(float x) {
  return 1.0f / sqrtf(x);
}

// Rounded to nearest, and never joined with a neighbouring operation into a fused multiply-add.
namespace heddle::emulator {
inline float rounded(float x) {
  volatile float stored = x;
  return stored;
}
inline float exp(float x) {
  return ::expf(x);
}
inline float log(float x) {
  return ::logf(x);
}
}  // namespace heddle::emulator

inline float __fmaf_rn(float a, float b, float c) {
  return fmaf(a, b, c);
}
inline float __fadd_rn(float a, float b) {
  return heddle::emulator::rounded(a + b);
}
inline float __fsub_rn(float a, float b) {
  return heddle::emulator::rounded(a - b);
}
inline float __fmul_rn(float a, float b) {
  return heddle::emulator::rounded(a * b);
}
inline float __frcp_rn(float x) {
  return 1.0f / x;
}
inline float __fdividef(float a, float b) {
  return a / b;
}
// Macros, because C libraries declare functions of these names.
#define __expf(x) ::heddle::emulator::exp(x)
#define __logf(x) ::heddle::emulator::log(x)
