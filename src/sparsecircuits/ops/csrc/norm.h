// RMSNorm of rows, and its gradient: a row is read once, while it is in the cache.
#pragma once

#include <cmath>
#include <cstdlib>

#include "simd.h"
#include "threads.h"

namespace {

/// y = x * scale * weight with scale [rows] = 1 / sqrt(mean(x^2) + eps).
template <bool past>
void rms_norm_some(const float* x, const float* weight, float* y, float* scale, Range range, int n, float eps) {
    for (long r = range.begin; r < range.end; ++r) {
        const float* from = x + r * n;
        float* to = y + r * n;
        vf a{}, b{};
        int i = 0;
        for (; i + 2 * W <= n; i += 2 * W) {
            const vf one = load(from + i), two = load(from + i + W);
            a += one * one;
            b += two * two;
        }
        float squares = sum(a + b);
        for (; i < n; ++i) squares += from[i] * from[i];
        const float s = scale[r] = 1.f / std::sqrt(squares / float(n) + eps);
        for (i = 0; i + W <= n; i += W) put<past>(to + i, load(from + i) * splat(s) * load(weight + i));
        for (; i < n; ++i) to[i] = from[i] * s * weight[i];
    }
}

void rms_norm(const float* x, const float* weight, float* y, float* scale, long rows, int n, float eps,
              int threads) {
    const bool past = leaves_caches(y, rows, n);
    parallel(worth(threads, rows * n), [&](int thread, int count) {
        const Range range(rows, thread, count);
        if (past) rms_norm_some<true>(x, weight, y, scale, range, n, eps);
        else rms_norm_some<false>(x, weight, y, scale, range, n, eps);
    });
}

/// dx = scale * (g - x * scale^2 * mean(g x)) with g = grad * weight; dweight [n] = sum of grad * x * scale.
template <bool past>
void rms_norm_grad_some(const float* grad, const float* x, const float* weight, const float* scale, float* dx,
                        float* dweight, Range range, int n) {
    for (long r = range.begin; r < range.end; ++r) {
        const float* g = grad + r * n;
        const float* from = x + r * n;
        float* to = dx + r * n;
        const float s = scale[r];
        vf products{};
        int i = 0;
        for (; i + W <= n; i += W) {
            const vf gx = load(g + i) * load(from + i);
            store(dweight + i, load(dweight + i) + gx * splat(s));
            products += gx * load(weight + i);
        }
        float total = sum(products);
        for (; i < n; ++i) {
            dweight[i] += g[i] * from[i] * s;
            total += g[i] * from[i] * weight[i];
        }
        const float pull = total / float(n) * s * s * s;
        for (i = 0; i + W <= n; i += W)
            put<past>(to + i, load(g + i) * load(weight + i) * splat(s) - load(from + i) * splat(pull));
        for (; i < n; ++i) to[i] = g[i] * weight[i] * s - from[i] * pull;
    }
}

void rms_norm_grad(const float* grad, const float* x, const float* weight, const float* scale, float* dx,
                   float* dweight, long rows, int n, int threads) {
    const bool past = leaves_caches(dx, rows, n);
    float* partial = static_cast<float*>(std::calloc(long(n) * threads, sizeof(float)));
    parallel(worth(threads, rows * n), [&](int thread, int count) {
        const Range range(rows, thread, count);
        float* mine = partial + long(n) * thread;
        if (past) rms_norm_grad_some<true>(grad, x, weight, scale, dx, mine, range, n);
        else rms_norm_grad_some<false>(grad, x, weight, scale, dx, mine, range, n);
    });
    for (int i = 0; i < n; ++i) {
        dweight[i] = 0.f;
        for (int t = 0; t < threads; ++t) dweight[i] += partial[long(n) * t + i];
    }
    std::free(partial);
}

}  // namespace
