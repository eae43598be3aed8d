// Smoothing of the graph method.
#ifndef SUPERPIXEL_GAUSSIAN_H
#define SUPERPIXEL_GAUSSIAN_H

#include "superpixel.h"

namespace superpixel {

// Writes the blue, green and red planes of the image, one after the other, smoothed by a Gaussian of sigma 0.8; beyond
// the border the image repeats its last pixels. `planes` has room for 3 * width * height values.
void smooth(const Image &image, float *planes);

}  // namespace superpixel

#endif
