// The Python module icd.method._merging: greedy merging of the most alike superpixels, from their products.
//
// The same arithmetic as the NumPy in icd/method/merging.py, operation by operation, so that groups are equal.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <vector>

namespace {

constexpr double kTiny = 1e-30;
constexpr double kNever = -std::numeric_limits<double>::infinity();

// cos(f_i, f_j) + 1 - (size_i + size_j) / area of all pairs, kept up to date while superpixels merge. For every row i,
// `best` is the largest value at columns j > i, and `partner` the first j that has it.
class Similarity {
public:
    Similarity(double *products, std::size_t count, double *sizes)
        : products_(products), count_(count), sizes_(sizes), inverse_(count), best_(count), values_(count),
          partner_(count) {
        for (std::size_t i = 0; i < count; ++i) {
            area_ += sizes[i];
            inverse_[i] = inverse_norm(row(i)[i]);
        }
        for (std::size_t i = 0; i < count; ++i) look(i);
    }

    // Merge the two most alike, j into i < j.
    void merge(std::size_t &i, std::size_t &j) {
        i = 0;
        for (std::size_t k = 1; k < count_; ++k)
            if (best_[k] > best_[i]) i = k;
        j = partner_[i];
        join(i, j);
        sizes_[i] += sizes_[j];
        sizes_[j] = std::numeric_limits<double>::infinity();
        best_[j] = kNever;
        update(i, j);
    }

private:
    double *row(std::size_t i) const { return products_ + i * count_; }
    static double inverse_norm(double product) { return 1 / std::sqrt(product > kTiny ? product : kTiny); }

    // The merged feature is the mean weighted by size, and its products are the same mean of products.
    void join(std::size_t i, std::size_t j) {
        double *own = row(i);
        const double *other = row(j), mine = sizes_[i], its = sizes_[j], total = mine + its;
        for (std::size_t k = 0; k < count_; ++k) own[k] = (mine * own[k] + its * other[k]) / total;
        own[i] = (mine * own[i] + its * own[j]) / total;
        for (std::size_t k = 0; k < count_; ++k) row(k)[i] = own[k];
        inverse_[i] = inverse_norm(own[i]);
    }

    // Values of row i at columns `first` to `last` - 1; minus infinity at merged columns.
    void find_values(std::size_t i, std::size_t first, std::size_t last) {
        const double *products = row(i), inverse = inverse_[i], size = sizes_[i];
        for (std::size_t k = first; k < last; ++k)
            values_[k] = products[k] * (inverse * inverse_[k]) + 1 - (size + sizes_[k]) / area_;
    }

    // Find best and partner of a row anew. The last row has none.
    void look(std::size_t i) {
        find_values(i, i + 1, count_);
        double best = kNever;
        std::size_t partner = i + 1;
        for (std::size_t k = i + 1; k < count_; ++k)
            if (values_[k] > best) best = values_[k], partner = k;
        best_[i] = best, partner_[i] = partner;
    }

    // Correct best and partner where columns i and j have a part.
    void update(std::size_t i, std::size_t j) {
        find_values(i, 0, i);
        lost_.clear();
        for (std::size_t k = 0; k < i; ++k) {
            const double found = values_[k];
            bool lost = partner_[k] == j;
            if (found > best_[k] || (found == best_[k] && partner_[k] >= i)) {
                best_[k] = found, partner_[k] = i, lost = false;
            } else if (partner_[k] == i) {
                lost = true;
            }
            if (lost && best_[k] > kNever) lost_.push_back(k);
        }
        for (std::size_t k = i; k < j; ++k)
            if (partner_[k] == j && best_[k] > kNever) lost_.push_back(k);
        for (const std::size_t k : lost_) look(k);
    }

    double *products_;
    const std::size_t count_;
    double *sizes_;
    double area_ = 0;
    std::vector<double> inverse_, best_, values_;
    std::vector<std::size_t> partner_, lost_;
};

struct BorrowedBuffer {
    Py_buffer buffer{};
    ~BorrowedBuffer() {
        if (buffer.obj) PyBuffer_Release(&buffer);
    }
    template <class T>
    T *as() const { return static_cast<T *>(buffer.buf); }
};

PyDoc_STRVAR(merge_doc,
    "merge(products, sizes, largest, first)\n--\n\n"
    "Merge n superpixels, the two most alike each time, until `largest` of them are left, at least 1.\n\n"
    "products (n, n) and sizes (n,) float64, both overwritten: of features with each other, and pixels. In first (n,)\n"
    "int64, number k at k before, the superpixel that each is merged into is written. All arrays are contiguous.\n"
    "Raises ValueError when their sizes do not fit together.");

PyObject *merge(PyObject *, PyObject *arguments) {
    BorrowedBuffer products, sizes, first;
    Py_ssize_t largest;
    if (!PyArg_ParseTuple(arguments, "w*w*nw*", &products.buffer, &sizes.buffer, &largest, &first.buffer))
        return nullptr;
    const auto count = static_cast<std::size_t>(sizes.buffer.len) / sizeof(double);
    const auto length = static_cast<Py_ssize_t>(count * sizeof(double));
    if (largest < 1 || sizes.buffer.len != length || first.buffer.len != length ||
        products.buffer.len != static_cast<Py_ssize_t>(count) * length) {
        PyErr_SetString(PyExc_ValueError, "the arrays' sizes do not fit together");
        return nullptr;
    }
    bool enough_memory = true;
    Py_BEGIN_ALLOW_THREADS
    try {
        Similarity similarity(products.as<double>(), count, sizes.as<double>());
        for (std::size_t left = count; left > static_cast<std::size_t>(largest); --left) {
            std::size_t i, j;
            similarity.merge(i, j);
            first.as<std::int64_t>()[j] = static_cast<std::int64_t>(i);
        }
    } catch (const std::bad_alloc &) {
        enough_memory = false;
    }
    Py_END_ALLOW_THREADS
    if (!enough_memory) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

PyMethodDef methods[] = {{"merge", merge, METH_VARARGS, merge_doc}, {nullptr, nullptr, 0, nullptr}};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_merging", "Greedy merging of superpixels, compiled.", -1, methods,
                          nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__merging() { return PyModule_Create(&definition); }
