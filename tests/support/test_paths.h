// Where the tests find their data and the program under test.
#pragma once

#include <string>

namespace qwill::test {

// A path below the repository's root, e.g. source_path("tests/data/goldens"): the tree the tests were built from,
// or the folder named by --root (a copy of tests/data and models on another machine).
std::string source_path(const std::string& relative);

// A path in the folder of the test program.
std::string beside_program(const std::string& relative);

// The qwill program beside the test program.
std::string program_path();

}  // namespace qwill::test
