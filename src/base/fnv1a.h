// The 64-bit FNV-1a hash of a text: the same everywhere and for ever, so that it may be written to files.
#pragma once

#include <cstdint>
#include <string_view>

namespace qwill {

constexpr uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace qwill
