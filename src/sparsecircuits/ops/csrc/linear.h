// A sparse matrix times many tokens: Y = X W^T + b, its dX = dY W, and dW at the kept weights alone.
//
// Tokens are taken in tiles of V * W. A tile is transposed, so that one feature of all its tokens lies in a
// row ("feature-major"); then each weight is one multiply-add of such rows. Tiles belong to threads, so Y and
// dX do not depend on how many there are; dW is summed thread by thread.
#pragma once

#include "scratch.h"
#include "simd.h"
#include "threads.h"

namespace {

/// Compressed rows: the entries of row i are index[start[i] .. start[i + 1]).
struct Compressed {
    const int32_t* start;
    const int32_t* index;
};

/// x [tokens, n], rows ld apart, at most `tile` of them, to feature-major [n, tile]; missing tokens are 0.
void columns_to_features(const float* x, long ld, int tokens, int n, float* out, int tile) {
    int t = 0;
    for (; t + W <= tokens; t += W) {
        int j = 0;
        for (; j + W <= n; j += W) transpose(x + t * ld + j, ld, out + long(j) * tile + t, tile);
        for (; j < n; ++j)
            for (int i = t; i < t + W; ++i) out[long(j) * tile + i] = x[i * ld + j];
    }
    if (t == tile) return;
    for (int j = 0; j < n; ++j)
        for (int i = t; i < tile; ++i) out[long(j) * tile + i] = i < tokens ? x[i * ld + j] : 0.f;
}

/// The same for rows that follow each other.
inline void to_features(const float* x, int tokens, int n, float* out, int tile) {
    columns_to_features(x, n, tokens, n, out, tile);
}

/// Feature-major x [n, tile] back to y [tokens, n], past the caches if asked.
void from_features(const float* x, int tokens, int n, float* y, int tile, bool past) {
    int t = 0;
    for (; t + W <= tokens; t += W) {
        int j = 0;
        if (past)
            for (; j + W <= n; j += W) transpose<true>(x + long(j) * tile + t, tile, y + long(t) * n + j, n);
        for (; j + W <= n; j += W) transpose(x + long(j) * tile + t, tile, y + long(t) * n + j, n);
        for (; j < n; ++j)
            for (int i = t; i < t + W; ++i) y[long(i) * n + j] = x[long(j) * tile + i];
    }
    for (; t < tokens; ++t)
        for (int j = 0; j < n; ++j) y[long(t) * n + j] = x[long(j) * tile + t];
}

/// Memory to ask for ahead of its use, a few lines at a time.
struct Ahead {
    const char* next;
    const char* end;
    long step;

    /// `floats` numbers at p, over about `calls` calls.
    Ahead(const float* p, long floats, long calls)
        : next(reinterpret_cast<const char*>(p)), end(reinterpret_cast<const char*>(p + (floats > 0 ? floats : 0))),
          step(((end - next) / (calls > 0 ? calls : 1) + 63) / 64 * 64) {}

    void fetch() {
        const char* stop = next + step < end ? next + step : end;
        for (; next < stop; next += 64) __builtin_prefetch(next, 0, 2);
    }
};

/// y [m, tile] = (sparse [m, n]) x [n, tile] + bias, both feature-major.
template <int V>
void multiply_tile(Compressed a, const float* value, const float* bias, const float* x, float* y, int m,
                   Ahead ahead) {
    constexpr int tile = V * W;
    for (int i = 0; i < m; ++i) {
        ahead.fetch();
        vf sum[V];
        const vf begin = splat(bias ? bias[i] : 0.f);
        for (int v = 0; v < V; ++v) sum[v] = begin;
        for (int p = a.start[i]; p < a.start[i + 1]; ++p) {
            const vf w = splat(value[p]);
            const float* source = x + long(a.index[p]) * tile;
            for (int v = 0; v < V; ++v) sum[v] += w * load(source + v * W);
        }
        for (int v = 0; v < V; ++v) store(y + long(i) * tile + v * W, sum[v]);
    }
}

/// dw[p] += sum over the tile's tokens of dy[row of p] * x[index[p]]; both feature-major.
template <int V>
void weight_grad_tile(Compressed a, const float* x, const float* dy, float* dw, int m, Ahead ahead) {
    constexpr int tile = V * W;
    alignas(64) float parts[W * W], turned[W * W];
    for (int i = 0; i < m; ++i) {
        ahead.fetch();
        const int end = a.start[i + 1];
        vf g[V];
        for (int v = 0; v < V; ++v) g[v] = load(dy + long(i) * tile + v * W);
        for (int p = a.start[i]; p < end; p += W) {
            const int count = end - p < W ? end - p : W;
            for (int c = 0; c < count; ++c) {
                const float* source = x + long(a.index[p + c]) * tile;
                vf s = g[0] * load(source);
                for (int v = 1; v < V; ++v) s += g[v] * load(source + v * W);
                store(parts + c * W, s);
            }
            if (count <= W / 4) {
                for (int c = 0; c < count; ++c) dw[p + c] += sum(load(parts + c * W));
                continue;
            }
            transpose(parts, W, turned, W);
            vf total = load(turned);
            for (int c = 1; c < W; ++c) total += load(turned + c * W);
            if (count == W) store(dw + p, load(dw + p) + total);
            else for (int c = 0; c < count; ++c) dw[p + c] += total[c];
        }
    }
}

template <int V>
void forward_tiles(Compressed a, const float* value, const float* bias, const float* x, float* y, long tokens,
                   int m, int n, int threads) {
    constexpr int tile = V * W;
    const bool past = leaves_caches(y, tokens, m);
    parallel(worth(threads, tokens * (m + n)), [&](int thread, int count) {
        const Range range(tokens, thread, count, tile);
        float* features = scratch().floats(long(m + n) * tile);
        float* out = features + long(n) * tile;
        for (long t = range.begin; t < range.end; t += tile) {
            const int there = int(range.end - t < tile ? range.end - t : tile);
            to_features(x + t * n, there, n, features, tile);
            const long next = range.end - t - tile < tile ? range.end - t - tile : tile;
            multiply_tile<V>(a, value, bias, features, out, m, Ahead(x + (t + tile) * n, next * n, m));
            from_features(out, there, m, y + t * m, tile, past);
        }
    });
}

template <int V>
void backward_tiles(Compressed rows, Compressed columns, const float* column_value, const float* x,
                    const float* dy, float* dx, float* dw, float* db, long tokens, int m, int n, int nnz,
                    int threads) {
    constexpr int tile = V * W;
    const bool past = dx && leaves_caches(dx, tokens, n);
    const long each = (dw ? nnz : 0) + (db ? m : 0);  // partial sums of a thread
    float* partial = each ? static_cast<float*>(std::calloc(each * threads, sizeof(float))) : nullptr;
    parallel(worth(threads, tokens * (m + n)), [&](int thread, int count) {
        const Range range(tokens, thread, count, tile);
        float* dy_features = scratch().floats(long(m + n) * tile);
        float* x_features = dy_features + long(m) * tile;
        float* my_dw = partial + each * thread;
        float* my_db = my_dw + (dw ? nnz : 0);
        for (long t = range.begin; t < range.end; t += tile) {
            const int there = int(range.end - t < tile ? range.end - t : tile);
            const long next = range.end - t - tile < tile ? range.end - t - tile : tile;
            Ahead next_dy(dy + (t + tile) * m, next * m, dw ? m : n);
            to_features(dy + t * m, there, m, dy_features, tile);
            if (dx) {  // x_features is free until dw needs it
                multiply_tile<V>(columns, column_value, nullptr, dy_features, x_features, n,
                                 dw ? Ahead(x + t * n, long(there) * n, n) : next_dy);
                from_features(x_features, there, n, dx + t * n, tile, past);
            }
            if (dw) {
                to_features(x + t * n, there, n, x_features, tile);
                weight_grad_tile<V>(rows, x_features, dy_features, my_dw, m, next_dy);
            }
            if (db)
                for (int i = 0; i < m; ++i) {
                    vf s{};
                    for (int v = 0; v < V; ++v) s += load(dy_features + long(i) * tile + v * W);
                    my_db[i] += sum(s);
                }
        }
    });
    for (int thread = 0; thread < (each ? threads : 0); ++thread) {
        const float* part = partial + each * thread;
        if (dw) for (int p = 0; p < nnz; ++p) dw[p] = (thread ? dw[p] : 0.f) + part[p];
        if (db) for (int i = 0; i < m; ++i) db[i] = (thread ? db[i] : 0.f) + part[(dw ? nnz : 0) + i];
    }
    std::free(partial);
}

/// Whether a tile of four vectors a feature fits where a core can reach it fast (about 1 MB).
inline bool wide_tiles(long features) { return features * 4 * W * 4 <= 1100000; }

void sparse_forward(const int32_t* start, const int32_t* index, const float* value, const float* bias,
                    const float* x, float* y, long tokens, int m, int n, int threads) {
    const Compressed a{start, index};
    if (wide_tiles(long(m) + n)) forward_tiles<4>(a, value, bias, x, y, tokens, m, n, threads);
    else forward_tiles<2>(a, value, bias, x, y, tokens, m, n, threads);
}

/// dx, dw (at the kept weights, in row order) and db, each only if its pointer is given.
void sparse_backward(const int32_t* start, const int32_t* index, const int32_t* column_start,
                     const int32_t* column_index, const int32_t* order, const float* value, const float* x,
                     const float* dy, float* dx, float* dw, float* db, long tokens, int m, int n, int threads) {
    const int nnz = start[m];
    float* column_value = static_cast<float*>(std::malloc((nnz + 1) * sizeof(float)));
    for (int p = 0; p < nnz; ++p) column_value[p] = value[order[p]];
    const Compressed rows{start, index}, columns{column_start, column_index};
    if (wide_tiles(long(m) + n))
        backward_tiles<4>(rows, columns, column_value, x, dy, dx, dw, db, tokens, m, n, nnz, threads);
    else
        backward_tiles<2>(rows, columns, column_value, x, dy, dx, dw, db, tokens, m, n, nnz, threads);
    std::free(column_value);
}

/// A few tokens: go through the columns of the nonzero inputs alone (AbsTopK leaves a quarter of them).
void sparse_few(const int32_t* column_start, const int32_t* column_index, const int32_t* order, const float* value,
                const float* bias, const float* x, float* y, long tokens, int m, int n) {
    for (long t = 0; t < tokens; ++t) {
        float* to = y + t * m;
        if (bias) std::memcpy(to, bias, m * sizeof(float));
        else std::memset(to, 0, m * sizeof(float));
        for (int j = 0; j < n; ++j) {
            const float v = x[t * n + j];
            if (v == 0.f) continue;
            for (int p = column_start[j]; p < column_start[j + 1]; ++p) to[column_index[p]] += value[order[p]] * v;
        }
    }
}

/// Nonzero entries of each row of w [m, n] into start[1 ..]; returns how many there are.
long count_nonzero(const float* w, int m, int n, int32_t* start, int threads) {
    parallel(worth(threads, long(m) * n), [&](int thread, int count) {
        const Range range(m, thread, count);
        for (long i = range.begin; i < range.end; ++i) {
            const float* row = w + i * n;
            vi zero{};
            int j = 0;
            for (; j + W <= n; j += W) zero -= load(row + j) != 0.f;
            int c = sum(zero);
            for (; j < n; ++j) c += row[j] != 0.f;
            start[i + 1] = c;
        }
    });
    start[0] = 0;
    long total = 0;
    for (int i = 0; i < m; ++i) start[i + 1] = int32_t(total += start[i + 1]);
    return total;
}

/// The places of the nonzero entries, by rows and by columns; order[p] is where the column's p-th stands by rows.
void find_nonzero(const float* w, int m, int n, const int32_t* start, int32_t* index, int32_t* column_start,
                  int32_t* column_index, int32_t* order, int threads) {
    parallel(worth(threads, long(m) * n), [&](int thread, int count) {
        const Range range(m, thread, count);
        for (long i = range.begin; i < range.end; ++i) {
            const float* row = w + i * n;
            int32_t* to = index + start[i];
            int j = 0;
            for (; j + W <= n; j += W)
                for (unsigned b = mask_bits(load(row + j) != 0.f); b; b &= b - 1) *to++ = j + __builtin_ctz(b);
            for (; j < n; ++j)
                if (row[j] != 0.f) *to++ = j;
        }
    });
    const int nnz = start[m];
    std::memset(column_start, 0, (n + 1) * sizeof(int32_t));
    for (int p = 0; p < nnz; ++p) ++column_start[index[p] + 1];
    for (int j = 0; j < n; ++j) column_start[j + 1] += column_start[j];
    for (int i = 0; i < m; ++i)
        for (int p = start[i]; p < start[i + 1]; ++p) {
            const int32_t to = column_start[index[p]]++;
            column_index[to] = i;
            order[to] = p;
        }
    for (int j = n; j > 0; --j) column_start[j] = column_start[j - 1];
    column_start[0] = 0;
}

void gather_values(const float* w, int m, int n, const int32_t* start, const int32_t* index, float* value) {
    for (int i = 0; i < m; ++i)
        for (int p = start[i]; p < start[i + 1]; ++p) value[p] = w[long(i) * n + index[p]];
}

}  // namespace
