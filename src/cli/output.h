// The standard streams: results to stdout, everything else to stderr.
#pragma once

#include <string>
#include <string_view>

namespace qwill::cli {

// Thrown when whoever read our stdout has gone: the program ends quietly.
struct OutputClosed {};

// Opens those of the three standard streams that are closed, so that no other file takes their place: using them still
// fails.
void reserve_standard_streams();

// Writes all of text to stdout, unbuffered. Throws OutputClosed, or Error(io).
void write_stdout(std::string_view text);

// All of stdin. Throws Error(io).
std::string read_stdin();

// The next line of stdin without its newline; false at the end. Throws Error(io).
bool read_stdin_line(std::string& line);

// Whether read_stdin_line has a line without waiting.
bool stdin_has_line();

// A whole file, or all that comes out of a pipe. Throws Error(io) "PATH: why".
std::string read_file(const std::string& path);

// Throws Error(invalid) "WHERE: not UTF-8 at byte N".
void require_utf8(std::string_view text, std::string_view where);

bool stderr_is_terminal();
bool stdin_is_terminal();

// A line on stderr, "qwill: …".
void warn(std::string_view message);

}  // namespace qwill::cli
