#!/usr/bin/env python3
"""Writes src/text/python_unprintable.inc: the code points from U+0080 on that str.isprintable() denies.

The chat templates print JSON objects as Python's repr() does, which escapes exactly these. The table belongs to the
Python of the reference environment (tools/requirements.txt): 3.11, Unicode 14.0.
"""

import pathlib
import unicodedata

ranges = []
for code in range(0x80, 0x110000):
    if chr(code).isprintable():
        continue
    if ranges and ranges[-1][1] == code - 1:
        ranges[-1][1] = code
    else:
        ranges.append([code, code])

words = [f"{{0x{first:x}, 0x{last:x}}}," for first, last in ranges]
lines = [f"// Unicode {unicodedata.unidata_version}; written by tools/make_printable_table.py."]
line = ""
for word in words:
    if len(line) + 1 + len(word) > 118:
        lines.append(line)
        line = ""
    line += (" " if line else "") + word
lines.append(line)
root = pathlib.Path(__file__).resolve().parent.parent
(root / "src/text/python_unprintable.inc").write_text("\n".join(lines) + "\n")
print(f"{len(ranges)} ranges")
