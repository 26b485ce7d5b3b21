// One value of a GGUF file's metadata: a view into the mapped file, checked when the file was parsed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace qwill {

// As the format numbers them.
enum class GgufType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };
constexpr uint32_t kNumGgufTypes = 13;

// Bytes of a value of a fixed size; 0 for strings and arrays.
constexpr uint64_t gguf_type_bytes(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean: return 1;
    case GgufType::u16:
    case GgufType::i16: return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32: return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64: return 8;
    case GgufType::string:
    case GgufType::array: break;
  }
  return 0;
}

// Access throws Error(invalid) "expected an integer, found a string" for the wrong kind; callers add where.
class GgufValue {
 public:
  // bytes: of a number its own, of a string its text; of an array its elements as they lie in the file, strings with
  // their lengths before them, all inside.
  GgufValue(GgufType type, std::span<const std::byte> bytes) : type_(type), bytes_(bytes) {}
  GgufValue(GgufType element, uint64_t count, std::span<const std::byte> bytes)
      : type_(GgufType::array), element_(element), count_(count), bytes_(bytes) {}

  bool as_boolean() const;
  int64_t as_integer() const;
  double as_number() const;  // integers too
  std::string_view as_string() const;
  std::vector<int64_t> as_integers() const;
  std::vector<std::string_view> as_strings() const;
  bool is_array() const { return type_ == GgufType::array; }
  uint64_t array_size() const { return count_; }

  // "an integer", "a list of strings", … for messages.
  std::string_view kind_name() const;

 private:
  [[noreturn]] void fail_kind(std::string_view expected) const;

  GgufType type_;
  GgufType element_ = GgufType::u8;  // of an array
  uint64_t count_ = 1;
  std::span<const std::byte> bytes_;
};

}  // namespace qwill
