// All kernels for one instruction set; compiled once for each, with KERNELS naming the table.
#include "kernels.h"

#include "attention.h"
#include "gelu.h"
#include "linear.h"
#include "loss.h"
#include "mix.h"
#include "norm.h"
#include "outer.h"
#include "pack.h"
#include "projection.h"
#include "topk.h"

namespace {

Strides strides(const long* s) { return {s[0], s[1], s[2]}; }

void forward(const float* q, const float* k, const float* v, const float* sink, float* y, float* lse,
             const AttentionCall& c, int threads) {
    attention_forward(q, k, v, sink, y, lse, {c.batch, c.head, c.queries, c.keys, c.width, c.scale}, strides(c.q),
                      strides(c.k), strides(c.v), threads);
}

void backward(const float* q, const float* k, const float* v, const float* sink, const float* y, const float* lse,
              const float* dy, float* dq, float* dk, float* dv, float* dsink, const AttentionCall& c, int threads) {
    attention_backward(q, k, v, sink, y, lse, dy, dq, dk, dv, dsink,
                       {c.batch, c.head, c.queries, c.keys, c.width, c.scale}, strides(c.q), strides(c.k),
                       strides(c.v), strides(c.y), strides(c.dy), threads);
}

}  // namespace

extern const Kernels KERNELS = {
    W == 16 ? "avx512" : W == 8 ? "avx2" : "plain",
    abs_topk_rows, abs_topk_rows16, abs_topk_grad, abs_topk_grad16, keep_largest,
    count_nonzero, find_nonzero, gather_values,
    sparse_forward, sparse_backward, sparse_few, forward, backward, cross_entropy, cross_entropy_grad,
    rms_norm, rms_norm_grad, gelu, gelu_grad, gelu_topk, gelu_topk_grad, outer_sum, mix, mix_grad,
    add_rows, most_nonzero, pack_rows, pack_marked, unpack_rows,
};
