// dW [m, n] = sum over tokens of dy[t]^T x[t], all of it, where dy is largely zero.
//
// AbsTopK leaves a quarter of the gradients behind it, so a row of dW has something to add for a quarter of the
// tokens only. Tokens are taken in tiles of 64; for each row the nonzero gradients of a tile are listed, and a
// stretch of the row is held in registers while the listed tokens' inputs are added to it. Rows belong to threads,
// so the sums do not depend on how many there are.
#pragma once

#include "linear.h"
#include "scratch.h"
#include "simd.h"
#include "threads.h"

namespace {

constexpr int TOKENS = 64;
constexpr int HELD = 8;  // vectors of a row that are held in registers
constexpr int STRETCH = HELD * W;

/// The tokens of one tile whose gradient of one row is not zero.
struct Listed {
    int32_t token[TOKENS + 16];  // room for a whole vector behind the last
};

inline int list_nonzero(const float* gradients, Listed& to) {
    int count = 0;
    for (int t = 0; t < TOKENS; t += W) {
        unsigned there = mask_bits(load(gradients + t) != splat(0.f));
#if defined(__AVX512F__)
        const __m512i lane = _mm512_add_epi32(
            _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0), _mm512_set1_epi32(t));
        _mm512_storeu_si512(to.token + count, _mm512_maskz_compress_epi32(__mmask16(there), lane));
        count += __builtin_popcount(there);
#else
        for (; there; there &= there - 1) to.token[count++] = t + __builtin_ctz(there);
#endif
    }
    return count;
}

/// row [STRETCH] += sum over the listed tokens of gradient * x[token], x [TOKENS, STRETCH].
inline void add_listed(const Listed& list, int count, const float* gradients, const float* x, float* row) {
    vf held[HELD];
    for (int a = 0; a < HELD; ++a) held[a] = load(row + a * W);
    for (int p = 0; p < count; ++p) {
        const int t = list.token[p];
        const vf g = splat(gradients[t]);
        for (int a = 0; a < HELD; ++a) held[a] += g * load(x + t * STRETCH + a * W);
    }
    for (int a = 0; a < HELD; ++a) store(row + a * W, held[a]);
}

/// A block of dW: rows [begin, begin + own), columns [first, first + columns); x and dw are its whole matrices.
struct Block {
    long begin, own, first, columns;
};

/// Sum a block over all tokens; it stays in the core's own cache meanwhile.
void outer_sum_block(const float* dy, const float* x, float* dw, long tokens, int m, int n, Block at) {
    const long wide = (at.columns + STRETCH - 1) / STRETCH * STRETCH;
    const bool direct = wide == at.columns;
    const long lists = (at.own * long(sizeof(Listed)) + 63) / 64 * 16, lengths = (at.own + 15) / 16 * 16;
    float* memory = scratch().floats(lists + lengths + at.own * TOKENS + TOKENS * STRETCH +
                                     (direct ? 0 : at.own * wide));
    Listed* list = reinterpret_cast<Listed*>(memory);
    int32_t* length = reinterpret_cast<int32_t*>(memory + lists);
    float* gradients = memory + lists + lengths;
    float* inputs = gradients + at.own * TOKENS;
    float* out = direct ? dw + at.begin * n + at.first : inputs + TOKENS * STRETCH;
    const long ld = direct ? n : wide;
    for (long i = 0; i < at.own; ++i) std::memset(out + i * ld, 0, wide * sizeof(float));
    for (long t = 0; t < tokens; t += TOKENS) {
        const int there = int(tokens - t < TOKENS ? tokens - t : TOKENS);
        columns_to_features(dy + t * m + at.begin, m, there, int(at.own), gradients, TOKENS);
        for (long i = 0; i < at.own; ++i) length[i] = list_nonzero(gradients + i * TOKENS, list[i]);
        for (long j = 0; j < at.columns; j += STRETCH) {
            const long width = at.columns - j < STRETCH ? at.columns - j : STRETCH;
            for (int s = 0; s < there; ++s) {
                std::memcpy(inputs + s * STRETCH, x + (t + s) * n + at.first + j, width * sizeof(float));
                std::memset(inputs + s * STRETCH + width, 0, (STRETCH - width) * sizeof(float));
            }
            for (long i = 0; i < at.own; ++i)
                if (length[i]) add_listed(list[i], length[i], gradients + i * TOKENS, inputs, out + i * ld + j);
        }
    }
    if (!direct)
        for (long i = 0; i < at.own; ++i)
            std::memcpy(dw + (at.begin + i) * n + at.first, out + i * wide, at.columns * sizeof(float));
}

void outer_sum(const float* dy, const float* x, float* dw, long tokens, int m, int n, int threads) {
    const long columns = n < 1024 ? n : 1024;
    const long rows = (3l << 18) / (4 * columns) / W * W;  // 768 kB a block
    parallel(worth(threads, tokens * (m + n)), [&](int thread, int count) {
        const Range range(m, thread, count, W);
        for (long i = range.begin; i < range.end; i += rows)
            for (long j = 0; j < n; j += columns)
                outer_sum_block(dy, x, dw, tokens, m, n,
                                {i, range.end - i < rows ? range.end - i : rows, j, n - j < columns ? n - j : columns});
    });
}

}  // namespace
