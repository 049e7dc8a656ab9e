// AbsTopK of rows: exactly k entries of each stay, of equal magnitudes those with the lowest index.
//
// A magnitude is compared as the integer of its bits ("key"), which orders floats rightly; every NaN is one
// key above infinity. The search for a row's threshold begins with that of the row before, goes on by
// interpolation between two bounds, and ends when exactly k keys are at or above it, or when the bounds meet
// at a tie.
#pragma once

#include "scratch.h"
#include "simd.h"
#include "threads.h"

namespace {

constexpr int32_t ABOVE_ALL = 0x7f800002;  // one more than the key of NaN

inline int32_t key_of(int32_t b) {
    b &= 0x7fffffff;
    return b < 0x7f800001 ? b : 0x7f800001;
}

/// How many keys of a row (padded with -1 to whole groups of 16) are at least t.
inline int count_at_least(const int32_t* keys, long padded, int32_t t) {
    vi a{}, b{}, c{}, d{};
    const vi bound = splat(t);
    long i = 0;
    for (; i + 4 * W <= padded; i += 4 * W) {
        a = count_if(a, load(keys + i), bound);
        b = count_if(b, load(keys + i + W), bound);
        c = count_if(c, load(keys + i + 2 * W), bound);
        d = count_if(d, load(keys + i + 3 * W), bound);
    }
    for (; i < padded; i += W) a = count_if(a, load(keys + i), bound);
    return sum((a + b) + (c + d));
}

struct Threshold {
    int32_t key;   // entries at or above it stay ...
    int ties;      // ... but of those equal to it only so many; -1: all
};

/// Finds thresholds row after row; remembers where the last one was and how steep the counts fell there.
struct Search {
    int32_t guess = 0x3f800000;
    float slope = -1e-6f;  // change of the count for one step of the key

    Threshold find(const int32_t* keys, long padded, int n, int k) {
        int32_t low = 0, high = ABOVE_ALL, t = guess;
        int at_low = n, at_high = 0;  // counts there; at_low >= k > at_high
        for (int pass = 0;; ++pass) {
            const int c = count_at_least(keys, padded, t);
            if (c == k) {
                guess = t;
                if (pass >= 2) learn(low, at_low, high, at_high);
                return {t, -1};
            }
            if (c > k) low = t, at_low = c; else high = t, at_high = c;
            if (high - low == 1) {
                guess = low;
                return {low, k - at_high};
            }
            double next;
            if (pass < 1) next = t + (k - c) / double(slope);
            else if (pass % 4 == 3) next = low + (high - low) / 2;
            else next = low + (at_low - k + 0.5) / double(at_low - at_high + 1) * (double(high) - low);
            t = next <= low ? low + 1 : next >= high ? high - 1 : int32_t(next);
        }
    }

private:
    void learn(int32_t low, int at_low, int32_t high, int at_high) {
        if (low > 0 && high < ABOVE_ALL && at_low > at_high)
            slope = 0.9f * slope + 0.1f * float(at_high - at_low) / float(high - low);
    }
};

/// What is kept of one group of 16 keys, as bits; `ties` counts down.
inline unsigned kept_bits(const int32_t* keys, Threshold& t) {
    unsigned kept = 0;
    if (t.ties < 0) {
        for (int i = 0; i < 16; i += W) kept |= mask_bits(load(keys + i) >= splat(t.key)) << i;
        return kept;
    }
    unsigned equal = 0;
    for (int i = 0; i < 16; i += W) {
        kept |= mask_bits(load(keys + i) > splat(t.key)) << i;
        equal |= mask_bits(load(keys + i) == splat(t.key)) << i;
    }
    for (; equal && t.ties > 0; equal &= equal - 1, --t.ties) kept |= equal & -equal;
    return kept;
}

void make_keys(const float* x, int n, long padded, int32_t* keys) {
    int i = 0;
    for (; i + W <= n; i += W) store(keys + i, key_of(bits(load(x + i))));
    for (; i < n; ++i) {
        int32_t b;
        std::memcpy(&b, x + i, 4);
        keys[i] = key_of(b);
    }
    for (; i < padded; ++i) keys[i] = -1;
}

/// bf16 and fp16: their magnitudes' bits are keys too; `infinity` is theirs.
void make_keys(const uint16_t* x, int n, long padded, int32_t* keys, int32_t infinity) {
    int i = 0;
    for (; i < n; ++i) {
        int32_t b = x[i] & 0x7fff;
        keys[i] = b < infinity + 1 ? b : infinity + 1;
    }
    for (; i < padded; ++i) keys[i] = -1;
}

/// The same search for W rows at once, one to a lane, their keys side by side [n, W]: no branch depends on a row.
struct Searches {
    int32_t guess = 0x3f800000;
    float slope = -1e-6f;

    /// keys[lane] >= t stay, of those equal to it `ties` (-1: all).
    void find(const int32_t* keys, int n, int k, vi& t, vi& ties) {
        vi low{}, high = splat(ABOVE_ALL), at_low = splat(int32_t(n)), at_high{}, c{};
        t = splat(guess);
        vi open = splat(int32_t(-1)), exact{};
        for (int pass = 0;; ++pass) {
            c = count(keys, n, t);
            exact = c == k;
            const vi more = c > k;
            low = more ? t : low;
            at_low = more ? c : at_low;
            high = c < k ? t : high;
            at_high = c < k ? c : at_high;
            open = ~exact & (high - low > 1);
            if (!mask_bits(open)) break;
            vi next;
            if (pass == 0) {
                // A little too far, so that the next bounds are close on both sides.
                const vf step = __builtin_convertvector(k - c, vf) + (more ? splat(-4.f) : splat(4.f));
                next = t + __builtin_convertvector(step * (1.f / slope), vi);
            } else if (pass % 6 == 5) {
                next = low + (high - low) / 2;
            } else {
                const vf part = (__builtin_convertvector(at_low - k, vf) + 0.5f) /
                                (__builtin_convertvector(at_low - at_high, vf) + 1.f);
                next = low + __builtin_convertvector(part * __builtin_convertvector(high - low, vf), vi);
            }
            next = next <= low ? low + 1 : next >= high ? high - 1 : next;
            t = open ? next : t;
        }
        t = exact ? t : low;
        ties = exact ? splat(int32_t(-1)) : k - at_high;
        learn(low, at_low, high, at_high, t);
    }

private:
    static vi count(const int32_t* keys, int n, vi t) {
        vi a{}, b{}, c{}, d{};
        int j = 0;
        for (; j + 4 <= n; j += 4) {
            a = count_if(a, load(keys + j * W), t);
            b = count_if(b, load(keys + (j + 1) * W), t);
            c = count_if(c, load(keys + (j + 2) * W), t);
            d = count_if(d, load(keys + (j + 3) * W), t);
        }
        for (; j < n; ++j) a = count_if(a, load(keys + j * W), t);
        return (a + b) + (c + d);
    }

    void learn(vi low, vi at_low, vi high, vi at_high, vi t) {
        guess = t[0] / 2 + t[W / 2] / 2;
        if (low[0] > 0 && high[0] < ABOVE_ALL && at_low[0] > at_high[0])
            slope = 0.9f * slope + 0.1f * float(at_high[0] - at_low[0]) / float(high[0] - low[0]);
    }
};

/// Rows of so few entries are searched W at a time.
constexpr int SIDE_BY_SIDE = 512;

/// Write one row's kept entries and their bits; the keys are made from x again.
template <bool past>
void write_row(const float* from, float* to, uint16_t* kept, int n, Threshold t) {
    int32_t keys[16];
    for (int i = 0; i < n; i += 16, ++kept) {
        if (i + 16 > n) {
            make_keys(from + i, n - i, 16, keys);
            *kept = uint16_t(kept_bits(keys, t));
            for (int l = 0; i + l < n; ++l) to[i + l] = *kept >> l & 1 ? from[i + l] : 0.f;
        } else if (t.ties < 0) {
            unsigned all = 0;
            for (int l = 0; l < 16; l += W) {
                const vi b = bits(load(from + i + l));
                const vi keep = key_of(b) >= splat(t.key);
                all |= mask_bits(keep) << l;
                put<past>(to + i + l, floats(b & keep));
            }
            *kept = uint16_t(all);
        } else {
            make_keys(from + i, 16, 16, keys);
            *kept = uint16_t(kept_bits(keys, t));
            for (int l = 0; l < 16; l += W)
                put<past>(to + i + l, floats(bits(load(from + i + l)) & bits_mask(*kept >> l)));
        }
    }
}

/// The rows of a matrix as they are, ld floats apart.
struct PlainRows {
    const float* x;
    long ld;

    /// Rows [r, r + count), `step` floats apart; the buffer is there for whoever has to work them out.
    const float* at(long r, int, float*, long& step) const {
        step = ld;
        return x + r * ld;
    }
};

/// Rows of y [rows, n] with the k entries of each row that stay, and their bits.
template <bool past, class Rows>
void abs_topk_some(Rows rows, float* y, uint16_t* kept, Range range, int n, int k) {
    const long groups = (n + 15) / 16, own = groups * 16;
    long r = range.begin, ld;
    if (n <= SIDE_BY_SIDE) {
        Searches searches;
        int32_t* keys = reinterpret_cast<int32_t*>(scratch().floats(2 * own * W));
        float* buffer = reinterpret_cast<float*>(keys) + own * W;
        for (; r + W <= range.end; r += W) {
            const float* x = rows.at(r, W, buffer, ld);
            float* turned = reinterpret_cast<float*>(keys);
            int j = 0;
            for (; j + W <= n; j += W) transpose<false, true>(x + j, ld, turned + j * W, W);
            for (; j < n; ++j) {
                for (int l = 0; l < W; ++l) turned[j * W + l] = x[l * ld + j];
                store(keys + j * W, key_of(load(keys + j * W)));
            }
            vi t, ties;
            searches.find(keys, n, k, t, ties);
            for (int l = 0; l < W; ++l)
                write_row<past>(x + l * ld, y + (r + l) * n, kept + (r + l) * groups, n, {t[l], ties[l]});
        }
    }
    int32_t* keys = reinterpret_cast<int32_t*>(scratch().floats(2 * own));
    float* buffer = reinterpret_cast<float*>(keys) + own;
    Search search;
    for (; r < range.end; ++r) {
        const float* x = rows.at(r, 1, buffer, ld);
        make_keys(x, n, own, keys);
        if (r + 1 < range.end)
            for (int j = 0; j < n; j += 16) __builtin_prefetch(rows.x + (r + 1) * rows.ld + j);
        write_row<past>(x, y + r * n, kept + r * groups, n, search.find(keys, own, n, k));
    }
}

template <class Rows>
void abs_topk_all(Rows x, float* y, uint16_t* kept, long rows, int n, int k, int threads) {
    const bool past = leaves_caches(y, rows, n) && n % 16 == 0;
    parallel(worth(threads, rows * n), [&](int thread, int count) {
        const Range range(rows, thread, count, W);
        if (past) abs_topk_some<true>(x, y, kept, range, n, k);
        else abs_topk_some<false>(x, y, kept, range, n, k);
    });
}

/// Rows of x are ld apart; those of y follow each other.
void abs_topk_rows(const float* x, long ld, float* y, uint16_t* kept, long rows, int n, int k, int threads) {
    abs_topk_all(PlainRows{x, ld}, y, kept, rows, n, k, threads);
}

void abs_topk_rows16(const uint16_t* x, uint16_t* y, uint16_t* kept, long rows, int n, int k, int infinity,
                     int threads) {
    const long padded = (n + 15) / 16 * 16, groups = padded / 16;
    parallel(worth(threads, rows * n), [&](int thread, int count) {
        const Range range(rows, thread, count);
        int32_t* keys = new int32_t[padded];
        Search search;
        search.guess = infinity / 2;
        for (long r = range.begin; r < range.end; ++r) {
            make_keys(x + r * n, n, padded, keys, infinity);
            Threshold t = search.find(keys, padded, n, k);
            for (long g = 0; g < groups; ++g) {
                const unsigned b = kept_bits(keys + 16 * g, t);
                kept[r * groups + g] = uint16_t(b);
                const int there = g * 16 + 16 <= n ? 16 : n - g * 16;
                for (int i = 0; i < there; ++i)
                    y[r * n + 16 * g + i] = b >> i & 1 ? x[r * n + 16 * g + i] : uint16_t(0);
            }
        }
        delete[] keys;
    });
}

template <bool past>
void abs_topk_grad_some(const float* grad, const uint16_t* kept, float* out, Range range, int n) {
    const long groups = (n + 15) / 16;
    for (long r = range.begin; r < range.end; ++r) {
        const float* from = grad + r * n;
        float* to = out + r * n;
        const uint16_t* row = kept + r * groups;
        int i = 0;
        for (; i + 16 <= n; i += 16, ++row)
            for (int l = 0; l < 16; l += W)
                put<past>(to + i + l, floats(bits(load(from + i + l)) & bits_mask(*row >> l)));
        for (; i < n; ++i) to[i] = *row >> (i % 16) & 1 ? from[i] : 0.f;
    }
}

/// grad where its bit is set, 0 elsewhere.
void abs_topk_grad(const float* grad, const uint16_t* kept, float* out, long rows, int n, int threads) {
    const bool past = leaves_caches(out, rows, n) && n % 16 == 0;
    parallel(worth(threads, rows * n), [&](int thread, int count) {
        const Range range(rows, thread, count);
        if (past) abs_topk_grad_some<true>(grad, kept, out, range, n);
        else abs_topk_grad_some<false>(grad, kept, out, range, n);
    });
}

void abs_topk_grad16(const uint16_t* grad, const uint16_t* kept, uint16_t* out, long rows, int n, int threads) {
    const long groups = (n + 15) / 16;
    parallel(worth(threads, rows * n), [&](int thread, int count) {
        const Range range(rows, thread, count);
        for (long r = range.begin; r < range.end; ++r)
            for (long i = 0; i < n; ++i)
                out[r * n + i] = kept[r * groups + i / 16] >> (i % 16) & 1 ? grad[r * n + i] : uint16_t(0);
    });
}

}  // namespace
