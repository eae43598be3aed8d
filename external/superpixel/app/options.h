// The command line of makeSuperpixel.
#ifndef SUPERPIXEL_OPTIONS_H
#define SUPERPIXEL_OPTIONS_H

#include <string>
#include <vector>

#include "superpixel.h"

struct Options {
    std::string list, image_dir, target_dir, method = "slic";
    int min_size = 0, threads = 0, shard = 0, shards = 0;  // without --shard, 0 of 0
    superpixel::SlicSettings slic;
    bool force = false, help = false;
};

// UserError: a mistake in the command.
Options parse(const std::vector<std::string> &arguments);

// What --help prints.
std::string usage();

// What decides the labels of an image, as the text chunk of a label map has it.
std::string settings_text(const Options &options);

// The same, and the version of the algorithms, as settings.json has it: what Python's json.dumps(..., indent=2) writes.
std::string settings_json(const Options &options);

#endif
