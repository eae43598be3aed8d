// The two methods written down plainly, without regard to speed: what the core is compared with.
#ifndef SUPERPIXEL_TESTS_REFERENCE_H
#define SUPERPIXEL_TESTS_REFERENCE_H

#include <cstdint>
#include <vector>

#include "../src/connect.h"
#include "../src/lab.h"
#include "images.h"

using Labels = std::vector<std::int32_t>;

// The graph method as the paper and the published program have it, one step after the other.
Labels plain_graph(const TestImage &image, int k);

// The connected pieces of clusters, by filling them pixel by pixel; small ones are absorbed as connect.h says.
Labels plain_connect(const superpixel::LabPlanes &lab, const std::vector<std::int32_t> &clusters,
                     const std::vector<superpixel::Centre> &centres, int min_size);

// SLIC one pixel after the other. Which centres a pixel looks at goes by tiles of 16 pixels in 4 of the rows in use.
Labels plain_slic(const TestImage &image, int min_size, const superpixel::SlicSettings &settings);

#endif
