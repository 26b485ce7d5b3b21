#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <span>

#include "base/error.h"
#include "weights/safetensors_writer.h"
#include "weights/tiny_checkpoint.h"

namespace qwill::test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string with_length(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}

SafetensorsFile parse(const std::string& bytes) {
  return SafetensorsFile::parse(MappedFile::view(std::as_bytes(std::span(bytes)), "a.safetensors"));
}

// The message for a header before that many bytes of data; "" if it is accepted.
std::string error_for(const std::string& header, size_t data_bytes) {
  const std::string bytes = with_length(header, std::string(data_bytes, 'x'));
  const std::string message = error_of([&] { parse(bytes); });
  if (message.empty()) return message;
  EXPECT_THAT(message, StartsWith("a.safetensors: "));
  return message;
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

TEST(Safetensors, WritesAndReads) {
  TemporaryFolder folder;
  const std::vector<OwnedTensor> tensors = {
      make_tensor("b", DType::bf16, {3, 5}), make_tensor("scalar", DType::f64, {}), make_tensor("a", DType::u8, {3}),
      make_tensor("empty", DType::f32, {0, 7}), make_tensor("é \"quoted\"", DType::i64, {1})};
  write_tensors(folder.path("t.safetensors"), tensors);
  const std::string bytes = read_file(folder.path("t.safetensors"));
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  EXPECT_EQ(length % 8, 0u) << "the data begins aligned, as the reference writes it";

  const SafetensorsFile file = SafetensorsFile::parse(MappedFile::open(folder.path("t.safetensors")));
  EXPECT_EQ(file.tensors().size(), tensors.size());
  EXPECT_EQ(file.metadata().at("format"), "pt");
  for (const OwnedTensor& tensor : tensors) {
    const StoredTensor* stored = file.find(tensor.name);
    ASSERT_NE(stored, nullptr) << tensor.name;
    EXPECT_EQ(stored->dtype, tensor.dtype);
    EXPECT_EQ(stored->shape, tensor.shape);
    EXPECT_TRUE(std::ranges::equal(stored->bytes, tensor.bytes));
  }
  EXPECT_EQ(file.find("c"), nullptr);
}

TEST(Safetensors, RefusesToWriteWhereItCannot) {
  EXPECT_THAT(error_of([] { write_safetensors("/nonexistent/a.safetensors", {}); }), HasSubstr("cannot write"));
}

// Accepted and refused as the reference reader (safetensors 0.8) does with the same bytes.
TEST(Safetensors, AcceptsWhatTheReferenceAccepts) {
  const std::string one = entry("F32", "[2]", "[0,8]");
  const std::pair<std::string, size_t> cases[] = {
      {"{}", 0},
      {" {}", 0},
      {"{}  \n", 0},
      {R"({"a":)" + one + "}", 8},
      {R"({"a":{"extra":[1,{}],"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8},
      {R"({"":)" + entry("U8", "[1]", "[0,1]") + "}", 1},
      {R"({"a\u0000\n":)" + entry("U8", "[1]", "[0,1]") + "}", 1},
      {R"({"a":)" + entry("F32", "[]", "[0,4]") + "}", 4},
      {R"({"a":)" + one + R"(,"z":)" + entry("F32", "[0]", "[8,8]") + R"(,"b":)" + entry("F32", "[1]", "[8,12]") + "}",
       12},
      {R"({"b":)" + entry("F32", "[1]", "[8,12]") + R"(,"a":)" + one + "}", 12},
      {R"({"a":)" + one + R"(,"a":)" + one + "}", 8},
      {R"({"a":)" + entry("F32", "[0,9223372036854775807,9223372036854775807]", "[0,0]") + "}", 0},
      {R"({"__metadata__":null})", 0},
      {R"({"__metadata__":{"k":"v"}})", 0},
  };
  for (const auto& [header, data_bytes] : cases) EXPECT_EQ(error_for(header, data_bytes), "") << header;
}

TEST(Safetensors, RefusesWhatTheReferenceRefuses) {
  const std::string one = entry("F32", "[2]", "[0,8]");
  const struct {
    std::string header;
    size_t data_bytes;
    const char* message;
  } cases[] = {
      {"", 0, "header: invalid JSON"},
      {"[]", 0, "header: expected an object, found an array"},
      {"{", 0, "header: invalid JSON"},
      {"\xef\xbb\xbf{}", 0, "header: invalid JSON"},
      {std::string("{\0}", 3), 0, "header: invalid JSON"},
      {"{\"\xff\":1}", 0, "not UTF-8"},
      {std::string(100000, '['), 0, "nested deeper"},
      {R"({"a":[]})", 0, "a: expected an object, found an array"},
      {R"({"a":{}})", 0, "a: dtype: missing"},
      {R"({"a":{"dtype":"F32"}})", 0, "a: shape: missing"},
      {R"({"a":{"dtype":"F32","shape":[0]}})", 0, "a: data_offsets: missing"},
      {R"({"a":{"dtype":7,"shape":[0],"data_offsets":[0,0]}})", 0, "a: dtype: expected a string"},
      {R"({"a":)" + entry("f32", "[2]", "[0,8]") + "}", 8, "a: dtype: f32 is not one"},
      {R"({"a":)" + entry("I128", "[2]", "[0,8]") + "}", 8, "a: dtype: I128 is not one"},
      {R"({"a":)" + entry("F32", "2", "[0,8]") + "}", 8, "a: shape: expected an array"},
      {R"({"a":)" + entry("F32", "[-2]", "[0,8]") + "}", 8, "a: shape: expected a count, found -2"},
      {R"({"a":)" + entry("F32", "[2.0]", "[0,8]") + "}", 8, "a: shape: expected an integer"},
      {R"({"a":)" + entry("F32", "[\"2\"]", "[0,8]") + "}", 8, "a: shape: expected an integer"},
      {R"({"a":)" + entry("F32", "[null]", "[0,8]") + "}", 8, "a: shape: expected an integer"},
      {R"({"a":)" + entry("F32", "[99999999999999999999]", "[0,8]") + "}", 8, "a: shape: expected a 64-bit"},
      {R"({"a":)" + entry("F32", "[4294967296,4294967296,4294967296,2]", "[0,8]") + "}", 8, "is too large"},
      {R"({"a":)" + entry("F32", "[9223372036854775807,9223372036854775807,0]", "[0,0]") + "}", 0, "is too large"},
      {R"({"a":)" + entry("F32", "[2305843009213693952]", "[0,0]") + "}", 0,
       "is too large"},  // 2^61 elements, 2^66 bits
      {R"({"a":)" + entry("F4", "[1]", "[0,1]") + "}", 1, "does not fill whole bytes"},
      {R"({"a":)" + entry("F32", "[2]", "[8]") + "}", 8, "a: data_offsets: expected [begin, end]"},
      {R"({"a":)" + entry("F32", "[2]", "[0,8,8]") + "}", 8, "a: data_offsets: expected [begin, end]"},
      {R"({"a":)" + entry("F32", "[2]", "[-8,0]") + "}", 8, "a: data_offsets: expected a count"},
      {R"({"a":)" + entry("F32", "[2]", "[8,0]") + "}", 8, "ends before it begins"},
      {R"({"a":)" + entry("F32", "[2]", "[NaN,8]") + "}", 8, "a: data_offsets: expected an integer"},
      {R"({"a":)" + entry("F32", "[2]", "[0,18446744073709551615]") + "}", 8, "expected a 64-bit"},
      {R"({"a":)" + entry("F32", "[2]", "[9223372036854775799,9223372036854775807]") + "}", 8, "begin at 922337"},
      {R"({"a":)" + entry("F32", "[2]", "[0,7]") + "}", 7, "[0, 7] hold 7 bytes, F32 [2] needs 8"},
      {R"({"a":)" + one + "}", 7, "end at 8, but the file holds 7"},
      {R"({"a":)" + one + "}", 9, "1 bytes follow the last tensor"},
      {"{}", 1, "1 bytes follow"},
      {R"({"a":)" + entry("F32", "[1]", "[0,4]") + R"(,"b":)" + entry("F32", "[1]", "[8,12]") + "}", 12,
       "b: data_offsets: begin at 8, but the tensor before ends at 4"},
      {R"({"a":)" + one + R"(,"b":)" + entry("F32", "[1]", "[4,8]") + "}", 8, "b: data_offsets: begin at 4, but"},
      {R"({"a":)" + one + R"(,"b":)" + one + "}", 8, "data_offsets: begin at 0, but"},
      {R"({"a":)" + one + R"(,"z":)" + entry("F32", "[0]", "[4,4]") + "}", 8, "z: data_offsets: begin at 4, but"},
      {R"({"a":)" + one + R"(,"a":)" + entry("F32", "[2]", "[8,16]") + "}", 16, "a: data_offsets: begin at 8, but"},
      {R"({"__metadata__":[]})", 0, "__metadata__: expected an object"},
      {R"({"__metadata__":{"k":1}})", 0, "__metadata__: k: expected a string"},
  };
  for (const auto& c : cases)
    EXPECT_THAT(error_for(c.header, c.data_bytes), HasSubstr(c.message)) << c.header.substr(0, 200);
}

TEST(Safetensors, RefusesLyingLengths) {
  const auto error = [](const std::string& bytes) { return error_of([&] { parse(bytes); }); };
  const std::string good = with_length(R"({"a":)" + entry("U8", "[1]", "[0,1]") + "}", "x");
  for (size_t size = 0; size < 8; ++size) EXPECT_THAT(error(good.substr(0, size)), HasSubstr("too few")) << size;
  for (size_t size = 8; size < good.size(); ++size) EXPECT_THAT(error(good.substr(0, size)), HasSubstr("cut short"));
  EXPECT_EQ(error(good), "");
  EXPECT_THAT(error(std::string(8, '\xff') + "{}"), HasSubstr("a header of 18446744073709551615 bytes"));
  EXPECT_THAT(error(std::string("\x01\xe1\xf5\x05\0\0\0\0{}", 10)), HasSubstr("a header of 100000001 bytes"));
  EXPECT_THAT(error(std::string("\x00\xe1\xf5\x05\0\0\0\0{}", 10)), HasSubstr("cut short"));
}

// Dtypes that qwill has not are checked like the others, and kept out of the way.
TEST(Safetensors, SetsUnsupportedDtypesAside) {
  const std::string bytes = with_length(
      R"({"a":)" + entry("F8_E5M2", "[4]", "[0,4]") + R"(,"b":)" + entry("F4", "[2]", "[4,5]") + "}", "xxxxx");
  const SafetensorsFile file = parse(bytes);
  EXPECT_TRUE(file.tensors().empty());
  EXPECT_EQ(file.unsupported().at("a"), "F8_E5M2");
  EXPECT_EQ(file.unsupported().at("b"), "F4");
  EXPECT_THAT(error_for(R"({"a":)" + entry("C64", "[1]", "[0,4]") + "}", 4), HasSubstr("C64 [1] needs 8"));

  TemporaryFolder folder;
  write_single(folder, tiny_dense_config());
  std::string text = read_file(folder.path("model.safetensors"));
  const size_t norm = text.find(R"("model.norm.weight":{"dtype":"BF16")");
  ASSERT_NE(norm, std::string::npos);
  text.replace(text.find("BF16", norm), 4, "U16 ").replace(text.find("U16 \"", norm), 5, "U16\" ");
  write_file(folder.path("model.safetensors"), text);
  EXPECT_THAT(open_error(folder), HasSubstr("model.norm.weight: dtype U16 is not supported"));
}

}  // namespace
}  // namespace qwill::test
