// GELU, the exact one: x times the normal distribution's cumulative probability; and its gradient.
//
// The probability beyond |x| is exp(-x^2 / 2) times a polynomial (Abramowitz and Stegun 7.1.26): within 1e-7 everywhere,
// and without the cancellation that 1 + erf has far to the left.
#pragma once

#include "simd.h"
#include "threads.h"
#include "pack.h"
#include "topk.h"

namespace {

/// The normal distribution's cumulative probability at x; bell: exp(-x^2 / 2).
inline vf cumulative(vf x, vf& bell) {
    const vf size = floats(bits(x) & 0x7fffffff);
    const vf depth = x * x * splat(-0.5f);
    bell = floats(bits(exp(depth)) & ~(depth < -87.f));  // what is that small is nothing
    const vf t = splat(1.f) / (splat(1.f) + size * splat(0.3275911f * 0.70710678f));
    vf p = splat(1.061405429f);
    p = p * t + splat(-1.453152027f);
    p = p * t + splat(1.421413741f);
    p = p * t + splat(-0.284496736f);
    p = p * t + splat(0.254829592f);
    const vf beyond = p * t * bell * splat(0.5f);
    return x > splat(0.f) ? splat(1.f) - beyond : beyond;
}

inline vf gelu_of(vf x) {
    vf bell;
    return x * cumulative(x, bell);
}

inline vf gelu_slope(vf x) {
    vf bell;
    const vf below = cumulative(x, bell);
    return below + x * bell * splat(0.39894228f);
}

template <class F>
void elementwise(long n, float* out, int threads, F f) {
    const bool past = leaves_caches(out, 1, n / W * W);
    parallel(worth(threads, n), [&](int thread, int count) {
        const Range range(n, thread, count, 16);
        long i = range.begin;
        if (past) for (; i + W <= range.end; i += W) put<true>(out + i, f(i, W));
        for (; i + W <= range.end; i += W) store(out + i, f(i, W));
        if (i < range.end) {
            const vf y = f(i, int(range.end - i));
            std::memcpy(out + i, &y, (range.end - i) * sizeof(float));
        }
    });
}

inline vf load_up_to(const float* p, int n) { return n == W ? load(p) : load_some(p, n, 0.f); }

void gelu(const float* x, float* y, long n, int threads) {
    elementwise(n, y, threads, [&](long i, int there) { return gelu_of(load_up_to(x + i, there)); });
}

void gelu_grad(const float* grad, const float* x, float* dx, long n, int threads) {
    elementwise(n, dx, threads, [&](long i, int there) {
        return load_up_to(grad + i, there) * gelu_slope(load_up_to(x + i, there));
    });
}

/// GELU of rows, worked out where they are needed: so AbsTopK of GELU reads x once and writes y once.
struct GeluRows {
    const float* x;
    long ld;
    int n;

    const float* at(long r, int count, float* buffer, long& step) const {
        step = (n + 15) / 16 * 16;
        for (int l = 0; l < count; ++l) {
            const float* from = x + (r + l) * ld;
            float* to = buffer + l * step;
            int i = 0;
            for (; i + W <= n; i += W) store(to + i, gelu_of(load(from + i)));
            if (i < n) store(to + i, gelu_of(load_some(from + i, n - i, 0.f)));
        }
        return buffer;
    }
};

void gelu_topk(const float* x, float* y, uint16_t* kept, long rows, int n, int k, int threads) {
    abs_topk_all(GeluRows{x, n, n}, y, kept, rows, n, k, threads);
}

/// Of x there are the k entries of each row alone that AbsTopK kept, as pack_marked leaves them.
template <bool past>
void gelu_topk_grad_some(const float* grad, const uint16_t* kept, const float* values, float* dx, Range range, int n,
                         int k) {
    const long groups = (n + 15) / 16;
    float x[16];
    for (long r = range.begin; r < range.end; ++r) {
        const uint16_t* row = kept + r * groups;
        const float* from = values + r * k;
        for (int i = 0; i < n; i += W) {
            if (i % 16 == 0) from = spread(from, row[i / 16], x);
            const int there = n - i < W ? n - i : W;
            const vi mask = bits_mask(row[i / 16] >> (i % 16));
            const vf slope = load_up_to(grad + r * n + i, there) * gelu_slope(load(x + i % 16));
            const vf masked = floats(bits(slope) & mask);
            if (there == W) put<past>(dx + r * n + i, masked);
            else std::memcpy(dx + r * n + i, &masked, there * sizeof(float));
        }
    }
}

void gelu_topk_grad(const float* grad, const uint16_t* kept, const float* values, float* dx, long rows, int n, int k,
                    int threads) {
    const bool past = leaves_caches(dx, rows, n);
    parallel(worth(threads, rows * n), [&](int thread, int count) {
        const Range range(rows, thread, count);
        if (past) gelu_topk_grad_some<true>(grad, kept, values, dx, range, n, k);
        else gelu_topk_grad_some<false>(grad, kept, values, dx, range, n, k);
    });
}

}  // namespace
