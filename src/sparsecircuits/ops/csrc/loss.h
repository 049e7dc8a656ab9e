// Cross entropy of logits + the bigram table's row of the current token, and its gradient in the same pass.
#pragma once

#include <cmath>

#include "scratch.h"
#include "simd.h"
#include "threads.h"

namespace {

/// loss [rows]: -log softmax(logits + table[token])[target]; grad [rows, vocab] of their mean, if given.
void cross_entropy(const float* logits, const float* table, const int64_t* token, const int64_t* target,
                   float* loss, float* grad, long rows, int vocab, int threads) {
    const int whole = (vocab + W - 1) / W * W;
    parallel(threads, [&](int thread, int count) {
        const Range range(rows, thread, count);
        float* s = scratch().floats(whole);
        for (long r = range.begin; r < range.end; ++r) {
            const float* from = logits + r * vocab;
            const float* row = table ? table + token[r] * vocab : nullptr;
            vf m = splat(-INFINITY);
            int i = 0;
            for (; i + W <= vocab; i += W) {
                const vf x = row ? load(from + i) + load(row + i) : load(from + i);
                store(s + i, x);
                m = max(m, x);
            }
            if (i < vocab) {
                vf x = load_some(from + i, vocab - i, -INFINITY);
                if (row) x += load_some(row + i, vocab - i, 0.f);
                store(s + i, x);
                m = max(m, x);
            }
            const float top = largest(m), right = s[target[r]];
            vf total{};
            for (i = 0; i < whole; i += W) {
                const vf x = load(s + i) - top;
                const vf p = floats(bits(exp(x)) & ~(x < -87.f));  // what is that small is nothing
                store(s + i, p);
                total += p;
            }
            const float denominator = sum(total);
            loss[r] = std::log(denominator) + top - right;
            if (!grad) continue;
            const float share = 1.f / (denominator * float(rows));
            float* to = grad + r * vocab;
            for (i = 0; i + W <= vocab; i += W) store(to + i, load(s + i) * share);
            for (; i < vocab; ++i) to[i] = s[i] * share;
            to[target[r]] -= 1.f / float(rows);
        }
    });
}

/// out[token[r]] += rows[r], [tokens of the vocabulary, vocab]; a thread has some columns, so sums keep their order.
void add_rows(const float* from, const int64_t* token, float* out, long rows, int vocab, int threads) {
    parallel(threads, [&](int thread, int count) {
        const Range range(vocab, thread, count, 16);
        for (long r = 0; r < rows; ++r) {
            const float* x = from + r * vocab;
            float* to = out + token[r] * vocab;
            long i = range.begin;
            for (; i + W <= range.end; i += W) store(to + i, load(to + i) + load(x + i));
            for (; i < range.end; ++i) to[i] += x[i];
        }
    });
}

}  // namespace
