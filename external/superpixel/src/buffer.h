// Uninitialised memory for plain values.
#ifndef SUPERPIXEL_BUFFER_H
#define SUPERPIXEL_BUFFER_H

#include <cstddef>
#include <memory>
#include <type_traits>

namespace superpixel {

// Like std::vector without setting every value first, which costs as much as some of the passes over it.
template <class T>
class Buffer {
    static_assert(std::is_trivial<T>::value, "only for values that need no construction");

public:
    explicit Buffer(std::size_t count) : values_(new T[count]) {}
    T *get() { return values_.get(); }
    const T *get() const { return values_.get(); }
    T &operator[](std::size_t i) { return values_[i]; }
    const T &operator[](std::size_t i) const { return values_[i]; }

private:
    std::unique_ptr<T[]> values_;
};

}  // namespace superpixel

#endif
