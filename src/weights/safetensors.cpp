#include "weights/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "base/json.h"

namespace qwill {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian and is mapped, not converted");

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference reader's bound

// Every dtype that the reference reader (safetensors 0.8) knows.
struct FormatDType {
  std::string_view name;
  uint64_t bits;
  std::optional<DType> dtype;
};
constexpr FormatDType kFormatDTypes[] = {
    {"F32", 32, DType::f32},
    {"BF16", 16, DType::bf16},
    {"F16", 16, DType::f16},
    {"F8_E4M3", 8, DType::f8_e4m3},
    {"I8", 8, DType::i8},
    {"U8", 8, DType::u8},
    {"I16", 16, DType::i16},
    {"I32", 32, DType::i32},
    {"I64", 64, DType::i64},
    {"F64", 64, DType::f64},
    {"BOOL", 8, DType::boolean},
    {"U16", 16, {}},
    {"U32", 32, {}},
    {"U64", 64, {}},
    {"C64", 64, {}},
    {"F8_E5M2", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F8_E4M3FNUZ", 8, {}},
    {"F8_E5M2FNUZ", 8, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"F4", 4, {}},
};

const FormatDType& format_dtype(std::string_view name) {
  const auto* const found = std::find_if(std::begin(kFormatDTypes), std::end(kFormatDTypes),
                                         [&](const FormatDType& d) { return d.name == name; });
  if (found == std::end(kFormatDTypes)) fail_invalid("dtype: {} is not one that the format has", printable(name));
  return *found;
}

// One entry of the header: what it says, before it is held against the data.
struct Entry {
  const std::string* name;
  const FormatDType* dtype;
  std::vector<int64_t> shape;
  uint64_t begin, end;
};

uint64_t non_negative(const Json& json) {
  if (json.is_number() && !json.is_integer()) fail_invalid("expected an integer, found a number");
  const int64_t value = json.as_integer();
  if (value < 0) fail_invalid("expected a count, found {}", value);
  return static_cast<uint64_t>(value);
}

const Json& required(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  if (!value) fail_invalid("{}: missing", key);
  return *value;
}

Entry read_entry(const std::string& name, const Json& json) {
  json.as_object();
  Entry entry{&name, nullptr, {}, 0, 0};
  const Json& dtype = required(json, "dtype");
  entry.dtype = &format_dtype(with_context("dtype", [&]() -> auto& { return dtype.as_string(); }));
  const Json& shape = required(json, "shape");
  with_context("shape", [&] {
    for (const Json& size : shape.as_array()) entry.shape.push_back(static_cast<int64_t>(non_negative(size)));
  });
  const Json& offsets = required(json, "data_offsets");
  with_context("data_offsets", [&] {
    const auto& items = offsets.as_array();
    if (items.size() != 2) fail_invalid("expected [begin, end], found {} items", items.size());
    entry.begin = non_negative(items[0]);
    entry.end = non_negative(items[1]);
    if (entry.end < entry.begin) fail_invalid("[{}, {}] ends before it begins", entry.begin, entry.end);
  });
  return entry;
}

std::string shape_text(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

// Bytes that shape and dtype ask for. The product is taken left to right and may not overflow even if a zero follows.
uint64_t expected_bytes(const Entry& entry) {
  uint64_t bits = 1;
  bool overflow = false;
  for (const int64_t size : entry.shape) overflow |= __builtin_mul_overflow(bits, static_cast<uint64_t>(size), &bits);
  overflow |= __builtin_mul_overflow(bits, entry.dtype->bits, &bits);
  if (overflow) fail_invalid("shape: {} is too large", shape_text(entry.shape));
  if (bits % 8 != 0)
    fail_invalid("shape: {} of {} does not fill whole bytes", shape_text(entry.shape), entry.dtype->name);
  return bits / 8;
}

// The header's text, without the length in front of it. offset: where the data begins.
std::string_view header_text(const MappedFile& file, uint64_t& offset) {
  const uint64_t size = file.bytes().size();
  if (size < kLengthBytes) fail_invalid("not a safetensors file: {} bytes are too few for a header", size);
  uint64_t length = 0;
  std::memcpy(&length, file.bytes().data(), kLengthBytes);
  if (length > kMaxHeaderBytes)
    fail_invalid("not a safetensors file: a header of {} bytes (at most {} are allowed)", length, kMaxHeaderBytes);
  if (length > size - kLengthBytes) fail_invalid("cut short: the header has {} bytes, the file has {}", length, size);
  offset = kLengthBytes + length;
  return file.text().substr(kLengthBytes, length);
}

std::vector<Entry> read_entries(const Json& header, std::map<std::string, std::string, std::less<>>& metadata) {
  std::vector<Entry> entries;
  const auto& members = with_context("header", [&]() -> auto& { return header.as_object(); });
  entries.reserve(members.size());
  for (const auto& [name, value] : members) {
    const Json& json = value;
    const std::string& tensor = name;
    if (name != "__metadata__") {
      with_context(printable(name, 200), [&] { entries.push_back(read_entry(tensor, json)); });
    } else if (!json.is_null()) {
      with_context(name, [&] {
        for (const auto& [key, text] : json.as_object())
          metadata[key] = with_context(printable(key), [&t = text]() -> auto& { return t.as_string(); });
      });
    }
  }
  return entries;
}

}  // namespace

SafetensorsFile SafetensorsFile::parse(MappedFile mapped) {
  SafetensorsFile out;
  out.file_ = std::move(mapped);
  return with_context(out.file_.name(), [&] {
    uint64_t data_offset = 0;
    const Json header = with_context("header", [&] { return Json::parse(header_text(out.file_, data_offset)); });
    std::vector<Entry> entries = read_entries(header, out.metadata_);
    std::sort(entries.begin(), entries.end(),
              [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });

    // In the order of their offsets the tensors must tile the data area, each as long as its shape says.
    const auto data = out.file_.bytes().subspan(data_offset);
    uint64_t position = 0;
    for (Entry& entry : entries) {
      with_context(printable(*entry.name, 200), [&] {
        const uint64_t bytes = expected_bytes(entry);
        if (entry.end - entry.begin != bytes)
          fail_invalid("data_offsets: [{}, {}] hold {} bytes, {} {} needs {}", entry.begin, entry.end,
                       entry.end - entry.begin, entry.dtype->name, shape_text(entry.shape), bytes);
        if (entry.begin != position)
          fail_invalid("data_offsets: begin at {}, but the tensor before ends at {}", entry.begin, position);
        if (entry.end > data.size())
          fail_invalid("data_offsets: end at {}, but the file holds {} bytes of data (cut short?)", entry.end,
                       data.size());
        position = entry.end;
        if (entry.dtype->dtype)
          out.tensors_.emplace(
              *entry.name, StoredTensor{*entry.dtype->dtype, std::move(entry.shape), data.subspan(entry.begin, bytes)});
        else
          out.unsupported_.emplace(*entry.name, entry.dtype->name);
      });
    }
    if (position != data.size()) fail_invalid("{} bytes follow the last tensor", data.size() - position);
    return std::move(out);
  });
}

std::string_view safetensors_dtype_name(DType dtype) {
  for (const FormatDType& format : kFormatDTypes)
    if (format.dtype == dtype) return format.name;
  return "";
}

}  // namespace qwill
