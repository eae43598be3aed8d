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

// Memory for several arrays in one piece. Freed as one, it is more likely to stay with the process for the next image,
// which spares the system from clearing every page of it again.
class Block {
public:
    explicit Block(std::size_t bytes) : bytes_(bytes) {}

    // Room for `count` values, which `bytes_of` has counted.
    template <class T>
    T *take(std::size_t count) {
        static_assert(std::is_trivial<T>::value && alignof(T) <= kUnit, "only for values that need no construction");
        T *const values = reinterpret_cast<T *>(bytes_.get() + taken_);
        taken_ += bytes_of<T>(count);
        return values;
    }

    template <class T>
    static constexpr std::size_t bytes_of(std::size_t count) {
        return (count * sizeof(T) + kUnit - 1) / kUnit * kUnit;
    }

private:
    static constexpr std::size_t kUnit = alignof(std::max_align_t);
    Buffer<unsigned char> bytes_;
    std::size_t taken_ = 0;
};

}  // namespace superpixel

#endif
