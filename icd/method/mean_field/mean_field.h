// Mean-field inference in a fully connected CRF over an image.
//
// P. Krähenbühl, V. Koltun: Efficient inference in fully connected CRFs with Gaussian edge potentials. NIPS 2011.
#ifndef ICD_MEAN_FIELD_H
#define ICD_MEAN_FIELD_H

#include <cstddef>
#include <cstdint>

namespace mean_field {

constexpr std::size_t kKinds = 256;  // of pixels with the same energies

struct Problem {
    const std::uint8_t *image;  // height x width x 3
    const float *unary;         // num_labels x height x width energies, or num_labels x kKinds of them
    const std::uint8_t *kind;   // height x width: which of these each pixel has; otherwise null
    std::size_t num_labels, height, width;
    const float *gaussian;   // num_labels: how much a label attracts itself by the Gaussian term
    const float *bilateral;  // ... and by the bilateral term
    // Standard deviations, in pixels and colour levels; no coordinate may be more than 2^18 of them.
    float gaussian_xy, bilateral_xy, bilateral_rgb;
    int iterations;
};

// Writes num_labels x height x width probabilities. Throws std::bad_alloc.
void infer(const Problem &problem, float *probability);

}  // namespace mean_field

#endif
