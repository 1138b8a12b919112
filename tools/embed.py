#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""embed.py INPUT SYMBOL OUTPUT: writes a C file that defines INPUT's bytes as a NUL-terminated string."""
import sys

PLAIN = set(range(0x20, 0x7F)) - set(b'"\\?')


def literal(line):
    # Three octal digits always end an escape, whatever follows.
    return '"' + "".join(chr(b) if b in PLAIN else f"\\{b:03o}" for b in line) + '"'


def main(path, symbol, output):
    with open(path, "rb") as f:
        lines = f.read().splitlines(keepends=True)
    with open(output, "w", encoding="ascii") as f:
        f.write(f"extern const char {symbol}[];\nconst char {symbol}[] =\n")
        f.write("\n".join("\t" + literal(line) for line in lines or [b""]) + ";\n")


main(*sys.argv[1:])
