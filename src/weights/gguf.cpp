#include "weights/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "base/error.h"

namespace qwill {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian and is mapped, not converted");

constexpr std::string_view kMagic = "GGUF";
constexpr uint64_t kMaxNameBytes = 65535;  // the format's bound on keys
constexpr uint32_t kMaxDims = 4;
constexpr uint64_t kDefaultAlignment = 32;
// What an entry takes at least: of metadata the length of a key, a kind and a byte; of the table the length of a name,
// the number of dimensions, one of them, type and offset.
constexpr uint64_t kMinValueBytes = 8 + 4 + 1, kMinTensorBytes = 8 + 4 + 8 + 4 + 8;

// The types that the format numbers; those without dtype and format are known by name and size alone.
struct TensorType {
  uint32_t id;
  std::string_view name;
  int64_t cols, bytes;  // of a block, or of one value
  std::optional<DType> dtype;
  BlockFormat format = BlockFormat::none;
};
constexpr TensorType block_type(uint32_t id, std::string_view name, BlockFormat format) {
  const BlockShape shape = block_shape(format);
  return {id, name, shape.cols, shape.bytes, DType::bf16, format};
}
constexpr TensorType kTensorTypes[] = {
    {0, "F32", 1, 4, DType::f32},
    {1, "F16", 1, 2, DType::f16},
    {30, "BF16", 1, 2, DType::bf16},
    block_type(2, "Q4_0", BlockFormat::q4_0),
    block_type(3, "Q4_1", BlockFormat::q4_1),
    block_type(6, "Q5_0", BlockFormat::q5_0),
    block_type(7, "Q5_1", BlockFormat::q5_1),
    block_type(8, "Q8_0", BlockFormat::q8_0),
    block_type(10, "Q2_K", BlockFormat::q2_k),
    block_type(11, "Q3_K", BlockFormat::q3_k),
    block_type(12, "Q4_K", BlockFormat::q4_k),
    block_type(13, "Q5_K", BlockFormat::q5_k),
    block_type(14, "Q6_K", BlockFormat::q6_k),
    block_type(20, "IQ4_NL", BlockFormat::iq4_nl),
    block_type(23, "IQ4_XS", BlockFormat::iq4_xs),
    {9, "Q8_1", 32, 40, {}},
    {15, "Q8_K", 256, 292, {}},
    {16, "IQ2_XXS", 256, 66, {}},
    {17, "IQ2_XS", 256, 74, {}},
    {18, "IQ3_XXS", 256, 98, {}},
    {19, "IQ1_S", 256, 50, {}},
    {21, "IQ3_S", 256, 110, {}},
    {22, "IQ2_S", 256, 82, {}},
    {24, "I8", 1, 1, {}},
    {25, "I16", 1, 2, {}},
    {26, "I32", 1, 4, {}},
    {27, "I64", 1, 8, {}},
    {28, "F64", 1, 8, {}},
    {29, "IQ1_M", 256, 56, {}},
    {34, "TQ1_0", 256, 54, {}},
    {35, "TQ2_0", 256, 66, {}},
    {39, "MXFP4", 32, 17, {}},
    {40, "NVFP4", 64, 36, {}},
};

const TensorType* find_tensor_type(uint32_t id) {
  const auto* const found = std::ranges::find(kTensorTypes, id, &TensorType::id);
  return found == std::end(kTensorTypes) ? nullptr : found;
}

// Takes the file's parts from front to back; what there is too little of is told with its place.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::span<const std::byte> take(uint64_t size, std::string_view what) {
    if (size > left())
      fail_invalid("{}: {} bytes at byte {}, but the file has {} (cut short?)", what, size, at_, bytes_.size());
    at_ += size;
    return bytes_.subspan(at_ - size, size);
  }
  template <typename T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }
  std::span<const std::byte> string(std::string_view what) { return take(number<uint64_t>(what), what); }
  std::string_view name(std::string_view what) {
    const uint64_t at = at_;
    const auto bytes = string(what);
    if (bytes.empty() || bytes.size() > kMaxNameBytes)
      fail_invalid("{}: {} bytes at byte {}, expected 1 to {}", what, bytes.size(), at, kMaxNameBytes);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // A count of things of so many bytes each at least.
  uint64_t count(std::string_view what, uint64_t least_bytes) {
    const uint64_t at = at_, value = number<uint64_t>(what);
    check_count(what, value, least_bytes, at);
    return value;
  }
  void check_count(std::string_view what, uint64_t value, uint64_t least_bytes, uint64_t at) const {
    if (value > left() / least_bytes)
      fail_invalid("{}: {} at byte {} do not fit the {} bytes that follow (cut short?)", what, value, at, left());
  }
  uint64_t at() const { return at_; }

 private:
  uint64_t left() const { return bytes_.size() - at_; }

  std::span<const std::byte> bytes_;
  uint64_t at_ = 0;
};

struct Counts {
  uint64_t tensors, values;
};

Counts read_head(Reader& reader, std::string_view text) {
  if (!text.starts_with(kMagic))
    fail_invalid("not a GGUF file: it begins with \"{}\"", printable(text.substr(0, kMagic.size())));
  reader.take(kMagic.size(), "magic");
  const auto version = reader.number<uint32_t>("version");
  if (version != 2 && version != 3) {
    if ((version & 0xffff) == 0 && version != 0) fail_unsupported("version: a big-endian file");
    fail_unsupported("version: {} is not supported, only 2 and 3 are", version);
  }
  const uint64_t tensors = reader.count("number of tensors", kMinTensorBytes);
  return {tensors, reader.count("number of metadata entries", kMinValueBytes)};
}

GgufType read_type(Reader& reader, std::string_view what) {
  const auto id = reader.number<uint32_t>(what);
  if (id >= kNumGgufTypes) fail_invalid("{}: {} is none of the format's", what, id);
  return static_cast<GgufType>(id);
}

void check_boolean(std::byte value) {
  if (std::to_integer<int>(value) > 1) fail_invalid("expected a boolean, found {}", std::to_integer<int>(value));
}

GgufValue read_array(Reader& reader, std::span<const std::byte> file) {
  const GgufType element = read_type(reader, "kind of elements");
  if (element == GgufType::array) fail_unsupported("a list of lists");
  const uint64_t size = gguf_type_bytes(element);
  const uint64_t count = reader.count("number of elements", size == 0 ? sizeof(uint64_t) : size);
  if (size != 0) {
    const auto bytes = reader.take(count * size, "elements");
    if (element == GgufType::boolean) std::ranges::for_each(bytes, check_boolean);
    return {element, count, bytes};
  }
  const uint64_t begin = reader.at();
  for (uint64_t i = 0; i < count; ++i) reader.string("string");
  return {element, count, file.subspan(begin, reader.at() - begin)};
}

GgufValue read_value(Reader& reader, std::span<const std::byte> file) {
  const GgufType type = read_type(reader, "kind of value");
  if (type == GgufType::array) return read_array(reader, file);
  if (type == GgufType::string) return {type, reader.string("string")};
  const auto bytes = reader.take(gguf_type_bytes(type), "value");
  if (type == GgufType::boolean) check_boolean(bytes[0]);
  return {type, bytes};
}

// One entry of the table: what it says, before it is held against the data.
struct Entry {
  std::string_view name;
  uint32_t type_id;
  const TensorType* type;      // null: unknown
  std::vector<int64_t> shape;  // the longest stride first
  uint64_t begin, bytes;
};

std::string shape_text(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

// Bytes that shape and type ask for; 0 for an unknown type.
uint64_t expected_bytes(const Entry& entry) {
  if (!entry.type) return 0;
  if (entry.shape.back() % entry.type->cols != 0)
    fail_invalid("shape: rows of {} are not whole blocks of {}, as {} has them", shape_text(entry.shape),
                 entry.type->cols, entry.type->name);
  uint64_t bytes = static_cast<uint64_t>(entry.shape.back() / entry.type->cols);
  bool overflow = __builtin_mul_overflow(bytes, static_cast<uint64_t>(entry.type->bytes), &bytes);
  for (size_t i = 0; i + 1 < entry.shape.size(); ++i)
    overflow |= __builtin_mul_overflow(bytes, static_cast<uint64_t>(entry.shape[i]), &bytes);
  if (overflow) fail_invalid("shape: {} is too large", shape_text(entry.shape));
  return bytes;
}

Entry read_entry(Reader& reader) {
  Entry entry{};
  entry.name = reader.name("name of a tensor");
  with_context(printable(entry.name, 200), [&] {
    const auto dims = reader.number<uint32_t>("number of dimensions");
    if (dims < 1 || dims > kMaxDims) fail_invalid("number of dimensions: expected 1 to {}, found {}", kMaxDims, dims);
    for (uint32_t i = 0; i < dims; ++i) {
      const auto size = reader.number<uint64_t>("dimension");
      if (size < 1 || size > uint64_t{1} << 50) fail_invalid("dimension: expected 1 to 2^50, found {}", size);
      entry.shape.insert(entry.shape.begin(), static_cast<int64_t>(size));
    }
    entry.type_id = reader.number<uint32_t>("type");
    entry.type = find_tensor_type(entry.type_id);
    entry.begin = reader.number<uint64_t>("offset");
    entry.bytes = expected_bytes(entry);
  });
  return entry;
}

uint64_t read_alignment(const std::map<std::string_view, GgufValue>& metadata) {
  constexpr std::string_view kKey = "general.alignment";
  const auto found = metadata.find(kKey);
  if (found == metadata.end()) return kDefaultAlignment;
  return with_context(kKey, [&] {
    const int64_t value = found->second.as_integer();
    if (value < 1 || value > int64_t{1} << 30 || !std::has_single_bit(static_cast<uint64_t>(value)))
      fail_invalid("{} is no power of two", value);
    return static_cast<uint64_t>(value);
  });
}

}  // namespace

GgufFile GgufFile::parse(MappedFile mapped) {
  GgufFile out;
  out.file_ = std::move(mapped);
  return with_context(out.file_.name(), [&] {
    const auto bytes = out.file_.bytes();
    Reader reader(bytes);
    const Counts counts = read_head(reader, out.file_.text());
    for (uint64_t i = 0; i < counts.values; ++i) {
      const std::string_view key = reader.name("key of metadata");
      with_context(printable(key, 200), [&] {
        if (!out.metadata_.emplace(key, read_value(reader, bytes)).second) fail_invalid("given twice");
      });
    }
    reader.check_count("number of tensors", counts.tensors, kMinTensorBytes, reader.at());
    std::vector<Entry> entries;
    entries.reserve(counts.tensors);
    for (uint64_t i = 0; i < counts.tensors; ++i) entries.push_back(read_entry(reader));
    std::ranges::stable_sort(entries, {}, &Entry::begin);

    // In the order of their offsets they must lie one behind another; holes between them are padding.
    const uint64_t alignment = read_alignment(out.metadata_);
    const uint64_t first = std::min<uint64_t>((reader.at() + alignment - 1) / alignment * alignment, bytes.size());
    const auto data = bytes.subspan(first);
    uint64_t position = 0;
    for (Entry& entry : entries) {
      with_context(printable(entry.name, 200), [&] {
        if (out.tensors_.contains(entry.name) || out.unsupported_.contains(entry.name)) fail_invalid("given twice");
        if (entry.begin % alignment != 0)
          fail_invalid("offset: {} is no multiple of the alignment {}", entry.begin, alignment);
        if (entry.begin < position)
          fail_invalid("offset: begins at {}, but the tensor before ends at {}", entry.begin, position);
        if (entry.begin > data.size() || entry.bytes > data.size() - entry.begin)
          fail_invalid("offset: {} bytes at {}, but the file holds {} bytes of data (cut short?)", entry.bytes,
                       entry.begin, data.size());
        position = entry.begin + entry.bytes;
        if (entry.type && entry.type->dtype)
          out.tensors_.emplace(entry.name, StoredTensor{*entry.type->dtype, std::move(entry.shape),
                                                        data.subspan(entry.begin, entry.bytes), entry.type->format});
        else
          out.unsupported_.emplace(
              entry.name, entry.type ? std::string(entry.type->name) : fmt::format("number {}", entry.type_id));
      });
    }
    return std::move(out);
  });
}

const GgufValue* GgufFile::find_value(std::string_view key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? nullptr : &found->second;
}

}  // namespace qwill
