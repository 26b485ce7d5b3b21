#include <gtest/gtest.h>

#include "hub/http_headers.h"

namespace qwill {
namespace {

TEST(HttpHeaders, FindsByName) {
  HttpHeaders headers;
  for (const char* line : {"HTTP/1.1 100 Continue\r\n", "ETag: \"old\"\r\n", "\r\n", "HTTP/1.1 200 OK\r\n",
                           "X-Linked-Size:  12 \r\n", "no colon\r\n", "Empty:\r\n", "x-linked-size: 13\r\n"})
    EXPECT_TRUE(headers.add_line(line));
  EXPECT_EQ(headers.find("x-LINKED-size"), "12");
  EXPECT_EQ(headers.find("ETag"), "") << "of an interim answer";
  EXPECT_EQ(headers.find("Empty"), "");
  EXPECT_EQ(headers.find("Other"), "");
}

TEST(HttpHeaders, EndSomewhere) {
  HttpHeaders headers;
  int lines = 0;
  while (headers.add_line("HTTP/1.1 100 Continue\r\n")) ASSERT_LT(++lines, 1'000'000);
  EXPECT_GT(lines, 1000);
}

TEST(HttpHeaders, Sizes) {
  EXPECT_EQ(parse_http_size("0"), 0);
  EXPECT_EQ(parse_http_size("16381470720"), 16381470720);
  for (const char* text :
       {"", "-1", "+1", " 1", "1 ", "1.0", "0x10", "1e3", "9223372036854775807", "99999999999999999999"})
    EXPECT_FALSE(parse_http_size(text)) << text;
}

TEST(HttpHeaders, ContentRanges) {
  const auto range = ContentRange::parse("bytes 5-9/100");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->first, 5);
  EXPECT_EQ(range->last, 9);
  EXPECT_EQ(range->total, 100);
  const auto unknown = ContentRange::parse("Bytes 0-0/*");
  ASSERT_TRUE(unknown);
  EXPECT_FALSE(unknown->total);
  for (const char* text :
       {"", "bytes", "bytes */100", "bytes 9-5/100", "bytes 5-100/100", "bytes -5-9/100", "bytes 5/9-100", "bytes 5-9",
        "lines 5-9/100", "bytes 5-9/", "bytes 5-9/-1", "bytes 5-99999999999999999999/*"})
    EXPECT_FALSE(ContentRange::parse(text)) << text;
}

TEST(HttpHeaders, HashesInETags) {
  const std::string sha256(64, 'a'), sha1(40, '0');
  EXPECT_EQ(parse_etag_hash('"' + sha256 + '"'), sha256);
  EXPECT_EQ(parse_etag_hash("W/\"" + sha1 + '"'), sha1);
  EXPECT_EQ(parse_etag_hash(sha1), sha1);
  for (const std::string& text : {std::string(), std::string("\"\""), std::string("\""), sha1 + "0", "\"" + sha1,
                                  std::string(40, '/'), std::string(40, 'A'), "W/W/" + sha1, std::string(64, '.')})
    EXPECT_FALSE(parse_etag_hash(text)) << text;
}

}  // namespace
}  // namespace qwill
