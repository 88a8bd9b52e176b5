// Bipartite soft matching on a GPU: normalise, A B^T, best B token of each A token, order, top r
// and the index arrays, without the scores ever being in memory.
//
// Note [Matching in one launch]
// A block takes 32 A tokens of one sample and goes over all B tokens, its warps side by side over
// the columns; each lane keeps the best column of its rows. That makes many small blocks, so one
// clip of 1568 tokens spreads over 25 of them. Only the best edge of each A token is written; the
// block of a sample that arrives last (Note [Last block done]) sorts them in shared memory and
// writes the plan. It can hold 2048 A tokens; beyond, the same edges are ranked by counting, in
// three more launches whose blocks do not wait for one another either. Equal scores go to the lower
// index throughout: a comparison never looks at the score alone. Nothing is added atomically but
// one integer, so results are bitwise repeatable.
#pragma once

#include "merging/match_order.h"
#include "merging/match_scores.h"

namespace tome::cuda {

constexpr int kNoColumn = 0x7fffffff;

/// A score and where it came from; better is higher, then lower index. NaN is never better.
struct Best {
  float score;
  int column;
};

TOME_DEVICE Best worst() { return {-INFINITY, kNoColumn}; }

TOME_DEVICE Best better_of(const Best& a, const Best& b) {
  return b.score > a.score || (b.score == a.score && b.column < a.column) ? b : a;
}

/// The best column of this lane's 4 rows among the columns of its warp, over the whole quad.
template <class Ctx, class T, int kHeld>
TOME_KERNEL void best_of_warp(const Ctx& ctx, const MatchParams<T>& p, int sample, int first_row,
                              Best (&best)[4]) {
  const ScoreRows<T, kHeld> rows(p, sample, first_row, ctx.lane());
  for (Best& b : best) b = worst();
  const int step = ctx.threads() / kWarpSize * 8;
  for (int first = ctx.warp() * 8; first < p.halves.n_b; first += step) {
    ScoreTile tile;
    rows.score(ctx, first, tile);
    TOME_UNROLL
    for (int e = 0; e < 2; ++e) {
      const int column = first + ctx.lane() % 4 * 2 + e;
      if (column >= p.halves.n_b) continue;
      TOME_UNROLL
      for (int i = 0; i < 4; ++i) {
        const float dot = tile.dot[i / 2][i % 2 * 2 + e];
        best[i] = better_of(best[i], {column_score(p.similarity, dot, tile.square[e]), column});
      }
    }
  }
  TOME_UNROLL
  for (int i = 0; i < 4; ++i) {
    for (int mask = 1; mask <= 2; mask *= 2) {
      best[i] = better_of(
          best[i], {ctx.shuffle_xor(best[i].score, mask), ctx.shuffle_xor(best[i].column, mask)});
    }
  }
}

/// |a|^2 of the block's rows, into shared memory; 4 rows for each warp.
template <class Ctx, class T>
TOME_KERNEL void square_rows(const Ctx& ctx, const MatchParams<T>& p, int sample, int first_row,
                             float* squares) {
  for (int row = ctx.warp(); row < kMatchRows; row += ctx.threads() / kWarpSize) {
    float square = 0;
    if (first_row + row < p.halves.n_a) {
      const T* key = p.row(sample, p.halves.a_token(sample, first_row + row));
      for (int c = ctx.lane(); c < p.channels; c += kWarpSize) {
        square += to_float(key[c]) * to_float(key[c]);
      }
    }
    for (int mask = kWarpSize / 2; mask > 0; mask /= 2) square += ctx.shuffle_xor(square, mask);
    if (ctx.lane() == 0) squares[row] = square;
  }
}

/// Shared memory of the scoring part: squares, then the best score and column of each warp's rows.
constexpr int kMatchScoreBytes = 4 * kMatchRows * (1 + 2 * kMatchThreads / kWarpSize);

/// Grid (ceil(n_a / 32), 1, batch), 256 threads.
template <class Ctx, class T, int kHeld>
TOME_KERNEL void match_kernel(Ctx& ctx, const MatchParams<T>& p) {
  const int sample = ctx.block_z();
  const int first_row = ctx.block_x() * kMatchRows;
  const int warps = ctx.threads() / kWarpSize;
  float* squares = ctx.template shared<float>();
  float* scores = squares + kMatchRows;
  int* columns = reinterpret_cast<int*>(scores + warps * kMatchRows);

  square_rows(ctx, p, sample, first_row, squares);
  Best best[4];
  best_of_warp<Ctx, T, kHeld>(ctx, p, sample, first_row, best);
  if (ctx.lane() % 4 == 0) {
    for (int i = 0; i < 4; ++i) {
      const int at = ctx.warp() * kMatchRows + 8 * i + ctx.lane() / 4;
      scores[at] = best[i].score;
      columns[at] = best[i].column;
    }
  }
  ctx.sync_block();
  const int row = ctx.thread();
  if (row < kMatchRows && first_row + row < p.halves.n_a) {
    Best all = worst();
    for (int warp = 0; warp < warps; ++warp) {
      all = better_of(all, {scores[warp * kMatchRows + row], columns[warp * kMatchRows + row]});
    }
    const bool none = all.column == kNoColumn;  // a row of NaN: last in line
    const int64_t at = static_cast<int64_t>(sample) * p.halves.n_a + first_row + row;
    const float score = none ? -INFINITY : edge_score(p.similarity, all.score, squares[row]);
    p.scratch.edge_score[at] = score == score ? score : -INFINITY;
    p.scratch.edge_to[at] = none ? 0 : all.column;
  }
  if (p.one_launch &&
      ctx.arrive_last(p.scratch.arrived + sample, static_cast<unsigned>(ctx.grid_x()))) {
    order_edges(ctx, p, sample);
  }
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

constexpr int kCountSharedBytes = 8 * kMatchThreads;

/// Second launch of many: ranks of the edges. Grid (ceil(n_a / 256), 1, batch).
template <class Ctx, class T>
TOME_KERNEL void rank_edges_kernel(Ctx& ctx, const MatchParams<T>& p) {
  const int n_a = p.halves.n_a;
  const int64_t base = static_cast<int64_t>(ctx.block_z()) * n_a;
  const int64_t kept = static_cast<int64_t>(ctx.block_z()) * p.r;
  const int i = ctx.block_x() * ctx.threads() + ctx.thread();
  const auto key_at = [&](int k) { return order_key(p.scratch.edge_score[base + k], k); };
  const int rank = count_smaller(ctx, n_a, i < n_a ? key_at(i) : 0, key_at);
  if (i >= n_a) return;
  p.scratch.rank[base + i] = rank;
  if (rank >= p.r) return;
  p.scratch.order[kept + rank] = i;
  p.scratch.edges[kept + rank] = destination_key(p.scratch.edge_to[base + i], i);
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
  const int sample = ctx.block_z();
  const int64_t kept = static_cast<int64_t>(sample) * p.r;
  const int32_t* rank = p.scratch.rank + static_cast<int64_t>(sample) * p.halves.n_a;
  write_plan(ctx, p, sample, {rank, p.scratch.order + kept, p.scratch.by_destination + kept},
             ctx.template shared<int>());
}

}  // namespace tome::cuda
