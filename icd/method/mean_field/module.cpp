// The Python module icd.method._mean_field: arrays in, probabilities out.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <new>

#include "mean_field.h"

namespace {

// Contiguous memory of a Python object, released at the end.
struct BorrowedBuffer {
    Py_buffer buffer{};
    ~BorrowedBuffer() {
        if (buffer.obj) PyBuffer_Release(&buffer);
    }
    std::size_t size() const { return static_cast<std::size_t>(buffer.len); }
    template <class T>
    const T *as() const { return static_cast<const T *>(buffer.buf); }
};

PyDoc_STRVAR(infer_doc,
    "infer(image, unary, kind, height, width, gaussian, bilateral, gaussian_xy, bilateral_xy, bilateral_rgb,\n"
    "      iterations, probability)\n--\n\n"
    "Fill `probability` (L, height, width) float32 by mean field.\n\n"
    "image (height, width, 3) uint8, unary (L, height, width) float32 energies; or unary (L, 256) and kind\n"
    "(height, width) uint8, otherwise None: the column of unary that each pixel has. gaussian (L,) and bilateral\n"
    "(L,) float32: how much a label attracts itself; the rest are standard deviations in pixels and colour\n"
    "levels, at least 2^-18 of any coordinate. All arrays are contiguous. Raises ValueError when their sizes do\n"
    "not fit together.");

PyObject *infer(PyObject *, PyObject *arguments) {
    BorrowedBuffer image, unary, kind, gaussian, bilateral, probability;
    Py_ssize_t height, width;
    mean_field::Problem problem;
    if (!PyArg_ParseTuple(arguments, "y*y*z*nny*y*fffiw*", &image.buffer, &unary.buffer, &kind.buffer,
                          &height, &width, &gaussian.buffer, &bilateral.buffer, &problem.gaussian_xy,
                          &problem.bilateral_xy, &problem.bilateral_rgb, &problem.iterations, &probability.buffer))
        return nullptr;
    problem.height = static_cast<std::size_t>(height);
    problem.width = static_cast<std::size_t>(width);
    problem.num_labels = gaussian.size() / sizeof(float);
    const std::size_t size = problem.height * problem.width, row = problem.num_labels * sizeof(float);
    const bool fits = kind.buffer.obj ? kind.size() == size && unary.size() == mean_field::kKinds * row
                                      : unary.size() == size * row;
    if (height < 1 || width < 1 || problem.num_labels < 1 || problem.iterations < 0 || image.size() != 3 * size ||
        !fits || gaussian.size() != row || bilateral.size() != row ||
        probability.size() != size * row) {
        PyErr_SetString(PyExc_ValueError, "the arrays' sizes do not fit together");
        return nullptr;
    }
    problem.image = image.as<std::uint8_t>();
    problem.unary = unary.as<float>();
    problem.kind = kind.as<std::uint8_t>();
    problem.gaussian = gaussian.as<float>();
    problem.bilateral = bilateral.as<float>();
    bool enough_memory = true;
    Py_BEGIN_ALLOW_THREADS
    try {
        mean_field::infer(problem, static_cast<float *>(probability.buffer.buf));
    } catch (const std::bad_alloc &) {
        enough_memory = false;
    }
    Py_END_ALLOW_THREADS
    if (!enough_memory) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

PyMethodDef methods[] = {{"infer", infer, METH_VARARGS, infer_doc}, {nullptr, nullptr, 0, nullptr}};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_mean_field",
                          "Mean-field inference in a fully connected CRF, compiled.", -1, methods,
                          nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__mean_field() { return PyModule_Create(&definition); }
