// The page for people and the API's description: files of web/ that are part of the program.
#pragma once

#include <string>
#include <vector>

#include "http/message.h"

namespace qwill {

struct PageFile {
  std::string path;  // "/style.css"; index.html is "/"
  http::Response response;
};
std::vector<PageFile> page_files();

}  // namespace qwill
