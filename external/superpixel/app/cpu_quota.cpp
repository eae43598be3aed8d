#include "cpu_quota.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <vector>

namespace {

struct Mount {
    bool second;                // version 2 of control groups
    std::string top, point;     // the topmost group that it shows, and where
};

std::vector<std::string> lines(const std::string &path) {
    std::ifstream file(path);
    std::vector<std::string> found;
    for (std::string line; std::getline(file, line);) found.push_back(line);
    return found;
}

std::vector<std::string> split(const std::string &text, char separator) {
    std::vector<std::string> parts;
    std::istringstream stream(text);
    for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
    return parts;
}

bool holds_cpu(const std::string &controllers) {
    const auto parts = split(controllers, ',');
    return std::find(parts.begin(), parts.end(), "cpu") != parts.end();
}

std::vector<std::string> words(const std::string &text) {
    std::istringstream stream(text);
    std::vector<std::string> found;
    for (std::string word; stream >> word;) found.push_back(word);
    return found;
}

// Paths in mountinfo have blanks and the like as \ooo.
std::string without_escapes(const std::string &text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const std::string digits = text[i] == '\\' ? text.substr(i + 1, 3) : "";
        if (digits.size() == 3 && digits.find_first_not_of("01234567") == std::string::npos) {
            plain += static_cast<char>(std::stoi(digits, nullptr, 8));
            i += 3;
        } else {
            plain += text[i];
        }
    }
    return plain;
}

// Control groups that are mounted, with the CPU among them.
std::vector<Mount> mounts(const std::string &root) {
    std::vector<Mount> found;
    for (const std::string &line : lines(root + "/proc/self/mountinfo")) {
        const std::size_t middle = line.find(" - ");
        if (middle == std::string::npos) continue;
        const auto before = words(line.substr(0, middle));
        const auto after = split(line.substr(middle + 3), ' ');
        if (before.size() < 5 || after.empty()) continue;
        const bool second = after[0] == "cgroup2";
        if (second || (after[0] == "cgroup" && after.size() > 2 && holds_cpu(after[2])))
            found.push_back({second, without_escapes(before[3]), without_escapes(before[4])});
    }
    return found;
}

bool is_below(const std::string &group, std::string top) {
    const auto parts = split(group, '/');
    while (!top.empty() && top.back() == '/') top.pop_back();
    return std::find(parts.begin(), parts.end(), "..") == parts.end() &&
           (group + "/").compare(0, top.size() + 1, top + "/") == 0;
}

// A positive number of microseconds, or 0.
long long microseconds(const std::string &field) {
    const bool number = !field.empty() && field.size() <= 18 && field[0] != '0' &&
                        field.find_first_not_of("0123456789") == std::string::npos;
    return number ? std::stoll(field) : 0;
}

long long limit(const std::string &folder, bool second) {
    std::vector<std::string> fields;
    if (second) {
        for (const std::string &line : lines(folder + "/cpu.max"))
            for (const std::string &word : words(line)) fields.push_back(word);
    } else {
        for (const char *name : {"/cpu.cfs_quota_us", "/cpu.cfs_period_us"})
            for (const std::string &line : lines(folder + name)) fields.push_back(line);
    }
    if (fields.size() != 2) return 0;
    const long long quota = microseconds(fields[0]), period = microseconds(fields[1]);
    return quota > 0 && period > 0 ? (quota - 1) / period + 1 : 0;
}

}  // namespace

long long cpu_quota(const std::string &root) {
    const auto all = mounts(root);
    long long tightest = 0;
    for (const std::string &line : lines(root + "/proc/self/cgroup")) {
        const auto fields = split(line, ':');
        const std::string controllers = fields.size() > 1 ? fields[1] : "";
        std::string group = fields.size() > 2 ? fields[2] : "";
        for (std::size_t i = 3; i < fields.size(); ++i) group += ":" + fields[i];      // names may have colons
        if (!controllers.empty() && !holds_cpu(controllers)) continue;
        std::vector<Mount> found, inside;
        for (const Mount &mount : all)
            if (mount.second == controllers.empty()) found.push_back(mount);
        for (const Mount &mount : found)
            if (is_below(group, mount.top)) inside.push_back(mount);
        // A group that no mount shows (the container sees its own group only, under another name) leaves their tops.
        for (const Mount &mount : inside.empty() ? found : inside) {
            std::string folder = root + "/" + mount.point;
            std::vector<std::string> parts{""};
            if (!inside.empty())
                for (const std::string &part : split(group.substr(std::min(mount.top.size(), group.size())), '/'))
                    if (!part.empty()) parts.push_back(part);
            for (const std::string &part : parts) {
                if (!part.empty()) folder += "/" + part;
                const long long here = limit(folder, mount.second);
                if (here > 0) tightest = tightest > 0 ? std::min(tightest, here) : here;
            }
        }
    }
    return tightest;
}
