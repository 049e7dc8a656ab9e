// A vector of W floats or ints, W chosen by what the file is compiled for: 16 (AVX-512), 8 (AVX2), else 4.
//
// Everything is written with the compilers' vector extensions, so one source serves every instruction set;
// only transposing, and turning a comparison into bits, have forms of their own. All of it has internal
// linkage: kernels.cpp is compiled once for each instruction set, and no two copies may be mixed up.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int W = 16;
#elif defined(__AVX2__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif

typedef float vf __attribute__((vector_size(4 * W)));
typedef int32_t vi __attribute__((vector_size(4 * W)));

inline vf load(const float* p) { vf v; std::memcpy(&v, p, sizeof v); return v; }
inline vi load(const int32_t* p) { vi v; std::memcpy(&v, p, sizeof v); return v; }
inline void store(float* p, vf v) { std::memcpy(p, &v, sizeof v); }
inline void store(int32_t* p, vi v) { std::memcpy(p, &v, sizeof v); }
// Not vf{} + x: that is an addition, since -0.0 must become 0.0.
#if defined(__AVX512F__)
inline vf splat(float x) { return (vf)_mm512_set1_ps(x); }
inline vi splat(int32_t x) { return (vi)_mm512_set1_epi32(x); }
#elif defined(__AVX2__)
inline vf splat(float x) { return (vf)_mm256_set1_ps(x); }
inline vi splat(int32_t x) { return (vi)_mm256_set1_epi32(x); }
#else
inline vf splat(float x) { return vf{x, x, x, x}; }
inline vi splat(int32_t x) { return vi{x, x, x, x}; }
#endif
inline vi bits(vf v) { vi b; std::memcpy(&b, &v, sizeof b); return b; }
inline vf floats(vi b) { vf v; std::memcpy(&v, &b, sizeof v); return v; }
inline vi max(vi a, vi b) { return a > b ? a : b; }
inline vi min(vi a, vi b) { return a < b ? a : b; }
inline vf max(vf a, vf b) { return a > b ? a : b; }

/// counts + 1 where a >= b: one step of counting.
inline vi count_if(vi counts, vi a, vi b) {
#if defined(__AVX512F__)
    return (vi)_mm512_mask_add_epi32((__m512i)counts, _mm512_cmpge_epi32_mask((__m512i)a, (__m512i)b),
                                     (__m512i)counts, _mm512_set1_epi32(1));
#else
    return counts - (a >= b);
#endif
}

/// v where the lane's number is below n, `other` elsewhere.
inline vf first_lanes(vf v, int n, float other) {
    vi lane;
    for (int i = 0; i < W; ++i) lane[i] = i;
    return lane < splat(int32_t(n)) ? v : splat(other);
}

/// The first n < W entries of a row, the rest filled with `fill`.
inline vf load_some(const float* p, int n, float fill) {
    vf v = splat(fill);
    std::memcpy(&v, p, 4 * n);
    return v;
}

inline float sum(vf v) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)v);
#else
    float s[W];
    std::memcpy(s, &v, sizeof s);
    for (int step = W / 2; step; step /= 2)
        for (int i = 0; i < step; ++i) s[i] += s[i + step];
    return s[0];
#endif
}
inline int32_t sum(vi v) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_epi32((__m512i)v);
#else
    int32_t s[W], t = 0;
    std::memcpy(s, &v, sizeof s);
    for (int i = 0; i < W; ++i) t += s[i];
    return t;
#endif
}
/// The largest entry; what it is where some are NaN is left open.
inline float largest(vf v) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)v);
#else
    float s[W];
    std::memcpy(s, &v, sizeof s);
    for (int step = W / 2; step; step /= 2)
        for (int i = 0; i < step; ++i) s[i] = s[i + step] > s[i] ? s[i + step] : s[i];
    return s[0];
#endif
}

/// One bit for each entry of a comparison (all ones or all zeros).
inline unsigned mask_bits(vi m) {
#if defined(__AVX512DQ__)
    return _mm512_movepi32_mask((__m512i)m);
#elif defined(__AVX2__)
    return unsigned(_mm256_movemask_ps((__m256)m));
#elif defined(__SSE2__)
    return unsigned(_mm_movemask_ps((__m128)m));
#else
    unsigned b = 0;
    for (int i = 0; i < W; ++i) b |= unsigned(m[i] & 1) << i;
    return b;
#endif
}

/// The other way round: all ones where a bit is set.
inline vi bits_mask(unsigned b) {
#if defined(__AVX512DQ__)
    return (vi)_mm512_movm_epi32(__mmask16(b));
#else
    vi lane;
    for (int i = 0; i < W; ++i) lane[i] = 1 << i;
    return (splat(int32_t(b)) & lane) == lane;
#endif
}

/// The larger of a bound and x; NaN stays.
inline vf at_least(float bound, vf x) {
#if defined(__AVX512F__)
    return (vf)_mm512_max_ps(_mm512_set1_ps(bound), (__m512)x);
#elif defined(__AVX2__)
    return (vf)_mm256_max_ps(_mm256_set1_ps(bound), (__m256)x);
#else
    return x < bound ? splat(bound) : x;
#endif
}

/// exp of what is not above 88, within 2 ulp; NaN stays NaN, what is below -87.3 gives 1e-38.
inline vf exp(vf x) {
    x = at_least(-87.3f, x);
    const float magic = 12582912.f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
    vf shifted = x * 1.44269504088896341f + magic;
    vf n = shifted - magic;
    vf r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    vf p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.f;
    return floats(bits(p) + (bits(shifted) << 23));
}

/// Store what will not be read again soon: past the caches, where p allows it.
template <bool past>
inline void put(float* p, vf v) {
#if defined(__AVX512F__)
    if (past) return _mm512_stream_ps(p, (__m512)v);
#endif
    store(p, v);
}

/// Whether a result [rows, n] is so large that it will have left the caches before anyone reads it, and can be
/// written past them.
inline bool leaves_caches(const float* p, long rows, long n) {
    return rows * n * 4 >= (2l << 20) && n % W == 0 && reinterpret_cast<uintptr_t>(p) % (4 * W) == 0;
}

/// A magnitude as an integer that orders as it does ("key"): the bits without the sign; all NaN are one.
inline vi key_of(vi b) { return min(b & 0x7fffffff, splat(0x7f800001)); }

/// Transpose a W x W block: rows of `from` (a stride apart) become columns in `to`; with `keys`, their keys do.
template <bool past = false, bool keys = false>
inline void transpose(const float* from, long from_stride, float* to, long to_stride) {
#if defined(__AVX512F__)
    __m512 r[16], t[16];
    for (int i = 0; i < 16; ++i) {
        r[i] = _mm512_loadu_ps(from + i * from_stride);
        if (keys) r[i] = (__m512)key_of((vi)r[i]);
    }
    for (int i = 0; i < 8; ++i) {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; ++i) {
        __m512d a = _mm512_castps_pd(t[4 * i]), b = _mm512_castps_pd(t[4 * i + 1]);
        __m512d c = _mm512_castps_pd(t[4 * i + 2]), d = _mm512_castps_pd(t[4 * i + 3]);
        r[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        r[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        r[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        r[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    for (int i = 0; i < 4; ++i) {
        t[i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0x88);
        t[4 + i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0xdd);
        t[8 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0x88);
        t[12 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0xdd);
    }
    for (int i = 0; i < 4; ++i) {
        put<past>(to + i * to_stride, (vf)_mm512_shuffle_f32x4(t[i], t[8 + i], 0x88));
        put<past>(to + (4 + i) * to_stride, (vf)_mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0x88));
        put<past>(to + (8 + i) * to_stride, (vf)_mm512_shuffle_f32x4(t[i], t[8 + i], 0xdd));
        put<past>(to + (12 + i) * to_stride, (vf)_mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0xdd));
    }
#elif defined(__AVX2__)
    __m256 r[8], t[8];
    for (int i = 0; i < 8; ++i) {
        r[i] = _mm256_loadu_ps(from + i * from_stride);
        if (keys) r[i] = (__m256)key_of((vi)r[i]);
    }
    for (int i = 0; i < 4; ++i) {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
        r[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
        r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
        _mm256_storeu_ps(to + i * to_stride, _mm256_permute2f128_ps(r[i], r[4 + i], 0x20));
        _mm256_storeu_ps(to + (4 + i) * to_stride, _mm256_permute2f128_ps(r[i], r[4 + i], 0x31));
    }
#else
    for (int i = 0; i < W; ++i) {
        vf row = load(from + i * from_stride);
        if (keys) row = floats(key_of(bits(row)));
        for (int j = 0; j < W; ++j) to[j * to_stride + i] = row[j];
    }
#endif
}

}  // namespace
