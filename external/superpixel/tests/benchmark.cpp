// Times a method without reading and writing: for every line on standard input one run on the image, whose milliseconds
// of the processor go to standard output, so that different programs can be timed in turns.
//
//     benchmark IMAGE slic|graph K
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <opencv2/imgcodecs.hpp>
#include <vector>

#include "superpixel.h"

int main(int count, char **arguments) {
    if (count != 4) {
        std::fprintf(stderr, "usage: benchmark IMAGE slic|graph K\n");
        return 2;
    }
    const cv::Mat image = cv::imread(arguments[1]);
    if (image.empty()) {
        std::fprintf(stderr, "benchmark: %s: not an image\n", arguments[1]);
        return 2;
    }
    const superpixel::Image pixels = {image.data, image.cols, image.rows, static_cast<std::ptrdiff_t>(image.step)};
    const int min_size = std::atoi(arguments[3]);
    const bool graph = std::strcmp(arguments[2], "graph") == 0;
    std::vector<std::int32_t> labels(image.total());
    while (std::getchar() == '\n') {
        const std::clock_t start = std::clock();
        if (graph)
            superpixel::graph_segment(pixels, min_size, labels.data());
        else
            superpixel::slic(pixels, min_size, {}, labels.data());
        std::printf("%.4f\n", 1e3 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
        std::fflush(stdout);
    }
    return 0;
}
