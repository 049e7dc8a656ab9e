// The Python module: functions over addresses of contiguous memory. Only sparsecircuits.ops.native calls them, and
// checks types, shapes and devices before it does. The interpreter is free meanwhile.
#include <nanobind/nanobind.h>

#include <cstdlib>
#include <cstring>

#include "kernels.h"
#include "threads.h"

namespace nb = nanobind;

namespace {

using Address = uintptr_t;

template <class T>
T* at(Address a) { return reinterpret_cast<T*>(a); }

bool runs(const Kernels& kernels) {
#if defined(SPARSECIRCUITS_X86)
    if (&kernels == &avx512_kernels)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (&kernels == &avx2_kernels) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return &kernels == &plain_kernels;
}

const Kernels* const all[] = {
#if defined(SPARSECIRCUITS_X86)
    &avx512_kernels, &avx2_kernels,
#endif
    &plain_kernels,
};

const Kernels* best() {
    for (const Kernels* one : all)
        if (runs(*one)) return one;
    return &plain_kernels;
}

const Kernels* use = best();

bool choose(const char* name) {
    for (const Kernels* one : all)
        if (!std::strcmp(one->name, name) && runs(*one)) {
            use = one;
            return true;
        }
    return false;
}

}  // namespace

NB_MODULE(_native, m) {
    m.def("choose", &choose, "Use the kernels of that name; False if this machine cannot run them.");
    m.def("chosen", [] { return use->name; });
    m.def("available", [] {
        nb::list names;
        for (const Kernels* one : all)
            if (runs(*one)) names.append(one->name);
        return names;
    });
    m.def("thread_owner", &threads::owner);

    using Free = nb::call_guard<nb::gil_scoped_release>;
    m.def("abs_topk", [](Address x, long ld, Address y, Address kept, long rows, int n, int k, int threads) {
        use->abs_topk(at<float>(x), ld, at<float>(y), at<uint16_t>(kept), rows, n, k, threads);
    }, Free());
    m.def("abs_topk16", [](Address x, Address y, Address kept, long rows, int n, int k, int infinity, int threads) {
        use->abs_topk16(at<uint16_t>(x), at<uint16_t>(y), at<uint16_t>(kept), rows, n, k, infinity, threads);
    }, Free());
    m.def("abs_topk_grad", [](Address grad, Address kept, Address out, long rows, int n, int threads) {
        use->abs_topk_grad(at<float>(grad), at<uint16_t>(kept), at<float>(out), rows, n, threads);
    }, Free());
    m.def("abs_topk_grad16", [](Address grad, Address kept, Address out, long rows, int n, int threads) {
        use->abs_topk_grad16(at<uint16_t>(grad), at<uint16_t>(kept), at<uint16_t>(out), rows, n, threads);
    }, Free());
    m.def("keep_largest", [](Address w, long rows, long cols, long k, int floor, int axis, int threads) {
        use->keep_largest(at<float>(w), rows, cols, k, floor, axis, threads);
    }, Free());
    m.def("count_nonzero", [](Address w, int m, int n, Address start, int threads) {
        return use->count_nonzero(at<float>(w), m, n, at<int32_t>(start), threads);
    }, Free());
    m.def("find_nonzero", [](Address w, int m, int n, Address start, Address index, Address column_start,
                             Address column_index, Address order, int threads) {
        use->find_nonzero(at<float>(w), m, n, at<int32_t>(start), at<int32_t>(index), at<int32_t>(column_start),
                          at<int32_t>(column_index), at<int32_t>(order), threads);
    }, Free());
    m.def("gather_values", [](Address w, int m, int n, Address start, Address index, Address value) {
        use->gather_values(at<float>(w), m, n, at<int32_t>(start), at<int32_t>(index), at<float>(value));
    }, Free());
    m.def("sparse_forward", [](Address start, Address index, Address value, Address bias, Address x, Address y,
                               long tokens, int m, int n, int threads) {
        use->sparse_forward(at<int32_t>(start), at<int32_t>(index), at<float>(value), at<float>(bias), at<float>(x),
                            at<float>(y), tokens, m, n, threads);
    }, Free());
    m.def("sparse_backward", [](Address start, Address index, Address column_start, Address column_index,
                                Address order, Address value, Address x, Address dy, Address dx, Address dw,
                                Address db, long tokens, int m, int n, int threads) {
        use->sparse_backward(at<int32_t>(start), at<int32_t>(index), at<int32_t>(column_start),
                             at<int32_t>(column_index), at<int32_t>(order), at<float>(value), at<float>(x),
                             at<float>(dy), at<float>(dx), at<float>(dw), at<float>(db), tokens, m, n, threads);
    }, Free());
    m.def("sparse_few", [](Address column_start, Address column_index, Address order, Address value, Address bias,
                           Address x, Address y, long tokens, int m, int n) {
        use->sparse_few(at<int32_t>(column_start), at<int32_t>(column_index), at<int32_t>(order), at<float>(value),
                        at<float>(bias), at<float>(x), at<float>(y), tokens, m, n);
    }, Free());
    nb::class_<AttentionCall>(m, "AttentionCall")
        .def("__init__", [](AttentionCall* c, int batch, int head, int queries, int keys, int width, float scale) {
            new (c) AttentionCall{batch, head, queries, keys, width, scale, {}, {}, {}, {}, {}};
        })
        .def("strides", [](AttentionCall& c, int which, long batch, long pos, long head) {
            long* to[] = {c.q, c.k, c.v, c.y, c.dy};
            to[which][0] = batch, to[which][1] = pos, to[which][2] = head;
        });
    m.def("attention_forward", [](Address q, Address k, Address v, Address sink, Address y, Address lse,
                                  const AttentionCall& call, int threads) {
        use->attention_forward(at<float>(q), at<float>(k), at<float>(v), at<float>(sink), at<float>(y),
                               at<float>(lse), call, threads);
    }, Free());
    m.def("attention_backward", [](Address q, Address k, Address v, Address sink, Address y, Address lse, Address dy,
                                   Address dq, Address dk, Address dv, Address dsink, const AttentionCall& call,
                                   int threads) {
        use->attention_backward(at<float>(q), at<float>(k), at<float>(v), at<float>(sink), at<float>(y),
                                at<float>(lse), at<float>(dy), at<float>(dq), at<float>(dk), at<float>(dv),
                                at<float>(dsink), call, threads);
    }, Free());
    m.def("cross_entropy", [](Address logits, Address table, Address token, Address target, Address loss,
                              Address lse, long rows, int vocab, int threads) {
        use->cross_entropy(at<float>(logits), at<float>(table), at<int64_t>(token), at<int64_t>(target),
                           at<float>(loss), at<float>(lse), rows, vocab, threads);
    }, Free());
    m.def("cross_entropy_grad", [](Address logits, Address table, Address token, Address target, Address lse,
                                   float factor, Address grad, long rows, int vocab, int threads) {
        use->cross_entropy_grad(at<float>(logits), at<float>(table), at<int64_t>(token), at<int64_t>(target),
                                at<float>(lse), factor, at<float>(grad), rows, vocab, threads);
    }, Free());
    m.def("rms_norm", [](Address x, Address weight, Address y, Address scale, long rows, int n, float eps,
                         int threads) {
        use->rms_norm(at<float>(x), at<float>(weight), at<float>(y), at<float>(scale), rows, n, eps, threads);
    }, Free());
    m.def("rms_norm_grad", [](Address grad, Address x, Address weight, Address scale, Address dx, Address dweight,
                              long rows, int n, int threads) {
        use->rms_norm_grad(at<float>(grad), at<float>(x), at<float>(weight), at<float>(scale), at<float>(dx),
                           at<float>(dweight), rows, n, threads);
    }, Free());
    m.def("gelu", [](Address x, Address y, long n, int threads) { use->gelu(at<float>(x), at<float>(y), n, threads); },
          Free());
    m.def("gelu_grad", [](Address grad, Address x, Address dx, long n, int threads) {
        use->gelu_grad(at<float>(grad), at<float>(x), at<float>(dx), n, threads);
    }, Free());
    m.def("gelu_topk", [](Address x, Address y, Address kept, long rows, int n, int k, int threads) {
        use->gelu_topk(at<float>(x), at<float>(y), at<uint16_t>(kept), rows, n, k, threads);
    }, Free());
    m.def("gelu_topk_grad", [](Address grad, Address kept, Address values, Address dx, long rows, int n, int k,
                               int threads) {
        use->gelu_topk_grad(at<float>(grad), at<uint16_t>(kept), at<float>(values), at<float>(dx), rows, n, k,
                            threads);
    }, Free());
    m.def("outer_sum", [](Address dy, Address x, Address dw, long tokens, int m, int n, int threads) {
        use->outer_sum(at<float>(dy), at<float>(x), at<float>(dw), tokens, m, n, threads);
    }, Free());
    m.def("mix", [](Address x, Address keep, Address mean, Address y, long sets, long rows, int n, int own,
                    int threads) {
        use->mix(at<float>(x), at<float>(keep), at<float>(mean), at<float>(y), sets, rows, n, own, threads);
    }, Free());
    m.def("mix_grad", [](Address grad, Address x, Address keep, Address mean, Address dx, Address dkeep, long sets,
                         long rows, int n, int own, int threads) {
        use->mix_grad(at<float>(grad), at<float>(x), at<float>(keep), at<float>(mean), at<float>(dx),
                      at<float>(dkeep), sets, rows, n, own, threads);
    }, Free());
    m.def("add_rows", [](Address from, Address token, Address out, long rows, int vocab, int threads) {
        use->add_rows(at<float>(from), at<int64_t>(token), at<float>(out), rows, vocab, threads);
    }, Free());
    m.def("most_nonzero", [](Address x, long rows, int n) { return use->most_nonzero(at<float>(x), rows, n); },
          Free());
    m.def("pack_rows", [](Address x, Address marks, Address values, long rows, int n, int k, int threads) {
        return use->pack_rows(at<float>(x), at<uint16_t>(marks), at<float>(values), rows, n, k, threads);
    }, Free());
    m.def("pack_marked", [](Address x, Address marks, Address values, long rows, int n, int k, int threads) {
        use->pack_marked(at<float>(x), at<uint16_t>(marks), at<float>(values), rows, n, k, threads);
    }, Free());
    m.def("unpack_rows", [](Address values, Address marks, Address x, long rows, int n, int k, int threads) {
        use->unpack_rows(at<float>(values), at<uint16_t>(marks), at<float>(x), rows, n, k, threads);
    }, Free());
}
