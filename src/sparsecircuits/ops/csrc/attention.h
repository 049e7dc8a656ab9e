// Causal attention with an optional sink, one head at a time, the pattern never leaving the cache.
//
// Tensors are [batch, pos, head, d_head] with a head's channels side by side, and otherwise lie as they like
// (Strides); results have no gaps. Query t sees keys up to t + keys - queries. Forward keeps each
// query's log of the softmax's denominator (the sink in it), from which backward makes the pattern again.
#pragma once

#include <cmath>

#include "scratch.h"
#include "simd.h"
#include "threads.h"

namespace {

struct AttentionShape {
    int batch, head, queries, keys, width;
    float scale;
};

/// Floats from one batch, position and head to the next.
struct Strides {
    long batch, pos, head;

    long at(long b, long h, long t = 0) const { return b * batch + t * pos + h * head; }
};

constexpr int QUERIES = W == 16 ? 8 : 4;    // queries that share each load of a key
constexpr int CHANNELS = W == 16 ? 16 : 8;  // channels that share each load of a weight

inline int padded(int n) { return (n + W - 1) / W * W; }

/// rows [n, e] (ld apart), scaled, to [n, ep] with zeros behind.
void copy_rows(const float* from, long ld, int n, int e, int ep, float scale, float* to) {
    if (e == ep) {
        for (int i = 0; i < n; ++i)
            for (int c = 0; c < e; c += W) store(to + long(i) * ep + c, load(from + i * ld + c) * scale);
        return;
    }
    for (int i = 0; i < n; ++i) {
        for (int c = 0; c < e; ++c) to[long(i) * ep + c] = from[i * ld + c] * scale;
        for (int c = e; c < ep; ++c) to[long(i) * ep + c] = 0.f;
    }
}

/// rows [n, ep] to columns [e, np], zeros behind.
void turn_rows(const float* rows, int n, int ep, int e, int np, float* to) {
    int i = 0;
    for (; i + W <= n; i += W) {
        int c = 0;
        for (; c + W <= e; c += W) transpose(rows + long(i) * ep + c, ep, to + long(c) * np + i, np);
        for (; c < e; ++c)
            for (int l = 0; l < W; ++l) to[long(c) * np + i + l] = rows[long(i + l) * ep + c];
    }
    for (; i < np; ++i)
        for (int c = 0; c < e; ++c) to[long(c) * np + i] = i < n ? rows[long(i) * ep + c] : 0.f;
}

/// s[r, j] = rows[r] . columns[:, j] for up to QUERIES rows and j < limit (whole vectors).
void products(const float* rows, int count, int ep, const float* columns, int np, int e, int limit, float* s) {
    const float* row[QUERIES];
    for (int r = 0; r < QUERIES; ++r) row[r] = rows + (r < count ? r : 0) * ep;
    for (int j = 0; j < limit; j += W) {
        vf a[QUERIES] = {};
        for (int c = 0; c < e; ++c) {
            const vf column = load(columns + long(c) * np + j);
            for (int r = 0; r < QUERIES; ++r) a[r] += splat(row[r][c]) * column;
        }
        for (int r = 0; r < QUERIES; ++r)
            if (r < count) store(s + long(r) * np + j, a[r]);
    }
}

/// out[r] = scale[r] * sum over j < limit of p[r, j] rows[j] for up to QUERIES queries.
void mix(const float* p, int np, int count, const float* rows, int ep, int limit, int e, const float* scale,
         float* out, long ld) {
    const float* weight[QUERIES];
    for (int r = 0; r < QUERIES; ++r) weight[r] = p + long(r < count ? r : 0) * np;
    for (int c = 0; c < ep; c += W) {
        vf a[QUERIES] = {}, b[QUERIES] = {};
        int j = 0;
        for (; j + 2 <= limit; j += 2) {
            const vf one = load(rows + long(j) * ep + c), two = load(rows + long(j + 1) * ep + c);
            for (int r = 0; r < QUERIES; ++r) {
                a[r] += splat(weight[r][j]) * one;
                b[r] += splat(weight[r][j + 1]) * two;
            }
        }
        if (j < limit)
            for (int r = 0; r < QUERIES; ++r)
                a[r] += splat(weight[r][j]) * load(rows + long(j) * ep + c);
        for (int r = 0; r < QUERIES; ++r) {
            if (r >= count) break;
            const vf total = (a[r] + b[r]) * splat(scale[r]);
            float* to = out + r * ld + c;
            if (c + W <= e && reinterpret_cast<uintptr_t>(to) % (4 * W) == 0) put<true>(to, total);
            else if (c + W <= e) store(to, total);
            else std::memcpy(to, &total, (e - c) * sizeof(float));
        }
    }
}

/// Ask for the rows [n, e] of the next head, which lie far apart, before they are needed.
inline void fetch_rows(const float* from, long ld, int n, int e) {
    for (int i = 0; i < n; ++i)
        for (int c = 0; c < e; c += 16) __builtin_prefetch(from + i * ld + c);
}

float inner(const float* a, const float* b, int n) {
    vf total{};
    int i = 0;
    for (; i + W <= n; i += W) total += load(a + i) * load(b + i);
    float t = sum(total);
    for (; i < n; ++i) t += a[i] * b[i];
    return t;
}

/// Scores of up to QUERIES queries, each one key longer than the one before, to exp(score - largest), in place; 0
/// from a row's own limit to `whole`. inverse[r]: what makes attention weights of them; lse[r]: log of the sum.
void softmax(float* s, int np, int count, int first_limit, int whole, float sink, float* inverse, float* lse) {
    alignas(64) float top[W], total[W];
    for (int r = 0; r < W; ++r) top[r] = total[r] = 1.f;
    for (int r = 0; r < count; ++r) {
        float* row = s + long(r) * np;
        const int limit = first_limit + r, last = (limit - 1) / W * W;
        const vf tail = first_lanes(load(row + last), limit - last, -INFINITY);
        vf m = max(splat(sink), tail);
        for (int j = 0; j < last; j += W) m = max(m, load(row + j));
        top[r] = largest(m);
        vf t{};
        for (int j = 0; j < last; j += W) {
            const vf p = exp(load(row + j) - splat(top[r]));
            store(row + j, p);
            t += p;
        }
        const vf p = first_lanes(exp(tail - splat(top[r])), limit - last, 0.f);
        store(row + last, p);
        for (int j = last + W; j < whole; j += W) store(row + j, vf{});
        total[r] = sum(t + p);
    }
    vf all = load(total);
    if (sink != -INFINITY) all += exp(splat(sink) - load(top));
    store(total, all);
    for (int r = 0; r < count; ++r) {
        inverse[r] = 1.f / total[r];
        lse[r] = top[r] + std::log(total[r]);
    }
}

void attention_forward(const float* q, const float* k, const float* v, const float* sink, float* y, float* lse,
                       AttentionShape shape, Strides sq, Strides sk, Strides sv, int threads) {
    const int e = shape.width, ep = padded(e), np = padded(shape.keys), past = shape.keys - shape.queries;
    const long ldy = long(shape.head) * e;
    parallel(worth(threads, long(shape.batch) * shape.head * shape.queries * shape.keys), [&](int thread, int count) {
        const Range range(long(shape.batch) * shape.head, thread, count);
        float* rows = scratch().floats(long(np) * (ep + e) + QUERIES * (np + ep));
        float* turned = rows + long(np) * ep;
        float* s = turned + long(np) * e;
        float* query = s + QUERIES * np;
        float inverse[QUERIES] = {};
        for (long bh = range.begin; bh < range.end; ++bh) {
            const long b = bh / shape.head, h = bh % shape.head;
            if (h + 1 < shape.head) {
                fetch_rows(k + sk.at(b, h + 1), sk.pos, shape.keys, e);
                fetch_rows(v + sv.at(b, h + 1), sv.pos, shape.keys, e);
                fetch_rows(q + sq.at(b, h + 1), sq.pos, shape.queries, e);
            }
            copy_rows(k + sk.at(b, h), sk.pos, shape.keys, e, ep, 1.f, rows);
            turn_rows(rows, shape.keys, ep, e, np, turned);
            copy_rows(v + sv.at(b, h), sv.pos, shape.keys, e, ep, 1.f, rows);
            for (int t = 0; t < shape.queries; t += QUERIES) {
                const int there = shape.queries - t < QUERIES ? shape.queries - t : QUERIES;
                const int limit = t + past + there;
                copy_rows(q + sq.at(b, h, t), sq.pos, there, e, ep, shape.scale, query);
                products(query, there, ep, turned, np, e, limit, s);
                softmax(s, np, there, t + past + 1, padded(limit), sink ? sink[h] : -INFINITY, inverse,
                        lse + bh * shape.queries + t);
                mix(s, np, there, rows, ep, limit, e, inverse, y + (b * shape.queries + t) * ldy + h * e, ldy);
            }
        }
    });
}

/// out[j, c] = sum over t of m[t, j] rows[t, c], for keys j: one vector of keys and up to CHANNELS channels at a time.
void sum_over_queries(const float* m, int np, const float* rows, int ep, int queries, int past, int keys, int e,
                      float* turned, float* out, long ld) {
    for (int j = 0; j < keys; j += W) {
        const int first = j - past > 0 ? j - past : 0;
        for (int c = 0; c < e; c += CHANNELS) {
            vf a[CHANNELS] = {};
            const int there = e - c < CHANNELS ? e - c : CHANNELS;
            if (there == CHANNELS)
                for (int t = first; t < queries; ++t) {
                    const vf weight = load(m + long(t) * np + j);
                    for (int i = 0; i < CHANNELS; ++i) a[i] += weight * splat(rows[long(t) * ep + c + i]);
                }
            else
                for (int t = first; t < queries; ++t) {
                    const vf weight = load(m + long(t) * np + j);
                    for (int i = 0; i < there; ++i) a[i] += weight * splat(rows[long(t) * ep + c + i]);
                }
            for (int i = 0; i < there; ++i) store(turned + (c + i) * W, a[i]);
        }
        const int there = keys - j < W ? keys - j : W;
        int c = 0;
        if (there == W && reinterpret_cast<uintptr_t>(out) % (4 * W) == 0 && ld % W == 0)
            for (; c + W <= e; c += W) transpose<true>(turned + c * W, W, out + j * ld + c, ld);
        if (there == W)
            for (; c + W <= e; c += W) transpose(turned + c * W, W, out + j * ld + c, ld);
        for (; c < e; ++c)
            for (int l = 0; l < there; ++l) out[(j + l) * ld + c] = turned[c * W + l];
    }
}

/// Gradients: dq, dk, dv as [batch, pos, head, d_head] without gaps; dsink [batch, head], to be summed.
void attention_backward(const float* q, const float* k, const float* v, const float* sink, const float* y,
                        const float* lse, const float* dy, float* dq, float* dk, float* dv, float* dsink,
                        AttentionShape shape, Strides sq, Strides sk, Strides sv, Strides sy, Strides sdy,
                        int threads) {
    const int e = shape.width, ep = padded(e), np = padded(shape.keys), nq = shape.queries;
    const int past = shape.keys - nq;
    const long ld = long(shape.head) * e;
    parallel(worth(threads, long(shape.batch) * shape.head * shape.queries * shape.keys), [&](int thread, int count) {
        const Range range(long(shape.batch) * shape.head, thread, count);
        const long matrix = long(padded(nq)) * np;
        float* pattern = scratch().floats(2 * matrix + long(np) * (ep + 2 * e) + 2l * nq * ep + W * e);
        float* slope = pattern + matrix;
        float* rows = slope + matrix;
        float* k_turned = rows + long(np) * ep;
        float* v_turned = k_turned + long(np) * e;
        float* query = v_turned + long(np) * e;
        float* grad = query + long(nq) * ep;
        float* turned = grad + long(nq) * ep;
        float scales[QUERIES];
        for (float& scale : scales) scale = shape.scale;
        for (long bh = range.begin; bh < range.end; ++bh) {
            const long b = bh / shape.head, h = bh % shape.head;
            if (h + 1 < shape.head) {
                fetch_rows(k + sk.at(b, h + 1), sk.pos, shape.keys, e);
                fetch_rows(v + sv.at(b, h + 1), sv.pos, shape.keys, e);
                fetch_rows(q + sq.at(b, h + 1), sq.pos, nq, e);
                fetch_rows(y + sy.at(b, h + 1), sy.pos, nq, e);
                fetch_rows(dy + sdy.at(b, h + 1), sdy.pos, nq, e);
            }
            copy_rows(v + sv.at(b, h), sv.pos, shape.keys, e, ep, 1.f, rows);
            turn_rows(rows, shape.keys, ep, e, np, v_turned);
            copy_rows(k + sk.at(b, h), sk.pos, shape.keys, e, ep, 1.f, rows);
            turn_rows(rows, shape.keys, ep, e, np, k_turned);
            copy_rows(q + sq.at(b, h), sq.pos, nq, e, ep, shape.scale, query);
            copy_rows(dy + sdy.at(b, h), sdy.pos, nq, e, ep, 1.f, grad);
            float to_sink = 0.f;
            for (int t = 0; t < nq; t += QUERIES) {
                const int there = nq - t < QUERIES ? nq - t : QUERIES;
                const int limit = t + past + there;
                float* p = pattern + long(t) * np;
                float* s = slope + long(t) * np;
                products(query + long(t) * ep, there, ep, k_turned, np, e, limit, p);
                products(grad + long(t) * ep, there, ep, v_turned, np, e, limit, s);
                alignas(64) float l[W], dot[W] = {};
                for (float& none : l) none = INFINITY;  // so that unused lanes add nothing
                for (int r = 0; r < there; ++r) {
                    const int own = t + past + r + 1, last = (own - 1) / W * W;
                    l[r] = lse[bh * nq + t + r];
                    dot[r] = inner(grad + long(t + r) * ep, y + sy.at(b, h, t + r), e);
                    float* pr = p + long(r) * np;
                    float* sr = s + long(r) * np;
                    for (int j = 0; j < last; j += W) {
                        const vf weight = exp(load(pr + j) - splat(l[r]));
                        store(pr + j, weight);
                        store(sr + j, weight * (load(sr + j) - splat(dot[r])));
                    }
                    const vf weight = exp(load(pr + last) - splat(l[r]));
                    const vf change = weight * (load(sr + last) - splat(dot[r]));
                    store(pr + last, first_lanes(weight, own - last, 0.f));
                    store(sr + last, first_lanes(change, own - last, 0.f));
                    for (int j = last + W; j < padded(limit); j += W) store(pr + j, vf{}), store(sr + j, vf{});
                }
                if (sink) to_sink -= sum(exp(splat(sink[h]) - load(l)) * load(dot));
                mix(s, np, there, rows, ep, limit, e, scales, dq + (b * nq + t) * ld + h * e, ld);
            }
            if (dsink) dsink[bh] = to_sink;
            sum_over_queries(slope, np, query, ep, nq, past, shape.keys, e, turned,
                             dk + b * shape.keys * ld + h * e, ld);
            sum_over_queries(pattern, np, grad, ep, nq, past, shape.keys, e, turned,
                             dv + b * shape.keys * ld + h * e, ld);
        }
    });
}

}  // namespace
