"""The text of a PDF that Chromium printed, read without a library."""

from __future__ import annotations

import re
import zlib

_OBJECT = re.compile(rb"(\d+) 0 obj\n(.*?)\nendobj", re.DOTALL)


def squashed(text: str) -> str:
    """The text without blanks: the lines of a print break elsewhere."""
    return re.sub(r"\s+", "", text)


def printed_texts(pdf: bytes) -> list[str]:
    """The text of each page, without blanks and in the order in which it was drawn."""
    objects = {int(found[1]): found[2] for found in _OBJECT.finditer(pdf)}
    pages = [each for each in objects.values() if re.search(rb"/Type /Page\b", each)]
    return [_text_of(page, objects) for page in pages]


def _text_of(page: bytes, objects: dict[int, bytes]) -> str:
    fonts = {
        name: _characters(objects[int(number)], objects) for name, number in re.findall(rb"/(F\d+) (\d+) 0 R", page)
    }
    font: dict[int, str] = {}
    text = ""
    contents = _stream(page, rb"/Contents", objects)
    for name, glyphs in re.findall(rb"/(F\d+) \S+ Tf|<([0-9A-F]+)> Tj", contents):
        if name:
            font = fonts[name]
        text += "".join(font.get(int(glyphs[n : n + 4], 16), "") for n in range(0, len(glyphs), 4))
    return squashed(text)


def _characters(font: bytes, objects: dict[int, bytes]) -> dict[int, str]:
    """The characters of the glyphs of a font: the ToUnicode map of the PDF format."""
    found: dict[int, str] = {}
    table = _stream(font, rb"/ToUnicode", objects)
    for section in re.findall(rb"beginbf(?:char|range)\n(.*?)\nendbf", table, re.DOTALL):
        for line in section.splitlines():
            first, *middle, text = re.findall(rb"<([0-9A-F]+)>", line)
            for n in range(int(middle[0], 16) - int(first, 16) + 1 if middle else 1):
                characters = bytes.fromhex(text.decode()).decode("utf-16-be")
                found[int(first, 16) + n] = characters[:-1] + chr(ord(characters[-1]) + n)
    return found


def _stream(holder: bytes, name: bytes, objects: dict[int, bytes]) -> bytes:
    reference = re.search(name + rb" (\d+) 0 R", holder)
    assert reference is not None
    content = objects[int(reference[1])]
    return zlib.decompress(content[content.index(b"stream\n") + 7 : content.rindex(b"\nendstream")])
