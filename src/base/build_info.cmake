# Writes OUTPUT (a C++ source) with the commit of SOURCE_DIR, only if it changed. Run at every build.
execute_process(COMMAND git -C ${SOURCE_DIR} rev-parse --short=12 HEAD
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
execute_process(COMMAND git -C ${SOURCE_DIR} status --porcelain --untracked-files=no
  OUTPUT_VARIABLE changes ERROR_QUIET)
if(failed)
  set(commit unknown)
elseif(changes)
  string(APPEND commit "+")
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT
"#include \"base/build_info.h\"\n\nnamespace qwill {\nconst char* build_commit() { return \"${commit}\"; }\n}  // namespace qwill\n" @ONLY)
