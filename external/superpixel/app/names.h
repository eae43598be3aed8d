// Names of a list, and the image files they mean. docs/formats.md has the rules, which Python's commands share.
#ifndef SUPERPIXEL_NAMES_H
#define SUPERPIXEL_NAMES_H

#include <map>
#include <string>
#include <vector>

// Names, one a line. UserError: no such file, no UTF-8, no names, a name that is there twice, that has an ending, or
// that is none of a file below a folder.
std::vector<std::string> read_names(const std::string &path);

// The images of a folder, by the names of a list.
class ImageFolder {
public:
    // Lists the folder, and those below it that names lie in, once each.
    ImageFolder(const std::string &folder, const std::vector<std::string> &names);

    // The file of a name: NAME.jpg, or with another ending of images, in any case. Where there is none, NAME.jpg.
    // BadImage: there are several. Threads may ask at the same time.
    std::string path(const std::string &name) const;

private:
    std::string folder_on_disk(const std::string &part) const;

    std::string folder_;
    std::map<std::string, std::string> parts_;                                   // a/b as it is on disk
    std::map<std::string, std::map<std::string, std::vector<std::string>>> stems_;  // files by part and stem
};

#endif
