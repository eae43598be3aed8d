// The Python module icd._superpixel: arrays in, labels out. icd/superpixels checks what users give.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstdint>
#include <new>

#include "../src/buffer.h"
#include "superpixel.h"

namespace {

// Memory borrowed from a Python object, returned at the end.
struct BorrowedBuffer {
    Py_buffer view{};
    bool borrow(PyObject *object, int flags) { return PyObject_GetBuffer(object, &view, flags) == 0; }
    ~BorrowedBuffer() { PyBuffer_Release(&view); }
};

// The pixels of an (H, W, 3) array of any strides, RGB, as the core wants them: where they are when their order in
// memory is that already (what OpenCV read, reversed along its last axis), else copied.
class BgrImage {
public:
    explicit BgrImage(const Py_buffer &view)
        : width_(static_cast<int>(view.shape[1])),
          height_(static_cast<int>(view.shape[0])),
          is_bgr_(view.strides[1] == 3 && view.strides[2] == -1),
          copy_(is_bgr_ ? 0 : 3 * static_cast<std::size_t>(width_) * height_) {
        const std::uint8_t *rgb = static_cast<const std::uint8_t *>(view.buf);
        if (is_bgr_)
            image_ = {rgb - 2, width_, height_, view.strides[0]};
        else
            image_ = {copy_.get(), width_, height_, 3 * static_cast<std::ptrdiff_t>(width_)};
        if (is_bgr_) return;
        std::uint8_t *to = copy_.get();
        for (int y = 0; y < height_; ++y, to += image_.stride) {
            const std::uint8_t *row = rgb + y * view.strides[0];
            if (view.strides[1] == 3 && view.strides[2] == 1)
                swap_row(row, 3, 1, to);
            else
                swap_row(row, view.strides[1], view.strides[2], to);
        }
    }

    const superpixel::Image &get() const { return image_; }

private:
    void swap_row(const std::uint8_t *row, std::ptrdiff_t pixel, std::ptrdiff_t channel, std::uint8_t *to) const {
        for (int x = 0; x < width_; ++x)
            for (int c = 0; c < 3; ++c) to[3 * x + c] = row[x * pixel + (2 - c) * channel];
    }

    int width_, height_;
    bool is_bgr_;
    superpixel::Buffer<std::uint8_t> copy_;
    superpixel::Image image_;
};

// Calls `method(image, labels)` without the GIL; the number of superpixels, or null and MemoryError.
template <class Method>
PyObject *run(PyObject *image, PyObject *labels, const Method &method) {
    BorrowedBuffer from, to;
    if (!from.borrow(image, PyBUF_STRIDED_RO) || !to.borrow(labels, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE))
        return nullptr;
    constexpr Py_ssize_t kMostPixels = 1 << 30;
    if (from.view.ndim != 3 || from.view.itemsize != 1 || from.view.shape[2] != 3 ||
        from.view.shape[0] > kMostPixels || from.view.shape[1] > kMostPixels ||
        from.view.shape[0] * from.view.shape[1] > kMostPixels ||
        to.view.len != from.view.shape[0] * from.view.shape[1] * static_cast<Py_ssize_t>(sizeof(std::int32_t))) {
        PyErr_SetString(PyExc_ValueError, "image: not (H, W, 3) of bytes, or too large; or labels of another size");
        return nullptr;
    }
    int count = -1;
    Py_BEGIN_ALLOW_THREADS
    try {
        const BgrImage pixels(from.view);
        count = method(pixels.get(), static_cast<std::int32_t *>(to.view.buf));
    } catch (const std::bad_alloc &) {
    }
    Py_END_ALLOW_THREADS
    return count < 0 ? PyErr_NoMemory() : PyLong_FromLong(count);
}

PyDoc_STRVAR(slic_doc,
    "slic(image, min_size, compactness, iterations, labels)\n--\n\n"
    "Fill `labels` (H, W) int32 with the SLIC superpixels of `image` (H, W, 3) uint8 RGB and return their number.");

PyObject *slic(PyObject *, PyObject *arguments) {
    PyObject *image, *labels;
    int min_size;
    superpixel::SlicSettings settings;
    if (!PyArg_ParseTuple(arguments, "OifiO", &image, &min_size, &settings.compactness, &settings.iterations, &labels))
        return nullptr;
    return run(image, labels, [&](const superpixel::Image &pixels, std::int32_t *to) {
        return superpixel::slic(pixels, min_size, settings, to);
    });
}

PyDoc_STRVAR(graph_segment_doc,
    "graph_segment(image, min_size, labels)\n--\n\n"
    "The same by the graph-based segmentation of Felzenszwalb and Huttenlocher.");

PyObject *graph_segment(PyObject *, PyObject *arguments) {
    PyObject *image, *labels;
    int min_size;
    if (!PyArg_ParseTuple(arguments, "OiO", &image, &min_size, &labels)) return nullptr;
    return run(image, labels, [&](const superpixel::Image &pixels, std::int32_t *to) {
        return superpixel::graph_segment(pixels, min_size, to);
    });
}

PyMethodDef methods[] = {{"slic", slic, METH_VARARGS, slic_doc},
                         {"graph_segment", graph_segment, METH_VARARGS, graph_segment_doc},
                         {nullptr, nullptr, 0, nullptr}};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_superpixel", "Superpixels, compiled.", -1, methods,
                          nullptr,               nullptr,       nullptr,                  nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__superpixel() { return PyModule_Create(&definition); }
