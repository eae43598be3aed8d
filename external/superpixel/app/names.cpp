#include "names.h"

#include <fcntl.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <unordered_map>

#include "files.h"
#include "text.h"

namespace fs = std::filesystem;

namespace {

const std::vector<std::string> kEndings = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"};
constexpr std::size_t kLargestList = 64 << 20, kLongestPart = 230;

// Where the ending of a file's name begins, its dot included; dots in front begin none.
std::size_t ending_at(const std::string &name) {
    const std::size_t dot = name.rfind('.'), slash = name.rfind('/');
    const std::size_t start = name.find_first_not_of('.', slash == std::string::npos ? 0 : slash + 1);
    return dot == std::string::npos || start == std::string::npos || dot < start ? name.size() : dot;
}

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
    return text;
}

std::vector<std::string> parts_of(const std::string &name) {
    std::vector<std::string> parts;
    for (std::size_t begin = 0; begin <= name.size();) {
        const std::size_t end = std::min(name.find('/', begin), name.size());
        parts.push_back(name.substr(begin, end - begin));
        begin = end + 1;
    }
    return parts;
}

bool ends_with(const std::string &text, const std::string &tail) {
    return text.size() >= tail.size() && text.compare(text.size() - tail.size(), tail.size(), tail) == 0;
}

// ------------------------------------------------------------------------------------------------------ lists
bool is_control(char32_t code) {
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029;
}

// What keeps `name` from naming a file below a folder, or nothing.
std::string problem_of(const std::string &name) {
    const bool drive = name.size() > 2 && std::isalpha(static_cast<unsigned char>(name[0])) && name[1] == ':' &&
                       (name[2] == '/' || name[2] == '\\');
    if (name[0] == '/' || name[0] == '\\' || drive)
        return "an absolute path: give names relative to the image folder, without an ending";
    const std::u32string codes = decoded(name);
    if (name.find('\\') != std::string::npos || std::any_of(codes.begin(), codes.end(), is_control))
        return "it holds a backslash or an unprintable character: put / between folders";
    const std::vector<std::string> parts = parts_of(name);
    if (std::find(parts.begin(), parts.end(), "..") != parts.end())
        return "it leaves the folder: names must not contain '..'";
    if (ends_with(name, "/") || ends_with(name, "/.") || name == "." || name[0] == '-')
        return "not a plain file name: give names like 2007_000032, or folder/2007_000032";
    const std::string ending = name.substr(ending_at(name));
    if (std::count(kEndings.begin(), kEndings.end(), lower(ending)) || lower(ending) == ".xml")
        return "write names without " + ending;
    if (std::any_of(parts.begin(), parts.end(), [](const std::string &part) { return part.size() > kLongestPart; }))
        return "the name is too long for a file";
    return "";
}

// Without "./" and "//".
std::string plain(const std::string &name) {
    std::string joined;
    for (const std::string &part : parts_of(name))
        if (!part.empty() && part != ".") joined += (joined.empty() ? "" : "/") + part;
    return joined;
}

// For a line on the terminal: not too long, and no control characters.
std::string printable(const std::string &name) {
    std::u32string shown = decoded(name).substr(0, 78);
    std::replace_if(shown.begin(), shown.end(), is_control, U'?');
    return encoded(shown);
}

// The text of a list. UserError: no file, too long, or no UTF-8.
std::string read_text(const std::string &path) {
    Bytes bytes;
    const File file(path, O_RDONLY);
    const int error = file.descriptor < 0 ? errno : read_bytes(file, bytes);
    if (error == ENOENT) throw UserError(path + ": no such file: check the path");
    if (error)
        throw UserError(path + ": " + reason(error));
    if (bytes.size() > kLargestList)
        throw UserError(path + ": more than 64 MB are too many for a list of names: give a text file with one name a "
                        "line");
    std::string text(bytes.begin(), bytes.end());
    if (text.find('\0') != std::string::npos)
        throw UserError(path + ": not a text file: give a text file with one name a line");
    return text;
}

// Lines end with LF, CRLF or CR.
std::vector<std::string> lines_of(const std::string &text) {
    std::vector<std::string> lines;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find_first_of("\r\n", begin), text.size());
        lines.push_back(text.substr(begin, end - begin));
        begin = end + (text.compare(end, 2, "\r\n") == 0 ? 2 : 1);
    }
    return lines;
}

}  // namespace

std::vector<std::string> read_names(const std::string &path) {
    const std::vector<std::string> lines = lines_of(read_text(path));
    for (std::size_t i = 0; i < lines.size(); ++i)
        if (invalid_utf8_at(lines[i]) != std::string::npos)
            throw UserError(path + ": line " + std::to_string(i + 1) +
                            " is not UTF-8: save it as UTF-8: it is in another encoding (Latin-1?), or no text");
    std::vector<std::string> names;
    std::unordered_map<std::string, std::size_t> seen;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        const std::string line = encoded(stripped(decoded(lines[i])));
        if (line.empty()) continue;
        const std::string where = path + ": line " + std::to_string(i + 1), problem = problem_of(line);
        if (!problem.empty()) throw UserError(where + ", '" + printable(line) + "': " + problem);
        const std::string name = plain(line);
        const auto added = seen.emplace(name, i + 1);
        if (!added.second)
            throw UserError(where + ": " + printable(name) + " was already on line " +
                            std::to_string(added.first->second) + ": remove one of them");
        names.push_back(name);
    }
    if (names.empty()) throw UserError(path + ": holds no names: give a text file with one name a line");
    return names;
}

// ----------------------------------------------------------------------------------------------------- images
namespace {

std::pair<std::string, std::string> split(const std::string &name) {
    const std::size_t slash = name.rfind('/');
    if (slash == std::string::npos) return {"", name};
    return {name.substr(0, slash), name.substr(slash + 1)};
}

}  // namespace

ImageFolder::ImageFolder(const std::string &folder, const std::vector<std::string> &names) : folder_(folder) {
    for (const std::string &name : names) {
        const std::string part = split(name).first;
        if (parts_.count(part)) continue;
        const std::string on_disk = parts_[part] = folder_on_disk(part);
        std::error_code error;
        for (fs::directory_iterator entry(on_disk, error), end; !error && entry != end; entry.increment(error)) {
            const std::string file = entry->path().filename().string();
            const std::size_t dot = ending_at(file);
            if (std::count(kEndings.begin(), kEndings.end(), lower(file.substr(dot))))
                stems_[part][normal(file.substr(0, dot))].push_back(file);
        }
    }
}

std::string ImageFolder::folder_on_disk(const std::string &part) const {
    if (part.empty()) return folder_;
    std::string path = folder_ + "/" + part;
    std::error_code error;
    if (fs::is_directory(path, error)) return path;
    path = folder_;
    for (const std::string &wanted : parts_of(part)) {
        std::string found = wanted;
        for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error))
            if (normal(entry->path().filename().string()) == normal(wanted)) found = entry->path().filename().string();
        path += "/" + found;
    }
    return path;
}

std::string ImageFolder::path(const std::string &name) const {
    const auto [part, stem] = split(name);
    const std::string &folder = parts_.at(part);
    const auto files = stems_.find(part);
    if (files != stems_.end()) {
        const auto found = files->second.find(normal(stem));
        if (found != files->second.end()) {
            if (found->second.size() == 1) return folder + "/" + found->second.front();
            std::vector<std::string> sorted = found->second;
            std::sort(sorted.begin(), sorted.end());
            std::string all;
            for (const std::string &file : sorted) all += (all.empty() ? "" : ", ") + folder + "/" + file;
            throw BadImage(all + ": several files for one image: keep one of them under this name");
        }
    }
    return folder_ + "/" + name + ".jpg";
}
