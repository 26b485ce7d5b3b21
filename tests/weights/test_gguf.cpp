// The container: what it says is read, and what cannot be is refused with one line that says where.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/error.h"
#include "weights/tiny_gguf.h"

namespace qwill::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

GgufFile parse(const std::string& bytes) {
  return GgufFile::parse(MappedFile::view(std::as_bytes(std::span(bytes)), "x.gguf"));
}

std::string parse_error(const std::string& bytes) {
  return error_of([&] { parse(bytes); });
}

std::string number_list(GgufType element, uint64_t count, const std::string& elements) {
  return raw(static_cast<uint32_t>(element)) + raw(count) + elements;
}

TEST(Gguf, ReadsValuesOfEveryKind) {
  GgufWriter writer;
  writer.set_raw("u8", GgufType::u8, raw<uint8_t>(200)).set_raw("i8", GgufType::i8, raw<int8_t>(-3));
  writer.set_raw("u16", GgufType::u16, raw<uint16_t>(60000)).set_raw("i16", GgufType::i16, raw<int16_t>(-300));
  writer.set_raw("u32", GgufType::u32, raw<uint32_t>(4000000000)).set_raw("i32", GgufType::i32, raw<int32_t>(-70000));
  writer.set_raw("u64", GgufType::u64, raw<uint64_t>(1ull << 62)).set_raw("i64", GgufType::i64, raw<int64_t>(-5));
  writer.set_raw("huge", GgufType::u64, raw<uint64_t>(1ull << 63));
  writer.set_raw("f32", GgufType::f32, raw(0.6f)).set_raw("f64", GgufType::f64, raw(0.25));
  writer.set("yes", true).set("text", "two\nlines").set("empty", "");
  writer.set("texts", std::vector<std::string>{"a", "", "ccc"}).set("none", std::vector<std::string>{});
  writer.set_raw("numbers", GgufType::array, number_list(GgufType::u16, 2, raw<uint16_t>(1) + raw<uint16_t>(65535)));
  const std::string bytes = writer.bytes();
  const GgufFile file = parse(bytes);
  const auto integer = [&](std::string_view key) { return file.find_value(key)->as_integer(); };
  EXPECT_EQ(integer("u8"), 200);
  EXPECT_EQ(integer("i8"), -3);
  EXPECT_EQ(integer("u16"), 60000);
  EXPECT_EQ(integer("i16"), -300);
  EXPECT_EQ(integer("u32"), 4000000000);
  EXPECT_EQ(integer("i32"), -70000);
  EXPECT_EQ(integer("u64"), int64_t{1} << 62);
  EXPECT_EQ(integer("i64"), -5);
  EXPECT_EQ(error_of([&] { integer("huge"); }), "9223372036854775808 is too large");
  EXPECT_EQ(file.find_value("f32")->as_number(), 0.6) << "as it was meant, not as float has it";
  EXPECT_EQ(file.find_value("f64")->as_number(), 0.25);
  EXPECT_EQ(file.find_value("u8")->as_number(), 200);
  EXPECT_TRUE(file.find_value("yes")->as_boolean());
  EXPECT_EQ(file.find_value("text")->as_string(), "two\nlines");
  EXPECT_EQ(file.find_value("empty")->as_string(), "");
  EXPECT_THAT(file.find_value("texts")->as_strings(), ElementsAre("a", "", "ccc"));
  EXPECT_THAT(file.find_value("none")->as_strings(), ElementsAre());
  EXPECT_THAT(file.find_value("numbers")->as_integers(), ElementsAre(1, 65535));
  EXPECT_EQ(file.find_value("other"), nullptr);
  const auto misread = [&](std::string_view key, auto read) { return error_of([&] { file.read(key, read); }); };
  const auto as_integer = [](const GgufValue& value) { value.as_integer(); };
  EXPECT_EQ(misread("other", as_integer), "x.gguf: other: missing");
  EXPECT_EQ(misread("text", as_integer), "x.gguf: text: expected an integer, found a string");
  EXPECT_EQ(misread("f32", as_integer), "x.gguf: f32: expected an integer, found a number");
  EXPECT_EQ(misread("numbers", as_integer), "x.gguf: numbers: expected an integer, found a list of integers");
  EXPECT_EQ(misread("texts", [](const GgufValue& value) { value.as_string(); }),
            "x.gguf: texts: expected a string, found a list of strings");
  EXPECT_EQ(misread("numbers", [](const GgufValue& value) { value.as_strings(); }),
            "x.gguf: numbers: expected a list of strings, found a list of integers");
}

TEST(Gguf, ReadsTensors) {
  for (const uint32_t version : {2u, 3u}) {
    for (const uint64_t alignment : {uint64_t{1}, uint64_t{32}, uint64_t{4096}}) {
      GgufWriter writer;
      writer.version = version;
      writer.alignment = alignment;
      writer.tensors = {{"matrix", 30, {3, 2}, "abcdefghijkl"},
                        {"blocks", 8, {2, 1, 32}, std::string(68, 'q')},
                        {"other", 16, {256}, std::string(66, 'x')},
                        {"unheard of", 1234, {5}, "12345"},
                        {"vector", 0, {1}, "1234"}};
      const std::string bytes = writer.bytes();
      const GgufFile file = parse(bytes);
      ASSERT_EQ(file.tensors().size(), 3u);
      const StoredTensor &matrix = *file.find("matrix"), &blocks = *file.find("blocks");
      EXPECT_EQ(matrix.dtype, DType::bf16);
      EXPECT_THAT(matrix.shape, ElementsAre(3, 2));
      EXPECT_EQ(static_cast<char>(matrix.bytes[11]), 'l');
      EXPECT_EQ(blocks.format, BlockFormat::q8_0);
      EXPECT_EQ(blocks.type_name(), "Q8_0");
      EXPECT_THAT(blocks.shape, ElementsAre(2, 1, 32));
      EXPECT_EQ(blocks.bytes.size(), 68u);
      EXPECT_EQ(file.unsupported().at("other"), "IQ2_XXS");
      EXPECT_EQ(file.unsupported().at("unheard of"), "number 1234");
    }
  }
}

GgufWriter small() {
  GgufWriter writer;
  writer.set("general.name", "small").set("list", std::vector<std::string>{"one", "two"}).set("flag", true);
  writer.tensors = {{"a", 0, {2}, "12345678"}, {"b", 8, {1, 32}, std::string(34, 'b')}};
  return writer;
}

TEST(Gguf, RefusesFilesThatAreCut) {
  const std::string bytes = small().bytes();
  EXPECT_EQ(parse_error(bytes), "");
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_THAT(parse_error(bytes.substr(0, size)), StartsWith("x.gguf: ")) << size << " of " << bytes.size();
  EXPECT_EQ(parse_error(bytes + "padding"), "");
}

TEST(Gguf, SurvivesFlippedBytes) {
  const std::string bytes = small().bytes();
  std::mt19937 draw(5);
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (const int value : {0, 1, 0x7f, 0x80, 0xff, static_cast<int>(draw() % 256)}) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(value);
      parse_error(damaged);  // whatever it says, it is one line
    }
  }
}

TEST(Gguf, SaysWhatIsWrongWithTheHead) {
  EXPECT_EQ(parse_error("<html>not found</html>"), "x.gguf: not a GGUF file: it begins with \"<htm\"");
  EXPECT_EQ(parse_error(""), "x.gguf: not a GGUF file: it begins with \"\"");
  const auto head = [](uint32_t version, uint64_t tensors, uint64_t values) {
    return "GGUF" + raw(version) + raw(tensors) + raw(values) + std::string(64, '\0');
  };
  EXPECT_EQ(parse_error(head(1, 0, 0)), "x.gguf: version: 1 is not supported, only 2 and 3 are");
  EXPECT_EQ(parse_error(head(3u << 24, 0, 0)), "x.gguf: version: a big-endian file");
  for (const uint64_t count : {uint64_t{6}, uint64_t{1} << 32, ~uint64_t{0}}) {
    EXPECT_THAT(parse_error(head(3, count, 0)),
                HasSubstr(fmt::format("number of tensors: {} at byte 8 do not fit", count)));
    EXPECT_THAT(parse_error(head(3, 0, count)),
                HasSubstr(fmt::format("number of metadata entries: {} at byte 16 do not fit", count)));
  }
}

TEST(Gguf, SaysWhatIsWrongWithMetadata) {
  const auto value_error = [](GgufType type, const std::string& bytes) {
    return parse_error(GgufWriter().set_raw("key", type, bytes).bytes());
  };
  EXPECT_EQ(value_error(static_cast<GgufType>(13), raw<uint64_t>(0)),
            "x.gguf: key: kind of value: 13 is none of the format's");
  EXPECT_EQ(value_error(GgufType::boolean, "\2"), "x.gguf: key: expected a boolean, found 2");
  EXPECT_THAT(value_error(GgufType::string, raw<uint64_t>(1 << 20)), HasSubstr("key: string: 1048576 bytes at byte"));
  EXPECT_THAT(value_error(GgufType::string, raw(~uint64_t{0})), HasSubstr("(cut short?)"));
  const auto list_error = [&](uint32_t element, uint64_t count, const std::string& elements) {
    return value_error(GgufType::array, raw(element) + raw(count) + elements);
  };
  EXPECT_EQ(list_error(9, 1, number_list(GgufType::u8, 1, "a")), "x.gguf: key: a list of lists");
  EXPECT_EQ(list_error(99, 0, ""), "x.gguf: key: kind of elements: 99 is none of the format's");
  EXPECT_EQ(list_error(7, 2, std::string("\1\7", 2)), "x.gguf: key: expected a boolean, found 7");
  for (const uint32_t element : {0u, 5u, 8u, 12u})
    for (const uint64_t count : {uint64_t{1} << 20, uint64_t{1} << 61, ~uint64_t{0}})
      EXPECT_THAT(list_error(element, count, ""), HasSubstr("key: number of elements: ")) << element << " " << count;
  EXPECT_THAT(list_error(8, 2, gguf_string("a") + raw(~uint64_t{0} - 7)), HasSubstr("key: string: 1844674407370955"));

  const std::string twice = GgufWriter().set("k", 1u).set("j", 1u).bytes();
  std::string damaged = twice;
  damaged[damaged.find('j')] = 'k';
  EXPECT_EQ(parse_error(damaged), "x.gguf: k: given twice");
  EXPECT_THAT(parse_error(GgufWriter().set("", 1u).bytes()), HasSubstr("key of metadata: 0 bytes at byte 24"));
  EXPECT_THAT(parse_error(GgufWriter().set(std::string(70000, 'k'), 1u).bytes()), HasSubstr("70000 bytes at byte 24"));
  EXPECT_THAT(parse_error(GgufWriter().set("a\nb", true).set_raw("a\rb", GgufType::boolean, "\3").bytes()),
              HasSubstr("a\\x0db: expected a boolean"));
  for (const uint32_t alignment : {0u, 3u, 48u, 1u << 31})
    EXPECT_EQ(parse_error(GgufWriter().set("general.alignment", alignment).bytes()),
              fmt::format("x.gguf: general.alignment: {} is no power of two", alignment));
  EXPECT_THAT(parse_error(GgufWriter().set("general.alignment", "x").bytes()), HasSubstr("expected an integer"));
}

TEST(Gguf, SaysWhatIsWrongWithTensors) {
  const auto tensor_error = [](const std::vector<GgufWriter::Tensor>& tensors) {
    GgufWriter writer;
    writer.tensors = tensors;
    return parse_error(writer.bytes());
  };
  EXPECT_EQ(tensor_error({{"t", 0, {}, std::string(100, 'x')}}),
            "x.gguf: t: number of dimensions: expected 1 to 4, found 0");
  EXPECT_THAT(tensor_error({{"t", 0, {1, 1, 1, 1, 1}, "1234"}}), HasSubstr("expected 1 to 4, found 5"));
  EXPECT_THAT(tensor_error({{"t", 0, {0, 4}, std::string(100, 'x')}}),
              HasSubstr("t: dimension: expected 1 to 2^50, found 0"));
  EXPECT_THAT(tensor_error({{"t", 0, {-1}, std::string(100, 'x')}}), HasSubstr("found 18446744073709551615"));
  EXPECT_EQ(tensor_error({{"t", 0, {1 << 30, 1 << 30, 1 << 30}, "1234"}}),
            "x.gguf: t: shape: [1073741824, 1073741824, 1073741824] is too large");
  EXPECT_EQ(tensor_error({{"t", 12, {2, 128}, std::string(144, 'x')}}),
            "x.gguf: t: shape: rows of [2, 128] are not whole blocks of 256, as Q4_K has them");
  EXPECT_THAT(tensor_error({{"t", 0, {100}, "1234"}}), HasSubstr("t: offset: 400 bytes at 0, but the file holds 4"));
  EXPECT_EQ(tensor_error({{"t", 0, {1}, "1234"}, {"t", 0, {1}, "1234"}}), "x.gguf: t: given twice");
  EXPECT_THAT(tensor_error({{"", 0, {1}, "1234"}}), HasSubstr("name of a tensor: 0 bytes"));

  const auto offset_error = [](uint64_t from, uint64_t to) {
    GgufWriter writer;
    writer.tensors = {{"a", 0, {16}, std::string(64, 'a')}, {"b", 0, {8}, std::string(32, 'b')}};
    std::string bytes = writer.bytes();
    const size_t at = bytes.find(raw<uint32_t>(0) + raw(from), bytes.find(gguf_string(from == 0 ? "a" : "b")));
    bytes.replace(at + 4, 8, raw(to));
    return parse_error(bytes);
  };
  EXPECT_EQ(offset_error(64, 64), "");
  EXPECT_EQ(offset_error(64, 32), "x.gguf: b: offset: begins at 32, but the tensor before ends at 64");
  EXPECT_EQ(offset_error(64, 65), "x.gguf: b: offset: 65 is no multiple of the alignment 32");
  EXPECT_THAT(offset_error(64, 96), HasSubstr("b: offset: 32 bytes at 96, but the file holds 96 bytes of data"));
  EXPECT_THAT(offset_error(64, uint64_t{1} << 63), HasSubstr("b: offset: 32 bytes at 9223372036854775808"));
}

}  // namespace
}  // namespace qwill::test
