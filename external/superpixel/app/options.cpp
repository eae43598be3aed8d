#include "options.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "files.h"

namespace {

constexpr char kUsage[] =
    "usage: makeSuperpixel DATA_LIST IMAGE_DIR TARGET_DIR K [options]\n"
    "\n"
    "Cuts IMAGE_DIR/NAME.jpg (or .jpeg, .png, .webp, .bmp, .tif) into superpixels for every NAME in DATA_LIST and\n"
    "writes TARGET_DIR/NAME.png: 8 bits, three channels, label = B + 256 G + 65536 R. K is the smallest\n"
    "superpixel, in pixels.\n"
    "\n"
    "  --method slic|graph  slic: compact superpixels of even size, about an image's pixels / 4K of them\n"
    "                       graph: superpixels of even colour (Felzenszwalb), as many as the image has\n"
    "                       (default: slic)\n"
    "  --compactness M      slic: higher makes rounder superpixels (default: %g)\n"
    "  --iterations N       slic: at most so many rounds (default: %d)\n"
    "  --threads N          images computed at a time (default: one a core, as far as a container's limit goes)\n"
    "  --force              make all label maps again, those of other programs too\n"
    "  --shard I/N          only every N-th name, from the I-th on: N runs at the same time, on any machines, then\n"
    "                       one without it\n"
    "  --help               print this\n"
    "\n"
    "A label map is made again when its image's content, K, the method or a setting changed, which\n"
    "TARGET_DIR/inputs.tsv and settings.json record. Maps of other programs are kept.\n"
    "Exit code: 0 all made; 1 some images could not be read or written, the others are made; 2 nothing can be\n"
    "made (a mistake in the command, a full disk); 130, 143 interrupted: run again to continue.\n";

double number(const std::string &what, const std::string &text, double most) {
    char *end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0' || !(value > 0))
        throw UserError(what + " '" + text + "': not a number above 0: see makeSuperpixel --help");
    if (value > most) throw UserError(what + " '" + text + "': too large: see makeSuperpixel --help");
    return value;
}

int whole_number(const std::string &what, const std::string &text, int most = 0x7fffffff) {
    const double value = number(what, text, most);
    if (value != std::floor(value))
        throw UserError(what + " '" + text + "': not a whole number: see makeSuperpixel --help");
    return static_cast<int>(value);
}

// I/N, the I-th of N shards.
void parse_shard(const std::string &text, Options &options) {
    int end = 0;
    const bool digits = text.size() < 20 && text.find_first_not_of("0123456789/") == std::string::npos;
    if (!digits || std::sscanf(text.c_str(), "%9d/%9d%n", &options.shard, &options.shards, &end) != 2 ||
        static_cast<std::size_t>(end) != text.size() || options.shard < 1 || options.shard > options.shards)
        throw UserError("--shard '" + text + "': not I/N, the I-th of N shards: 1/4, 2/4, 3/4, 4/4, say");
}

// A float as both C and Python read it back.
std::string decimal(float value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.9g", static_cast<double>(value));
    return text;
}

}  // namespace

Options parse(const std::vector<std::string> &arguments) {
    Options options;
    std::vector<std::string> positional;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        std::string flag = arguments[i], value;
        if (flag.compare(0, 2, "--") != 0) {
            positional.push_back(flag);
            continue;
        }
        const std::size_t equals = flag.find('=');
        const bool attached = equals != std::string::npos;
        if (attached) {
            value = flag.substr(equals + 1);
            flag.erase(equals);
        }
        if (!attached && (flag == "--force" || flag == "--help")) {
            (flag == "--force" ? options.force : options.help) = true;
            continue;
        }
        if (flag != "--method" && flag != "--compactness" && flag != "--iterations" && flag != "--threads" &&
            flag != "--shard")
            throw UserError(arguments[i] + ": no such option: see makeSuperpixel --help");
        if (!attached) {
            if (++i == arguments.size()) throw UserError(flag + ": its value is missing: see makeSuperpixel --help");
            value = arguments[i];
        }
        if (flag == "--compactness")
            options.slic.compactness = static_cast<float>(number(flag, value, 1e6));
        else if (flag == "--iterations")
            options.slic.iterations = whole_number(flag, value);
        else if (flag == "--threads")
            options.threads = whole_number(flag, value);
        else if (flag == "--shard")
            parse_shard(value, options);
        else if (value == "slic" || value == "graph")
            options.method = value;
        else
            throw UserError("--method " + value + ": no such method: choose slic or graph");
    }
    if (options.help) return options;
    if (positional.size() != 4)
        throw UserError("DATA_LIST IMAGE_DIR TARGET_DIR K are needed, and " + std::to_string(positional.size()) +
                        " of them given: see makeSuperpixel --help");
    options.list = positional[0];
    options.image_dir = positional[1];
    options.target_dir = positional[2];
    options.min_size = whole_number("K", positional[3]);
    return options;
}

std::string usage() {
    const superpixel::SlicSettings defaults;
    char text[sizeof kUsage + 64];
    std::snprintf(text, sizeof text, kUsage, static_cast<double>(defaults.compactness), defaults.iterations);
    return text;
}

std::string settings_text(const Options &options) {
    const std::string slic = " --compactness " + decimal(options.slic.compactness) + " --iterations " +
                             std::to_string(options.slic.iterations);
    return "--method " + options.method + (options.method == "slic" ? slic : "") + " " +
           std::to_string(options.min_size);
}

std::string settings_json(const Options &options) {
    const std::string slic = ",\n    \"compactness\": " + decimal(options.slic.compactness) +
                             ",\n    \"iterations\": " + std::to_string(options.slic.iterations);
    return "{\n  \"made_by\": \"makeSuperpixel\",\n  \"settings\": {\n    \"method\": \"" + options.method +
           "\",\n    \"min_size\": " + std::to_string(options.min_size) + (options.method == "slic" ? slic : "") +
           ",\n    \"version\": " + std::to_string(superpixel::kVersion) + "\n  }\n}\n";
}
