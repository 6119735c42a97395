#include "trainer/checkpoint/digest.h"

// Inlined rather than linked: compiled for this machine's vector width, where the shared library uses SSE2.
// g++ 12 takes its own _mm512_undefined_epi32() for an uninitialised read (GCC bug 105593).
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <xxhash.h>

#include <new>

namespace heddle {

namespace {

std::string hex_of(XXH128_hash_t hash) {
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace

struct Digest::State {
  XXH3_state_t stream;
};

Digest::Digest() : state_(new State, [](State* state) { delete state; }) {
  XXH3_128bits_reset(&state_->stream);
}

void Digest::update(const void* data, std::size_t bytes) {
  XXH3_128bits_update(&state_->stream, data, bytes);
}

std::string Digest::hex() const {
  return hex_of(XXH3_128bits_digest(&state_->stream));
}

std::string digest_of(std::string_view bytes) {
  return hex_of(XXH3_128bits(bytes.data(), bytes.size()));
}

}  // namespace heddle
