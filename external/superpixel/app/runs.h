// The lines in which runs record what they made: `Record` has the rules.
#ifndef SUPERPIXEL_RUNS_H
#define SUPERPIXEL_RUNS_H

#include <map>
#include <string>
#include <utility>
#include <vector>

using Shard = std::pair<int, int>;  // the first, from 1, of the second; {0, 0}: none

// What a run has recorded: its number, its settings in one line, and lines without their ends.
struct Run {
    long number;
    std::string header;
    std::vector<std::string> lines;
};

// The whole lines of a text, without their ends.
std::vector<std::string> whole_lines(const std::string &text);

// Text of settings.json as Python's json.dumps writes it without indent.
std::string in_one_line(const std::string &text);

// The file that a run records in.
std::string record_of(const std::string &folder, const Shard &shard);

// Those of all shards that there are in a folder.
std::map<Shard, std::string> records_of_shards(const std::string &folder);

// The runs of a shard's record, in order. UserError: it cannot be read.
std::vector<Run> runs_of(const std::string &path);

#endif
