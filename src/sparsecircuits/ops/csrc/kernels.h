// What a build for one instruction set offers, and the choice among them when the module is loaded.
#pragma once

#include <cstdint>

struct AttentionCall {
    int batch, head, queries, keys, width;
    float scale;
    long q[3], k[3], v[3], y[3], dy[3];  // strides of batch, position, head
};

struct Kernels {
    const char* name;
    void (*abs_topk)(const float*, long, float*, uint16_t*, long, int, int, int);
    void (*abs_topk16)(const uint16_t*, uint16_t*, uint16_t*, long, int, int, int, int);
    void (*abs_topk_grad)(const float*, const uint16_t*, float*, long, int, int);
    void (*abs_topk_grad16)(const uint16_t*, const uint16_t*, uint16_t*, long, int, int);
    void (*keep_largest)(float*, long, long, long, int, int, int);
    long (*count_nonzero)(const float*, int, int, int32_t*, int);
    void (*find_nonzero)(const float*, int, int, const int32_t*, int32_t*, int32_t*, int32_t*, int32_t*, int);
    void (*gather_values)(const float*, int, int, const int32_t*, const int32_t*, float*);
    void (*sparse_forward)(const int32_t*, const int32_t*, const float*, const float*, const float*, float*, long,
                           int, int, int);
    void (*sparse_backward)(const int32_t*, const int32_t*, const int32_t*, const int32_t*, const int32_t*,
                            const float*, const float*, const float*, float*, float*, float*, long, int, int, int);
    void (*sparse_few)(const int32_t*, const int32_t*, const int32_t*, const float*, const float*, const float*,
                       float*, long, int, int);
    void (*attention_forward)(const float*, const float*, const float*, const float*, float*, float*,
                              const AttentionCall&, int);
    void (*attention_backward)(const float*, const float*, const float*, const float*, const float*, const float*,
                               const float*, float*, float*, float*, float*, const AttentionCall&, int);
    void (*cross_entropy)(const float*, const float*, const int64_t*, const int64_t*, float*, float*, long, int,
                          int);
    void (*cross_entropy_grad)(const float*, const float*, const int64_t*, const int64_t*, const float*, float,
                               float*, long, int, int);
    void (*rms_norm)(const float*, const float*, float*, float*, long, int, float, int);
    void (*rms_norm_grad)(const float*, const float*, const float*, const float*, float*, float*, long, int, int);
    void (*gelu)(const float*, float*, long, int);
    void (*gelu_grad)(const float*, const float*, float*, long, int);
    void (*gelu_topk)(const float*, float*, uint16_t*, long, int, int, int);
    void (*gelu_topk_grad)(const float*, const uint16_t*, const float*, float*, long, int, int, int);
    void (*outer_sum)(const float*, const float*, float*, long, int, int, int);
    void (*mix)(const float*, const float*, const float*, float*, long, long, int, int, int);
    void (*mix_grad)(const float*, const float*, const float*, const float*, float*, float*, long, long, int, int,
                     int);
    void (*add_rows)(const float*, const int64_t*, float*, long, int, int);
    int (*most_nonzero)(const float*, long, int);
    bool (*pack_rows)(const float*, uint16_t*, float*, long, int, int, int);
    void (*pack_marked)(const float*, const uint16_t*, float*, long, int, int, int);
    void (*unpack_rows)(const float*, const uint16_t*, float*, long, int, int, int);
};

extern const Kernels plain_kernels, avx2_kernels, avx512_kernels;
