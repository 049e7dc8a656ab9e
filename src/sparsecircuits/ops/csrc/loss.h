// Cross entropy of logits + the bigram table's row of the current token, and its gradient in the same pass.
#pragma once

#include <cmath>
#include <cstdlib>

#include "scratch.h"
#include "simd.h"
#include "threads.h"

namespace {

/// s = logits + the table's row (if there is a table), filled up to whole vectors with -infinity; returns the largest.
float add_bigram(const float* logits, const float* row, int vocab, float* s) {
    vf m = splat(-INFINITY);
    int i = 0;
    for (; i + W <= vocab; i += W) {
        const vf x = row ? load(logits + i) + load(row + i) : load(logits + i);
        store(s + i, x);
        m = max(m, x);
    }
    if (i < vocab) {
        vf x = load_some(logits + i, vocab - i, -INFINITY);
        if (row) x += load_some(row + i, vocab - i, 0.f);
        store(s + i, x);
        m = max(m, x);
    }
    return largest(m);
}

/// exp, and 0 for what is smaller than 1e-37.
inline vf probability(vf x) { return floats(bits(exp(x)) & ~(x < -87.f)); }

/// loss [rows]: -log softmax(logits + table[token])[target]; lse [rows]: log of the softmax's denominator.
void cross_entropy(const float* logits, const float* table, const int64_t* token, const int64_t* target,
                   float* loss, float* lse, long rows, int vocab, int threads) {
    const int whole = (vocab + W - 1) / W * W;
    parallel(worth(threads, rows * vocab), [&](int thread, int count) {
        const Range range(rows, thread, count);
        float* s = scratch().floats(whole);
        for (long r = range.begin; r < range.end; ++r) {
            const float top = add_bigram(logits + r * vocab, table ? table + token[r] * vocab : nullptr, vocab, s);
            vf total{};
            for (int i = 0; i < whole; i += W) total += probability(load(s + i) - splat(top));
            lse[r] = top + std::log(sum(total));
            loss[r] = lse[r] - s[target[r]];
        }
    });
}

/// grad [rows, vocab] of `factor` times the mean loss.
void cross_entropy_grad(const float* logits, const float* table, const int64_t* token, const int64_t* target,
                        const float* lse, float factor, float* grad, long rows, int vocab, int threads) {
    const float share = factor / float(rows);
    const bool past = leaves_caches(grad, rows, vocab);
    parallel(worth(threads, rows * vocab), [&](int thread, int count) {
        const Range range(rows, thread, count);
        float* s = scratch().floats((vocab + W - 1) / W * W);
        for (long r = range.begin; r < range.end; ++r) {
            add_bigram(logits + r * vocab, table ? table + token[r] * vocab : nullptr, vocab, s);
            for (int i = 0; i < vocab; i += W)
                store(s + i, probability(load(s + i) - splat(lse[r])) * splat(share));
            s[target[r]] -= share;
            float* to = grad + r * vocab;
            int i = 0;
            if (past) for (; i + W <= vocab; i += W) put<true>(to + i, load(s + i));
            std::memcpy(to + i, s + i, (vocab - i) * sizeof(float));
        }
    });
}

/// out[token] = sum of the rows [rows, vocab] of that token, for every token of the vocabulary; a thread has some
/// columns, so sums keep their order.
void add_rows(const float* from, const int64_t* token, float* out, long rows, int vocab, int threads) {
    parallel(worth(threads, rows * vocab), [&](int thread, int count) {
        const Range range(vocab, thread, count, 16);
        char* begun = static_cast<char*>(std::calloc(vocab, 1));
        for (long r = 0; r < rows; ++r) {
            const float* x = from + r * vocab;
            float* to = out + token[r] * vocab;
            long i = range.begin;
            if (!begun[token[r]]) {
                begun[token[r]] = 1;
                std::memcpy(to + i, x + i, (range.end - i) * sizeof(float));
                continue;
            }
            for (; i + W <= range.end; i += W) store(to + i, load(to + i) + load(x + i));
            for (; i < range.end; ++i) to[i] += x[i];
        }
        for (long t = 0; t < vocab; ++t)
            if (!begun[t]) std::memset(out + t * vocab + range.begin, 0, (range.end - range.begin) * sizeof(float));
        std::free(begun);
    });
}

}  // namespace
