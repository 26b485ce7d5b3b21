#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "hub/digest.h"
#include "hub/hub_cache.h"
#include "hub/partial_blob.h"
#include "weights/tiny_checkpoint.h"

namespace qwill::test {
namespace {

namespace fs = std::filesystem;

const std::atomic<bool> kGoOn{false};

std::string digest_of(const TemporaryFolder& folder, std::string_view text, size_t digits) {
  const std::string path = folder.path("text");
  write_file(path, text);
  const int descriptor = ::open(path.c_str(), O_RDONLY);
  const std::string digest =
      digest_like(std::string(digits, '0'), descriptor, static_cast<int64_t>(text.size()), path, kGoOn);
  ::close(descriptor);
  return digest;
}

// Values of sha256sum and of git hash-object.
TEST(Digest, KnownValues) {
  TemporaryFolder folder;
  EXPECT_EQ(digest_of(folder, "", 64), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest_of(folder, "abc", 64), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest_of(folder, "", 40), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
  EXPECT_EQ(digest_of(folder, "hello\n", 40), "ce013625030ba8dba906f756967f9e9ca394464a");
}

TEST(Digest, StopsWhenTold) {
  TemporaryFolder folder;
  write_file(folder.path("text"), "abc");
  const int descriptor = ::open(folder.path("text").c_str(), O_RDONLY);
  const std::atomic<bool> stop{true};
  EXPECT_EQ(digest_like(std::string(64, '0'), descriptor, 3, "text", stop), "");
  EXPECT_NE(error_of([&] { digest_like(std::string(64, '0'), descriptor, 4, "text", kGoOn); }), "") << "it is shorter";
  ::close(descriptor);
}

// Bytes that differ everywhere, more than a piece of them, and their hash.
struct PartialBlobTest : testing::Test {
  TemporaryFolder folder;
  std::string content, hash;
  fs::path blob = folder.path("blob");

  PartialBlobTest() {
    for (int i = 0; i < (5 << 20) + 12345; ++i) content += static_cast<char>(i * 7 + i / 256);
    hash = digest_of(folder, content, 64);
  }

  PartialBlob open() const { return PartialBlob(blob, hash, static_cast<int64_t>(content.size())); }
  void fill(PartialBlob& partial, int64_t piece, int64_t bytes) const {
    const ByteRange rest = partial.rest(piece);
    bytes = std::min(bytes, rest.end - rest.begin);
    partial.append(piece,
                   std::string_view(content).substr(static_cast<size_t>(rest.begin), static_cast<size_t>(bytes)));
  }
};

TEST_F(PartialBlobTest, GoesOnWhereItWas) {
  int64_t num_pieces = 0;
  {
    PartialBlob partial = open();
    num_pieces = partial.num_pieces();
    ASSERT_GT(num_pieces, 2);
    fill(partial, num_pieces - 1, 1000);
    fill(partial, 0, 5);
    fill(partial, 0, 6);
  }
  PartialBlob partial = open();
  EXPECT_EQ(partial.done_bytes(), 1011);
  EXPECT_EQ(partial.rest(0).begin, 11);
  EXPECT_FALSE(partial.is_whole());
  for (int64_t piece = 0; piece < num_pieces; ++piece) fill(partial, piece, int64_t{1} << 40);
  EXPECT_TRUE(partial.is_whole());
  EXPECT_TRUE(partial.check(kGoOn));
  EXPECT_FALSE(fs::exists(blob));
  partial.finish();
  EXPECT_TRUE(read_small_file(blob, content.size()) == content);
  EXPECT_FALSE(fs::exists(partial.path()));
}

TEST_F(PartialBlobTest, RestartsInOnePiece) {
  {
    PartialBlob partial = open();
    fill(partial, 0, 100);
    partial.restart(/*one_piece=*/true);
    EXPECT_EQ(partial.num_pieces(), 1);
    EXPECT_EQ(partial.done_bytes(), 0);
    fill(partial, 0, 3'000'000);
  }
  PartialBlob partial = open();
  EXPECT_EQ(partial.num_pieces(), 1);
  EXPECT_EQ(partial.done_bytes(), 3'000'000);
}

TEST_F(PartialBlobTest, SeesWrongBytes) {
  PartialBlob partial = open();
  for (int64_t piece = 0; piece < partial.num_pieces(); ++piece) {
    const ByteRange rest = partial.rest(piece);
    partial.append(piece, std::string(static_cast<size_t>(rest.end - rest.begin), 'x'));
  }
  EXPECT_TRUE(partial.is_whole());
  EXPECT_FALSE(partial.check(kGoOn));
  partial.discard();
  EXPECT_FALSE(fs::exists(partial.path()));
}

TEST_F(PartialBlobTest, NotesThatAreDamaged) {
  const auto size = static_cast<int64_t>(content.size());
  const int64_t notes = size + 24;  // behind the bytes and a header
  for (const int64_t value : {int64_t{-1}, size, int64_t{1} << 62}) {
    fs::path path;
    {
      PartialBlob partial = open();
      partial.restart(false);
      fill(partial, 0, 100);
      path = partial.path();
    }
    const int descriptor = ::open(path.c_str(), O_WRONLY);
    ASSERT_EQ(::pwrite(descriptor, &value, sizeof value, notes), static_cast<ssize_t>(sizeof value));
    ::close(descriptor);
    EXPECT_EQ(open().done_bytes(), 0) << value;
  }
  // Of another size: another file.
  {
    PartialBlob partial = open();
    fill(partial, 0, 100);
  }
  EXPECT_EQ(PartialBlob(blob, hash, size - 1).done_bytes(), 0);
}

TEST_F(PartialBlobTest, AnEmptyFile) {
  PartialBlob partial(blob, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391", 0);
  EXPECT_TRUE(partial.is_whole());
  EXPECT_TRUE(partial.check(kGoOn));
  partial.finish();
  EXPECT_EQ(fs::file_size(blob), 0u);
}

TEST_F(PartialBlobTest, ALinkIsNotFollowed) {
  fs::create_symlink(folder.path("elsewhere"), folder.path("blob.qwill.incomplete"));
  EXPECT_NE(error_of([&] { open(); }), "");
  EXPECT_FALSE(fs::exists(folder.path("elsewhere")));
}

}  // namespace
}  // namespace qwill::test
