// The weight projection: keep the k largest entries of a matrix, each neuron's own `floor` largest among them.
//
// 1. A sample says between which two keys the threshold lies (key: bits of the magnitude, as in topk.h).
// 2. One pass counts the entries above the upper one, neuron by neuron, and lists those between ("window").
//    Neurons with fewer than `floor` above it ("short" ones) have their own largest looked up.
// 3. The threshold is found in the window, by counting; if it is not there, again with a wider window.
// 4. One pass writes zeros: an entry stays if its key reaches the threshold or its short neuron's own.
// Of entries equal to a threshold those with the lowest index stay, as everywhere.
#pragma once

#include <cmath>
#include <cstdlib>

#include "scratch.h"
#include "simd.h"
#include "threads.h"
#include "topk.h"

namespace {

/// A growing list that keeps to this file: no standard template may be shared between instruction sets.
template <class T>
struct List {
    T* data = nullptr;
    long size = 0, room = 0;
    ~List() { std::free(data); }
    void reserve(long more) {
        if (size + more <= room) return;
        room = 2 * (size + more);
        data = static_cast<T*>(std::realloc(data, room * sizeof(T)));
    }
    void add(T x) {
        reserve(1);
        data[size++] = x;
    }
};

/// Entries of the matrix: their keys, and their flat indices.
struct Entries {
    List<int32_t> key, place;

    void add(int32_t k, int32_t p) {
        key.add(k);
        place.add(p);
    }

    /// Those of one vector of keys whose bit is set; room for a whole vector must be there.
    void add_some(vi keys, unsigned bits, long first) {
#if defined(__AVX512F__)
        const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        const __m512i places = _mm512_add_epi32(lane, _mm512_set1_epi32(int32_t(first)));
        _mm512_storeu_si512(key.data + key.size, _mm512_maskz_compress_epi32(__mmask16(bits), (__m512i)keys));
        _mm512_storeu_si512(place.data + place.size, _mm512_maskz_compress_epi32(__mmask16(bits), places));
        key.size = place.size += __builtin_popcount(bits);
#else
        for (; bits; bits &= bits - 1) {
            const int i = __builtin_ctz(bits);
            key.data[key.size++] = keys[i];
            place.data[place.size++] = int32_t(first + i);
        }
#endif
    }
};

/// A threshold that the k largest of keys[0 .. n) reach, and besides them only what is equal to the k-th. There
/// must be room for 15 more.
int32_t kth_largest(int32_t* keys, long n, long k) {
    const long whole = (n + 15) / 16 * 16;
    for (long i = n; i < whole; ++i) keys[i] = -1;
    Search search;
    search.guess = keys[n / 2] > 0 ? keys[n / 2] : 1;
    return search.find(keys, whole, int(n), int(k)).key;
}

/// A neuron's own threshold: its `floor`-th largest key, and how many of those equal to it are among them.
struct Own {
    int32_t key;
    int room;   // of the entries equal to key, the first so many are protected
    int equal;  // how many are equal to it
};

Own own_threshold(const float* x, long n, int floor) {
    if (n <= floor) return {0, int(n), 0};
    int32_t best[64];
    for (int f = 0; f < floor; ++f) best[f] = -1;
    const auto insert = [&](int32_t key) {
        int f = floor - 1;
        for (; f > 0 && best[f - 1] < key; --f) best[f] = best[f - 1];
        best[f] = key;
    };
    long j = 0;
    for (; j + W <= n; j += W) {
        const vi keys = key_of(bits(load(x + j)));
        for (unsigned b = mask_bits(keys > splat(best[floor - 1])); b; b &= b - 1) {
            const int32_t key = keys[__builtin_ctz(b)];
            if (key > best[floor - 1]) insert(key);
        }
    }
    for (; j < n; ++j) {
        int32_t b;
        std::memcpy(&b, x + j, 4);
        if (key_of(b) > best[floor - 1]) insert(key_of(b));
    }
    Own own{best[floor - 1], 0, 0};
    for (int f = 0; f < floor; ++f) own.room += best[f] == own.key;
    vi equal{};
    for (j = 0; j + W <= n; j += W) equal -= key_of(bits(load(x + j))) == splat(own.key);
    own.equal = sum(equal);
    for (; j < n; ++j) {
        int32_t b;
        std::memcpy(&b, x + j, 4);
        own.equal += key_of(b) == own.key;
    }
    return own;
}

struct Projection {
    float* w;
    long rows, cols;
    long k;
    int floor, axis;  // axis 1: a neuron is a row; 0: a column
    int threads;

    long neuron_of(long place) const { return axis == 1 ? place / cols : place % cols; }
    long neurons() const { return axis == 1 ? rows : cols; }
    long length() const { return axis == 1 ? cols : rows; }
    int32_t key_at(long place) const {
        int32_t b;
        std::memcpy(&b, w + place, 4);
        return key_of(b);
    }
};

/// Keys that should stand around the k-th largest of all, from a sample: `low` a little too low, `high` too high.
void bracket(const Projection& p, int32_t& low, int32_t& high) {
    const long n = p.rows * p.cols;
    long count = n / 64;
    count = count < 1024 ? 1024 : count > 8192 ? 8192 : count;
    low = 0, high = ABOVE_ALL;
    if (n < 2 * count) return;
    int32_t* sample = static_cast<int32_t*>(std::malloc((count + 16) * sizeof(int32_t)));
    uint64_t state = 0x9e3779b97f4a7c15ull;
    const long step = n / count;
    for (long i = 0; i < count; ++i) {  // one place, chosen by a hash, from each of `count` equal stretches
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        sample[i] = p.key_at(i * step + long((state >> 33) % uint64_t(step)));
    }
    const double share = double(p.k) / n, expected = share * count;
    const double spread = 3.5 * std::sqrt(expected * (1 - share)) + 2;
    const long above = long(expected - spread), below = long(expected + spread) + 1;
    if (below < count) low = kth_largest(sample, count, below);
    if (above >= 1) high = kth_largest(sample, count, above);
    if (high <= low) high = low + 1;
    std::free(sample);
}

/// What one pass found.
struct Window {
    int32_t low, high;
    int32_t* above;  // [neurons] entries with key >= high
    Entries* found;  // [threads] entries with low <= key < high, by place
};

void scan(const Projection& p, Window& window) {
    const vi low = splat(window.low), high = splat(window.high);
    const long neurons = p.neurons();
    int32_t* partial = p.axis == 1 ? nullptr : static_cast<int32_t*>(std::calloc(neurons * p.threads, 4));
    parallel(p.threads, [&](int thread, int count) {
        const Range range(p.rows, thread, count);
        Entries& found = window.found[thread];
        int32_t* column_above = partial + neurons * thread;
        for (long r = range.begin; r < range.end; ++r) {
            const float* row = p.w + r * p.cols;
            found.key.reserve(p.cols + W);
            found.place.reserve(p.cols + W);
            vi above{};
            long j = 0;
            for (; j + W <= p.cols; j += W) {
                const vi keys = key_of(bits(load(row + j)));
                const vi over = keys >= high;
                if (p.axis == 1) above -= over;
                else store(column_above + j, load(column_above + j) - over);
                found.add_some(keys, mask_bits((keys >= low) & ~over), r * p.cols + j);
            }
            int more = 0;
            for (; j < p.cols; ++j) {
                const int32_t key = p.key_at(r * p.cols + j);
                if (key >= window.high) p.axis == 1 ? ++more : ++column_above[j];
                else if (key >= window.low) found.add(key, int32_t(r * p.cols + j));
            }
            if (p.axis == 1) window.above[r] = sum(above) + more;
        }
    });
    if (partial) {
        for (long i = 0; i < neurons; ++i) {
            window.above[i] = 0;
            for (int t = 0; t < p.threads; ++t) window.above[i] += partial[neurons * t + i];
        }
        std::free(partial);
    }
}

/// Fill own[] for every neuron with fewer than floor entries above the window.
void look_up_short(const Projection& p, const int32_t* above, Own* own) {
    const long length = p.length();
    parallel(p.threads, [&](int thread, int count) {
        const Range range(p.neurons(), thread, count, W);
        float* turned = p.axis == 1 ? nullptr : scratch().floats(length * W);
        for (long first = range.begin; first < range.end; first += W) {
            const long end = first + W < range.end ? first + W : range.end;
            bool any = false;
            for (long i = first; i < end; ++i) any |= above[i] < p.floor;
            if (!any) continue;
            if (p.axis == 0) {
                long r = 0;
                if (end - first == W)
                    for (; r + W <= length; r += W)
                        transpose(p.w + r * p.cols + first, p.cols, turned + r, length);
                for (; r < length; ++r)
                    for (long i = first; i < end; ++i) turned[(i - first) * length + r] = p.w[r * p.cols + i];
            }
            for (long i = first; i < end; ++i)
                if (above[i] < p.floor)
                    own[i] = own_threshold(p.axis == 1 ? p.w + i * p.cols : turned + (i - first) * length, length,
                                           p.floor);
        }
    });
}

/// Keep what reaches its neuron's bound.
void write(const Projection& p, const int32_t* bound) {
    parallel(p.threads, [&](int thread, int count) {
        const Range range(p.rows, thread, count);
        for (long r = range.begin; r < range.end; ++r) {
            float* row = p.w + r * p.cols;
            long j = 0;
            for (; j + W <= p.cols; j += W) {
                const vi b = bits(load(row + j));
                const vi least = p.axis == 1 ? splat(bound[r]) : load(bound + j);
                store(row + j, floats(b & (key_of(b) >= least)));
            }
            for (; j < p.cols; ++j)
                if (p.key_at(r * p.cols + j) < bound[p.axis == 1 ? r : j]) row[j] = 0.f;
        }
    });
}

/// Whether the threshold was in the window, or on which side of it.
enum class Found { below, here, above };

/// One attempt with a window; nothing is changed unless the threshold is in it.
Found project_within(const Projection& p, int32_t low, int32_t high) {
    const long neurons = p.neurons();
    const long floor = p.floor < p.length() ? p.floor : p.length();
    int32_t* above = static_cast<int32_t*>(std::malloc(neurons * sizeof(int32_t)));
    Own* own = static_cast<Own*>(std::calloc(neurons, sizeof(Own)));
    auto* lists = new Entries[p.threads];
    Window window{low, high, above, lists};
    scan(p, window);
    long rest_above = 0;
    bool any_short = false;
    for (long i = 0; i < neurons; ++i) {
        if (above[i] > floor) rest_above += above[i] - floor;
        any_short |= above[i] < floor;
    }
    if (any_short) look_up_short(p, above, own);

    // Entries of the window that no floor protects. Those equal to a short neuron's own threshold are
    // protected in the order of their places, as many as there is room for.
    Entries rest;
    int32_t* taken = static_cast<int32_t*>(std::calloc(neurons, sizeof(int32_t)));
    for (int t = 0; t < p.threads; ++t) {
        const Entries& list = lists[t];
        rest.key.reserve(list.key.size);
        rest.place.reserve(list.key.size);
        if (!any_short) {
            std::memcpy(rest.key.data + rest.key.size, list.key.data, list.key.size * sizeof(int32_t));
            std::memcpy(rest.place.data + rest.place.size, list.place.data, list.key.size * sizeof(int32_t));
            rest.key.size = rest.place.size += list.key.size;
            continue;
        }
        for (long e = 0; e < list.key.size; ++e) {
            const int32_t key = list.key.data[e], place = list.place.data[e];
            const long neuron = p.neuron_of(place);
            const Own& mine = own[neuron];
            if (above[neuron] < floor && key >= mine.key &&
                (key > mine.key || taken[neuron]++ < mine.room)) continue;
            rest.key.data[rest.key.size++] = key;
            rest.place.data[rest.place.size++] = place;
        }
    }
    const long want = p.k - neurons * floor;  // places left for entries that no floor protects
    const Found found = want < rest_above                   ? Found::above
                        : want > rest_above + rest.key.size ? Found::below
                                                            : Found::here;
    if (found == Found::here) {
        int32_t threshold = high;
        if (want > rest_above) {
            int32_t* keys = static_cast<int32_t*>(std::malloc((rest.key.size + 16) * sizeof(int32_t)));
            std::memcpy(keys, rest.key.data, rest.key.size * sizeof(int32_t));
            threshold = kth_largest(keys, rest.key.size, want - rest_above);
            std::free(keys);
        }
        int32_t* bound = static_cast<int32_t*>(std::malloc(neurons * sizeof(int32_t)));
        List<int32_t> surplus;  // too many of them equal to a threshold: the last in place go
        long room = want - rest_above;
        for (long e = 0; e < rest.key.size; ++e) room -= rest.key.data[e] > threshold;
        for (long e = 0; e < rest.key.size; ++e)
            if (rest.key.data[e] == threshold && --room < 0) surplus.add(rest.place.data[e]);
        for (long i = 0; i < neurons; ++i) {
            bound[i] = threshold > 1 ? threshold : 1;  // a zero that stays is written as one that does not
            if (above[i] >= floor || own[i].key >= threshold) continue;
            bound[i] = own[i].key > 1 ? own[i].key : 1;
            if (own[i].key == 0 || own[i].equal <= own[i].room) continue;  // which zeros stay is all the same
            int left = own[i].room;
            for (long l = 0; l < p.length(); ++l) {
                const long place = p.axis == 1 ? i * p.cols + l : l * p.cols + i;
                if (p.key_at(place) == own[i].key && --left < 0) surplus.add(int32_t(place));
            }
        }
        write(p, bound);
        for (long s = 0; s < surplus.size; ++s) p.w[surplus.data[s]] = 0.f;
        std::free(bound);
    }
    std::free(taken);
    std::free(own);
    std::free(above);
    delete[] lists;
    return found;
}

void keep_largest(float* w, long rows, long cols, long k, int floor, int axis, int threads) {
    const Projection p{w, rows, cols, k, floor, axis, threads};
    const long floored = floor < p.length() ? floor : p.length();
    int32_t low = ABOVE_ALL, high = ABOVE_ALL;
    if (k > p.neurons() * floored) bracket(p, low, high);  // else every place is a floor's, and no threshold needed
    const Found found = project_within(p, low, high);
    if (found == Found::here) return;
    // The floor binds: the threshold is higher. Or the sample was unlucky.
    if (found == Found::above && project_within(p, high, ABOVE_ALL) == Found::here) return;
    project_within(p, 0, ABOVE_ALL);
}

}  // namespace
