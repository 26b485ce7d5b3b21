// Which kernel and tile a product takes. Only speed depends on it.
#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "cuda/kernels/fp8.h"
#include "cuda/kernels/gemm.h"

namespace qwill::cuda {

namespace {

// A tile's time for 64 columns, in cycles of an H100, is that of the tensor cores (2048 products a cycle), that of
// shared memory (128 bytes a cycle: what arrives, and what each warpgroup reads) or that of its loads (128 bytes a row,
// some 48 a cycle, 56 where two blocks share weights), whichever is longest; all multiprocessors take one tile a round.
// Below that lies the time in which the memory yields the weights (13.4 bytes a cycle and multiprocessor). Of tiles
// that reach it, the one with the least work. In steps of Qwen3-8B's four matrices at 9 ... 512 rows, no other choice
// for one of them was more than 1.5 % faster.
double cycles_of(const GemmTile& tile) {
  const int32_t loaded = tile.rows + tile.tokens, read = (tile.rows + 63) / 64 * (64 + tile.tokens);
  return std::max({tile.rows * tile.tokens / 32.0, static_cast<double>(loaded + read),
                   loaded * 128 / (tile.token_cluster > 1 ? 56.0 : 48.0)});
}
// Of e4m3 it is 128 columns, multiplied at twice the rate: the same times, but that the wide tiles are bound by shared
// memory (gemm_fp8_wide.cu), and the large one beside them by what a warpgroup does itself (as measured).
double fp8_cycles_of(const GemmTile& tile) {
  if (is_wide(tile)) return tile.rows == 256 ? 1152 : 640;
  return tile.rows == 128 ? 800 : cycles_of(tile);
}

template <typename Cycles>
GemmTile choose_tile(std::span<const GemmTile> choices, const Cycles& cycles, int64_t weight_rows, int64_t num_rows,
                     int num_sms) {
  const auto count_tiles = [&](const GemmTile& tile) {
    const int64_t at_once = is_wide(tile) ? tile.cluster : tile.token_cluster, tokens = at_once * tile.tokens;
    return ((weight_rows + tile.rows - 1) / tile.rows) * ((num_rows + tokens - 1) / tokens) * at_once;
  };
  const double memory = static_cast<double>(weight_rows) * 128 / (13.4 * num_sms);
  GemmTile best = {};
  std::pair<double, double> best_cost;
  for (const GemmTile& tile : choices) {
    const int64_t tiles = count_tiles(tile);
    // A shallow ring is 2 % faster while each multiprocessor has one block or none: the next kernel's find room.
    if (!tile.deep && (tiles > num_sms || num_rows > tile.tokens)) continue;
    if (tile.tokens > 16 && tile.tokens >= 2 * num_rows) continue;
    // Of few rows every weight is read once: two blocks that read the same do so at different times.
    if (num_rows <= 64 && tile.tokens < num_rows) continue;
    if (tile.token_cluster > 1 && (num_rows <= tile.tokens || num_rows > 2 * tile.tokens)) continue;
    const double work = static_cast<double>((tiles + num_sms - 1) / num_sms) * cycles(tile);
    const std::pair cost(std::max(memory, work), work);
    if (best.rows == 0 || cost < best_cost) best = tile, best_cost = cost;
  }
  return best;
}

// Of tiles that take as long, the first: the wide ones. The largest of the others is never as fast as these.
constexpr auto kFp8Choices = [] {
  std::array<GemmTile, std::size(kWideFp8Tiles) + std::size(kFp8Tiles) - 1> choices{};
  auto* end = std::ranges::copy(kWideFp8Tiles, choices.begin()).out;
  std::ranges::copy(std::span(kFp8Tiles).first(std::size(kFp8Tiles) - 1), end);
  return choices;
}();

}  // namespace

GemmTile choose_gemm_tile(int64_t weight_rows, int64_t num_rows, int num_sms) {
  return choose_tile(kGemmTiles, cycles_of, weight_rows, num_rows, num_sms);
}
GemmTile choose_fp8_tile(int64_t weight_rows, int64_t num_rows, int num_sms) {
  return choose_tile(kFp8Choices, fp8_cycles_of, weight_rows, num_rows, num_sms);
}

GemmTile choose_grouped_gemm_tile(int32_t tile_rows) {
  if (tile_rows <= 16) return {64, 16, true, 1};
  if (tile_rows <= 32) return {64, 32, true, 1};
  if (tile_rows <= 64) return {64, 64, true, 1};
  if (tile_rows <= 128) return {128, 128, true, 1};
  return {128, 256, true, 2};
}

cudaError_t prepare_gemm(bool hopper) {
  const cudaError_t error = prepare_gemm_portable();
  return error == cudaSuccess && hopper ? prepare_gemm_wgmma() : error;
}

cudaError_t gemm(const GemmCall& call, bool hopper, int num_sms, cudaStream_t stream) {
  if (!hopper) return gemm_portable(call, stream);
  const GemmTile tile = call.grouped ? choose_grouped_gemm_tile(call.grouped->tile_rows)
                                     : choose_gemm_tile(call.weight->rows, call.num_rows, num_sms);
  return gemm_wgmma(call, tile, num_sms, stream);
}

}  // namespace qwill::cuda
