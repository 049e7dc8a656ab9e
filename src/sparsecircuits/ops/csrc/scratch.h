// Memory that a thread keeps between calls, so that tiles do not page-fault anew each time.
#pragma once

#include <cstdlib>
#include <new>

namespace {

class Scratch {
public:
    ~Scratch() { std::free(memory_); }

    /// At least `count` floats, aligned to a cache line; what was there before is lost.
    float* floats(long count) {
        if (count > size_) {
            std::free(memory_);
            size_ = (count + 15) / 16 * 16;
            memory_ = static_cast<float*>(std::aligned_alloc(64, size_ * sizeof(float)));
            if (!memory_) {
                size_ = 0;
                throw std::bad_alloc();
            }
        }
        return memory_;
    }

private:
    float* memory_ = nullptr;
    long size_ = 0;
};

inline Scratch& scratch() {
    static thread_local Scratch one;
    return one;
}

}  // namespace
