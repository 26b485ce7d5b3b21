// What this binary was built from.
#pragma once

namespace qwill {

// The git commit, with "+" behind it if the tree had changes; "unknown" outside a repository.
const char* build_commit();

}  // namespace qwill
