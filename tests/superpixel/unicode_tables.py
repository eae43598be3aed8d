"""Writes external/superpixel/app/unicode_tables.h from Python's data: `python tests/superpixel/unicode_tables.py`.

Decompositions and combining classes never change once they are assigned (Unicode's stability policy), so an older or
newer Python only lacks or adds characters that hardly any system names files with.
"""
from __future__ import annotations

import os
import sys
import textwrap
import unicodedata

HEADER = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'external', 'superpixel', 'app',
                      'unicode_tables.h')


def decompositions() -> dict:
    """Canonical decomposition of every character that has one in the tables of Unicode: tuple of one or two."""
    found = {code: unicodedata.decomposition(chr(code)) for code in range(sys.maxunicode + 1)}
    return {code: tuple(int(part, 16) for part in text.split())
            for code, text in found.items() if text and not text.startswith('<')}


def combining_classes() -> list:
    """(first, last, class) of the characters that combine with those before them."""
    runs = []
    for code in range(sys.maxunicode + 1):
        number = unicodedata.combining(chr(code))
        if number and runs and runs[-1][1:] == [code - 1, number]:
            runs[-1][1] = code
        elif number:
            runs.append([code, code, number])
    return runs


def _literal(name, tokens):
    lines = textwrap.wrap(' '.join(tokens), 112)
    return f'constexpr char {name}[] =\n' + '\n'.join(f'    "{line} "' for line in lines) + ';\n'


def header() -> str:
    """The content of the file."""
    pairs = [','.join(f'{one:x}' for one in (code, *parts)) for code, parts in decompositions().items()]
    runs = [f'{first:x},{last:x},{number:x}' for first, last, number in combining_classes()]
    return ('// Made by tests/superpixel/unicode_tables.py: what the characters of Unicode '
            f'{unicodedata.unidata_version} are composed of.\n'
            '#ifndef SUPERPIXEL_UNICODE_TABLES_H\n#define SUPERPIXEL_UNICODE_TABLES_H\n\n'
            '// Hexadecimal: a character and the one or two that it is composed of.\n'
            + _literal('kDecompositions', pairs) +
            '\n// Hexadecimal: the first and last of some characters, and their canonical combining class.\n'
            + _literal('kCombiningClasses', runs) + '\n#endif\n')


if __name__ == '__main__':
    with open(HEADER, 'w', encoding='ascii') as file:
        file.write(header())
