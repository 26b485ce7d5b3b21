// A folder that appears with everything in it, or not at all.
#pragma once

#include <string>
#include <string_view>

namespace qwill {

class NewFolder {
 public:
  // Makes an empty folder beside `path`, which must not exist; its name is path's and six more letters. Throws
  // Error(invalid) if path exists, Error(io) if nothing can be made there.
  explicit NewFolder(const std::string& path);
  // Takes it away again, unless it was put in place.
  ~NewFolder();
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  // Where to write a file of it.
  std::string file(std::string_view name) const;
  void write(std::string_view name, std::string_view bytes) const;
  // What is in it reaches the disk, then it gets its name.
  void put_in_place();

 private:
  std::string path_, made_;
};

}  // namespace qwill
