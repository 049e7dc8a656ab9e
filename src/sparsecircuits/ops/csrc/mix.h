// Between a frozen value and a live one, by a share of each channel; sets of rows with shares of their own.
#pragma once

#include <cstdlib>

#include "simd.h"
#include "threads.h"

namespace {

/// Shares and frozen values of a row's set; `mean` is one row for all sets, or one for each.
struct Mixed {
    const float *keep, *mean;
    long rows;  // of a set
    int n;
    bool own;

    const float* share(long row) const { return keep + row / rows * n; }
    const float* frozen(long row) const { return own ? mean + row / rows * n : mean; }
};

/// y = keep * x + (1 - keep) * mean: exactly x where keep is 1, exactly mean where it is 0.
void mix(const float* x, const float* keep, const float* mean, float* y, long sets, long rows, int n, int own,
         int threads) {
    const Mixed of{keep, mean, rows, n, own != 0};
    parallel(worth(threads, sets * rows * n), [&](int thread, int count) {
        const Range range(sets * rows, thread, count);
        for (long r = range.begin; r < range.end; ++r) {
            const float *from = x + r * n, *share = of.share(r), *frozen = of.frozen(r);
            float* to = y + r * n;
            int i = 0;
            for (; i + W <= n; i += W) {
                const vf k = load(share + i);
                store(to + i, k * load(from + i) + (splat(1.f) - k) * load(frozen + i));
            }
            for (; i < n; ++i) to[i] = share[i] * from[i] + (1.f - share[i]) * frozen[i];
        }
    });
}

/// dx = grad * keep; dkeep [sets, n] = sum over a set's rows of grad * (x - mean).
void mix_grad(const float* grad, const float* x, const float* keep, const float* mean, float* dx, float* dkeep,
              long sets, long rows, int n, int own, int threads) {
    const Mixed of{keep, mean, rows, n, own != 0};
    threads = worth(threads, sets * rows * n);
    const long size = sets * n;
    float* partial = static_cast<float*>(std::calloc(size * threads, sizeof(float)));
    parallel(threads, [&](int thread, int count) {
        const Range range(sets * rows, thread, count);
        for (long r = range.begin; r < range.end; ++r) {
            const float *g = grad + r * n, *from = x + r * n, *share = of.share(r), *frozen = of.frozen(r);
            float *to = dx + r * n, *mine = partial + size * thread + r / rows * n;
            int i = 0;
            for (; i + W <= n; i += W) {
                const vf slope = load(g + i);
                store(mine + i, load(mine + i) + slope * (load(from + i) - load(frozen + i)));
                store(to + i, slope * load(share + i));
            }
            for (; i < n; ++i) {
                mine[i] += g[i] * (from[i] - frozen[i]);
                to[i] = g[i] * share[i];
            }
        }
    });
    for (long i = 0; i < size; ++i) {
        dkeep[i] = 0.f;
        for (int t = 0; t < threads; ++t) dkeep[i] += partial[size * t + i];
    }
    std::free(partial);
}

}  // namespace
