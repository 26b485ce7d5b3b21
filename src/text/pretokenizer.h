// The pre-tokenizer of Qwen2 and Qwen3: cuts text into the pieces that
//   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
// matches one after another, leftmost alternative first; the pieces are all of the text.
#pragma once

namespace qwill {

// The end of the first piece of [begin, end), which is not empty and well-formed UTF-8.
const char* piece_end(const char* begin, const char* end);

}  // namespace qwill
