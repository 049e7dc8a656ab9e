#include "threads.h"

#include <thread>
#include <vector>

#if defined(__linux__)
#include <dlfcn.h>
#endif

namespace threads {
namespace {

struct OpenMP {
    void (*parallel)(void (*)(void*), void*, unsigned, unsigned) = nullptr;
    int (*thread)() = nullptr;
    int (*count)() = nullptr;

    OpenMP() {
#if defined(__linux__)
        parallel = reinterpret_cast<decltype(parallel)>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
        thread = reinterpret_cast<decltype(thread)>(dlsym(RTLD_DEFAULT, "omp_get_thread_num"));
        count = reinterpret_cast<decltype(count)>(dlsym(RTLD_DEFAULT, "omp_get_num_threads"));
#endif
    }
    bool found() const { return parallel && thread && count; }
};

const OpenMP& openmp() {
    static const OpenMP found;
    return found;
}

struct Call {
    Body body;
    void* context;
};

}  // namespace

void run(int threads, Body body, void* context) {
    if (openmp().found()) {
        Call call{body, context};
        openmp().parallel(
            [](void* c) {
                auto* call = static_cast<Call*>(c);
                call->body(call->context, openmp().thread(), openmp().count());
            },
            &call, unsigned(threads), 0);
        return;
    }
    std::vector<std::thread> team;
    for (int i = 1; i < threads; ++i) team.emplace_back(body, context, i, threads);
    body(context, 0, threads);
    for (auto& one : team) one.join();
}

const char* owner() { return openmp().found() ? "torch" : "own"; }

}  // namespace threads
