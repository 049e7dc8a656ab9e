// Tensors that are mostly zero, as the values that are not and a bit for each place.
//
// A tensor is rows of n entries, up to k of them not zero; a row's bits are ceil(n / 16) words of 16, as AbsTopK's
// are, its values k floats. An entry is zero if all its bits are, so that -0.0 is a value and comes back.
#pragma once

#include <atomic>

#include "simd.h"
#include "threads.h"

namespace {

/// Those of up to 16 entries whose bit is set, one behind the other; returns the place behind them.
inline float* squeeze(const float* from, unsigned b, int there, float* to) {
#if defined(__AVX512F__)
    const __m512 v = there == 16 ? _mm512_loadu_ps(from) : (__m512)load_some(from, there, 0.f);
    const int count = __builtin_popcount(b);
    // Two steps: compressing into memory at once is far slower on some processors.
    _mm512_mask_storeu_ps(to, __mmask16((1u << count) - 1), _mm512_maskz_compress_ps(__mmask16(b), v));
    return to + count;
#else
    for (; b; b &= b - 1) *to++ = from[__builtin_ctz(b)];
    return to;
#endif
}

/// The inverse: 16 entries, 0 where no bit is set; returns the first value that was not taken.
inline const float* spread(const float* from, unsigned b, float* to) {
#if defined(__AVX512F__)
    _mm512_storeu_ps(to, _mm512_maskz_expandloadu_ps(__mmask16(b), from));
    return from + __builtin_popcount(b);
#else
    std::memset(to, 0, 16 * sizeof(float));
    for (; b; b &= b - 1) to[__builtin_ctz(b)] = *from++;
    return from;
#endif
}

inline unsigned nonzero_bits(const float* x, int there) {
    unsigned b = 0;
    for (int i = 0; i < there; i += W)
        b |= mask_bits(bits(there - i < W ? load_some(x + i, there - i, 0.f) : load(x + i)) != splat(int32_t(0))) << i;
    return b;
}

inline int entries(long g, int n) { return n - 16 * g < 16 ? int(n - 16 * g) : 16; }

/// The most entries that any of some rows has.
int most_nonzero(const float* x, long rows, int n) {
    int most = 0;
    for (long r = 0; r < rows; ++r) {
        int found = 0;
        for (long g = 0; 16 * g < n; ++g) found += __builtin_popcount(nonzero_bits(x + r * n + 16 * g, entries(g, n)));
        most = found > most ? found : most;
    }
    return most;
}

/// Marks and values of rows with up to k entries each; false if one has more, and then what is there is of no use.
bool pack_rows(const float* x, uint16_t* marks, float* values, long rows, int n, int k, int threads) {
    const long groups = (n + 15) / 16;
    std::atomic<bool> fits{true};
    parallel(worth(threads, rows * n), [&](int thread, int count) {
        const Range range(rows, thread, count);
        for (long r = range.begin; r < range.end; ++r) {
            float *to = values + r * k, *end = to + k;
            for (long g = 0; g < groups; ++g) {
                const float* from = x + r * n + 16 * g;
                const unsigned b = nonzero_bits(from, entries(g, n));
                if (to + __builtin_popcount(b) > end) {
                    fits = false;
                    return;
                }
                marks[r * groups + g] = uint16_t(b);
                to = squeeze(from, b, entries(g, n), to);
            }
            while (to < end) *to++ = 0.f;
        }
    });
    return fits;
}

/// The entries of x that are marked, k of each row: values [rows, k].
void pack_marked(const float* x, const uint16_t* marks, float* values, long rows, int n, int k, int threads) {
    const long groups = (n + 15) / 16;
    parallel(worth(threads, rows * n), [&](int thread, int count) {
        const Range range(rows, thread, count);
        for (long r = range.begin; r < range.end; ++r) {
            float* to = values + r * k;
            for (long g = 0; g < groups; ++g)
                to = squeeze(x + r * n + 16 * g, marks[r * groups + g], entries(g, n), to);
        }
    });
}

/// The rows whole again.
void unpack_rows(const float* values, const uint16_t* marks, float* x, long rows, int n, int k, int threads) {
    const long groups = (n + 15) / 16;
    parallel(worth(threads, rows * n), [&](int thread, int count) {
        const Range range(rows, thread, count);
        for (long r = range.begin; r < range.end; ++r) {
            const float* from = values + r * k;
            for (long g = 0; g < groups; ++g) {
                float *to = x + r * n + 16 * g, last[16];
                const int there = entries(g, n);
                from = spread(from, marks[r * groups + g], there == 16 ? to : last);
                if (there < 16) std::memcpy(to, last, there * sizeof(float));
            }
        }
    });
}

}  // namespace
