#include "runs.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "files.h"

namespace fs = std::filesystem;

std::vector<std::string> whole_lines(const std::string &text) {
    std::vector<std::string> lines;
    std::size_t begin = 0;
    for (std::size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1)
        lines.push_back(text.substr(begin, end - begin));
    return lines;
}

std::string in_one_line(const std::string &text) {
    std::string line;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] != '\n') {
            line += text[at];
            continue;
        }
        while (at + 1 < text.size() && text[at + 1] == ' ') ++at;
        if (!line.empty() && line.back() == ',') line += ' ';
    }
    return line;
}

std::string record_of(const std::string &folder, const Shard &shard) {
    if (shard == Shard()) return folder + "/inputs.tsv";
    return folder + "/inputs-" + std::to_string(shard.first) + "-of-" + std::to_string(shard.second) + ".tsv";
}

std::map<Shard, std::string> records_of_shards(const std::string &folder) {
    std::map<Shard, std::string> found;
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
        Shard shard;
        const std::string name = entry->path().filename().string();
        if (std::sscanf(name.c_str(), "inputs-%9d-of-%9d", &shard.first, &shard.second) == 2 &&
            record_of(folder, shard) == folder + '/' + name)
            found[shard] = folder + '/' + name;
    }
    return found;
}

std::vector<Run> runs_of(const std::string &path) {
    std::vector<Run> runs;
    for (std::string &line : whole_lines(content_of(path))) {
        if (line.empty() || line[0] != '\t') {
            if (!runs.empty()) runs.back().lines.push_back(std::move(line));
            continue;
        }
        const std::size_t tab = line.find('\t', 1);
        runs.push_back({std::strtol(line.c_str() + 1, nullptr, 10),
                        tab == std::string::npos ? "" : line.substr(tab + 1), {}});
    }
    return runs;
}
