# Embeds the built-in model's files, those that there are: sets QWILL_BUILTIN_SOURCE to an assembler file.
set(QWILL_BUILTIN_DATA "")
set(QWILL_BUILTIN_NAMES "")
set(QWILL_BUILTIN_TABLE "")
set(QWILL_BUILTIN_PATHS "")
# Configures again when one of them comes or goes.
file(GLOB ignored CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/models/nib/*)
foreach(name config.json generation_config.json tokenizer.json tokenizer_config.json chat_template.jinja
             model.safetensors)
  set(path ${PROJECT_SOURCE_DIR}/models/nib/${name})
  if(EXISTS ${path})
    string(MAKE_C_IDENTIFIER ${name} id)
    string(APPEND QWILL_BUILTIN_DATA
      "        .balign 4096\n.Lbegin_${id}:\n        .incbin \"${path}\"\n.Lend_${id}:\n")
    string(APPEND QWILL_BUILTIN_NAMES ".Lname_${id}:\n        .asciz \"${name}\"\n")
    string(APPEND QWILL_BUILTIN_TABLE "        .quad .Lname_${id}, .Lbegin_${id}, .Lend_${id} - .Lbegin_${id}\n")
    list(APPEND QWILL_BUILTIN_PATHS ${path})
  endif()
endforeach()
set(QWILL_BUILTIN_SOURCE ${CMAKE_CURRENT_BINARY_DIR}/builtin_model.S)
configure_file(${CMAKE_CURRENT_LIST_DIR}/builtin_model.S.in ${QWILL_BUILTIN_SOURCE} @ONLY)
set_source_files_properties(${QWILL_BUILTIN_SOURCE} PROPERTIES OBJECT_DEPENDS "${QWILL_BUILTIN_PATHS}")
