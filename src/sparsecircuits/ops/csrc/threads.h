// Run a function on several threads: on torch's own OpenMP threads where they can be found (GNU's library),
// so that no second team competes for the cores; on threads of our own elsewhere.
#pragma once

namespace threads {

using Body = void (*)(void* context, int thread, int count);

/// Call body(context, i, n) for every i < n at once, n <= threads; returns when all are done.
void run(int threads, Body body, void* context);

/// "torch" or "own": whose threads run().
const char* owner();

}  // namespace threads

namespace {

/// threads::run for anything that can be called with (thread, count).
template <class F>
void parallel(int count, F&& f) {
    if (count <= 1) return f(0, 1);
    threads::run(count, [](void* c, int i, int n) { (*static_cast<F*>(c))(i, n); }, &f);
}

/// As many threads as `work` numbers are worth: for little, waking another costs more than it does.
inline int worth(int threads, long work) {
    const long most = work / 16384 + 1;
    return threads < most ? threads : int(most);
}

/// The part of [0, n) that falls to a thread, in multiples of `grain`.
struct Range {
    long begin, end;
    Range(long n, int thread, int count, long grain = 1) {
        long blocks = (n + grain - 1) / grain;
        begin = blocks * thread / count * grain;
        end = blocks * (thread + 1) / count * grain;
        if (begin > n) begin = n;
        if (end > n) end = n;
    }
};

}  // namespace
