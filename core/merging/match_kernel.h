// Bipartite soft matching on a GPU: normalise, A B^T, best B token of each A token, order, top r
// and the index arrays, without the scores ever being in memory.
//
// Note [Matching in one launch]
// A warp takes 32 A tokens of one sample and goes over B tokens, 8 at a time; each lane keeps the
// best column of its rows. What a call costs is the latency of its steps, not arithmetic, so the
// grid (match_launch.h) is cut for short chains: the warps of a block are side by side over the
// columns, and at small batches several blocks share the columns of the same rows (splits). They
// leave only the best edge of each A token and split; the block of a sample that arrives last
// (Note [Last block done]) orders the edges in shared memory and writes the plan. Where there are
// blocks enough, one block takes a whole sample of few tokens and nothing goes through memory.
//
// The last block can hold 2048 A tokens; beyond, the same edges are ranked by counting, in three
// more launches whose blocks do not wait for one another either. Equal scores go to the lower index
// throughout: a comparison never looks at the score alone. Nothing is added atomically but
// integers, so results are bitwise repeatable.
#pragma once

#include "merging/match_order.h"
#include "merging/match_scores.h"

namespace tome::cuda {

/// The best of 8 scored columns for each of the lane's 4 rows, and of what they had before.
template <class T>
TOME_KERNEL void keep_best(const MatchParams<T>& p, const ScoreTile& tile, int first_column,
                           Best (&best)[4]) {
  TOME_UNROLL
  for (int e = 0; e < 2; ++e) {
    const int column = first_column + e;
    const ColumnScore score(p.similarity, tile.scale[e], column < p.halves.n_b);
    TOME_UNROLL
    for (int i = 0; i < 4; ++i) {
      best[i] = better_of(best[i], {score.of(tile.dot[i / 2][i % 2 * 2 + e]), column});
    }
  }
}

/// The best column of the lane's 4 rows among the columns of its warp, over the whole quad.
/// @param square  |a|^2 of these rows, if the warp is to compute it; or null
template <class Ctx, class T, int kHeld>
TOME_KERNEL void best_of_warp(const Ctx& ctx, const MatchParams<T>& p, ScoreRows<T, kHeld>& rows,
                              int first, int step, Best (&best)[4], float* square) {
  typename ScoreRows<T, kHeld>::Columns columns, next;
  const auto here = rows.find(first);
  auto ahead = rows.find(first + step);
  rows.hold();
  rows.load(here, columns);
  if (square != nullptr) {  // while the columns are on their way
    float squares[4];
    rows.square_rows(ctx, squares);
    TOME_UNROLL
    for (int i = 0; i < 4; ++i) {
      if (ctx.lane() % 4 == 0) square[8 * i + ctx.lane() / 4] = squares[i];
    }
  }
  TOME_UNROLL
  for (Best& b : best) b = worst();
  TOME_ROLLED
  for (; first < p.halves.n_b; first += step) {
    rows.load(ahead, next);
    ahead = rows.find(first + 2 * step);
    ScoreTile tile;
    rows.score(ctx, columns, tile);
    keep_best(p, tile, first + ctx.lane() % 4 * 2, best);
    columns = next;
  }
  TOME_UNROLL
  for (int i = 0; i < 4; ++i) {
    TOME_UNROLL
    for (int mask = 1; mask <= 2; mask *= 2) {
      best[i] = better_of(
          best[i], {ctx.shuffle_xor(best[i].score, mask), ctx.shuffle_xor(best[i].column, mask)});
    }
  }
}

/// Shared memory of the scoring part: the packed best of each warp's rows, then |a|^2 of the rows.
TOME_DEVICE constexpr int score_shared_bytes(int threads, int rows) {
  return 8 * threads + 4 * rows;
}

/// The best columns, over the block's share of them, of its rows into shared memory.
template <class Ctx, class T, int kHeld>
TOME_KERNEL void score_block(const Ctx& ctx, const MatchParams<T>& p, int first_row,
                             uint64_t* bests, float* squares) {
  const int rows_of_block = kMatchRows << p.tile_bits;
  const int tile_row = (ctx.warp() * kMatchRows) & (rows_of_block - 1);
  const int strip = ctx.warp() >> p.tile_bits;  // of the warps that share rows
  const int strips = (ctx.threads() / kWarpSize) >> p.tile_bits;
  Best best[4];
  ScoreRows<T, kHeld> rows(p, ctx.block_z(), first_row + tile_row, ctx.lane());
  best_of_warp(ctx, p, rows, (ctx.block_y() * strips + strip) * kMatchColumns,
               p.splits * strips * kMatchColumns, best, strip == 0 ? squares + tile_row : nullptr);
  if (ctx.lane() % 4 != 0) return;
  TOME_UNROLL
  for (int i = 0; i < 4; ++i) {
    bests[strip * rows_of_block + tile_row + 8 * i + ctx.lane() / 4] = pack_best(best[i]);
  }
}

/// Grid (blocks of rows, splits, batch), 2^p.tile_bits warps for each strip of columns.
template <class Ctx, class T, int kHeld>
TOME_KERNEL void match_kernel(Ctx& ctx, const MatchParams<T>& p) {
  ctx.launch_dependents();  // attention
  const int sample = ctx.block_z(), n_a = p.halves.n_a;
  const int rows = kMatchRows << p.tile_bits;
  const int first_row = ctx.block_x() * rows;
  const int blocks = ctx.grid_x() * p.splits;  // of a sample
  auto* bests = ctx.template shared<uint64_t>();
  auto* squares = ctx.template shared<float>(8 * ctx.threads());
  // With several blocks, edges lie where the scoring part's results lay.
  EdgeOrder<Ctx, T> order(ctx, p, sample, blocks > 1 ? 0 : score_shared_bytes(ctx.threads(), rows));

  score_block<Ctx, T, kHeld>(ctx, p, first_row, bests, squares);
  const int row = ctx.thread();
  const bool has_row = row < rows && first_row + row < n_a;
  const TokenPair tokens = order.tokens(row);
  ctx.sync_block();
  if (has_row) {
    uint64_t best = bests[row];
    for (int at = row + rows; at < ctx.threads(); at += rows) best = max_of(best, bests[at]);
    const float scale = row_scale(p.similarity, squares[row]);
    const int64_t at = static_cast<int64_t>(sample) * n_a + first_row + row;
    if (blocks == 1) {
      order.set(row, edge_of(p, best, scale), tokens);
    } else {
      p.scratch.best[static_cast<int64_t>(ctx.block_y()) * p.batch * n_a + at] = best;
      if (ctx.block_y() == 0) p.scratch.row_scale[at] = scale;
    }
  }
  if (blocks > 1) {
    if (!p.one_launch) return;
    if (!ctx.arrive_last(p.scratch.arrived + sample, static_cast<unsigned>(blocks))) return;
    TOME_ROLLED
    for (int i = ctx.thread(); i < n_a; i += ctx.threads()) {
      const TokenPair tokens_of_i = order.tokens(i);
      order.set(i, read_edge(ctx, p, sample, i), tokens_of_i);
    }
  }
  order.write();
}

/// How many of n keys are below mine, with the keys passing through shared memory. All threads of
/// the block take part; key_at(i) gives key i.
template <class Ctx, class KeyAt>
TOME_KERNEL int count_smaller(const Ctx& ctx, int n, uint64_t mine, KeyAt key_at) {
  uint64_t* tile = ctx.template shared<uint64_t>();
  int count = 0;
  for (int first = 0; first < n; first += ctx.threads()) {
    const int i = first + ctx.thread();
    tile[ctx.thread()] = i < n ? key_at(i) : ~static_cast<uint64_t>(0);
    ctx.sync_block();
    for (int k = 0; k < ctx.threads(); ++k) count += tile[k] < mine ? 1 : 0;
    ctx.sync_block();
  }
  return count;
}

constexpr int kCountSharedBytes = 8 * kCountThreads;

/// Second launch of many: ranks of the edges. Grid (ceil(n_a / 256), 1, batch).
template <class Ctx, class T>
TOME_KERNEL void rank_edges_kernel(Ctx& ctx, const MatchParams<T>& p) {
  const int n_a = p.halves.n_a, sample = ctx.block_z();
  const int64_t kept = static_cast<int64_t>(sample) * p.r;
  const int i = ctx.block_x() * ctx.threads() + ctx.thread();
  const auto key_at = [&](int k) { return order_key(read_edge(ctx, p, sample, k).score, k); };
  const int rank = count_smaller(ctx, n_a, i < n_a ? key_at(i) : 0, key_at);
  if (i >= n_a) return;
  p.scratch.rank[static_cast<int64_t>(sample) * n_a + i] = rank;
  if (rank < p.r) {
    p.scratch.edges[kept + rank] = destination_key(read_edge(ctx, p, sample, i).to, i);
  }
}

/// Third launch of many: kept edges by destination. Grid (ceil(r / 256), 1, batch).
template <class Ctx, class T>
TOME_KERNEL void group_edges_kernel(Ctx& ctx, const MatchParams<T>& p) {
  const int64_t kept = static_cast<int64_t>(ctx.block_z()) * p.r;
  const int k = ctx.block_x() * ctx.threads() + ctx.thread();
  const auto key_at = [&](int i) { return p.scratch.edges[kept + i]; };
  const uint64_t mine = k < p.r ? key_at(k) : 0;
  const int at = count_smaller(ctx, p.r, mine, key_at);
  if (k < p.r) p.scratch.by_destination[kept + at] = mine;
}

/// Fourth launch of many: the plan. Grid (1, 1, batch).
template <class Ctx, class T>
TOME_KERNEL void write_plan_kernel(Ctx& ctx, const MatchParams<T>& p) {
  ctx.launch_dependents();  // attention
  const int sample = ctx.block_z();
  const int64_t kept = static_cast<int64_t>(sample) * p.r;
  const int32_t* rank = p.scratch.rank + static_cast<int64_t>(sample) * p.halves.n_a;
  write_plan(ctx, p, sample, {rank, p.scratch.by_destination + kept}, ctx.template shared<int>());
}

}  // namespace tome::cuda
