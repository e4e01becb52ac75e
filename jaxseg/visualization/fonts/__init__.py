"""Fonts for class names in any script.

jaxseg includes `DejaVuSans.ttf` (version 2.37, 742 KiB, with its licence), which covers the
alphabets of Europe and the Near East. For other scripts, the system's fonts are searched.
"""

import functools
import os
import pathlib
import sys
from collections.abc import Iterator

from PIL import ImageFont

_SHIPPED = pathlib.Path(__file__).with_name("DejaVuSans.ttf")
_NO_LETTER = "\U0010fffe"  # every font draws its placeholder box for this code point
_WIDE = (  # parts of names of fonts with many scripts, the best first
    *("cjk", "unifont", "arialuni", "arial unicode", "droidsansfallback", "wqy", "noto", "malgun"),
    *("msyh", "meiryo", "yugoth", "simsun", "pingfang", "hiragino", "nirmala", "sans"),
)
_MOST = 400  # maximum number of fonts opened in a search


def drawable(text: str, size: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """Returns a drawable text, and a font of `size` pixels that has all its characters.

    If no font on this machine has them, the text is escaped to character codes.

    >>> drawable("arbre à feuilles, дорога", 13)[0]
    'arbre à feuilles, дорога'
    """
    path = _covering("".join(sorted(set(text) - set(" \t\n"))))
    if path is None:
        return text.encode("ascii", "backslashreplace").decode(), _font(_SHIPPED, size)
    return text, _font(path, size)


@functools.cache
def _font(path: pathlib.Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size)


@functools.cache
def _covering(letters: str) -> pathlib.Path | None:
    """The first font that has all characters; None if there is none."""
    for number, path in enumerate(_fonts()):
        if number > _MOST:
            break
        if _has(path, letters):
            return path
    return None


def _has(path: pathlib.Path, letters: str) -> bool:
    try:
        font = _font(path, 16)
        basic = ImageFont.Layout.BASIC
        plain = font.font_variant(layout_engine=basic)
        box = bytes(plain.getmask(_NO_LETTER)), plain.getbbox(_NO_LETTER)
        drawn = ((bytes(plain.getmask(c)), plain.getbbox(c)) for c in letters)
        return all(letter != box for letter in drawn)
    except (OSError, ValueError):  # a font that FreeType cannot open, or a bitmap font
        return False


def _fonts() -> Iterator[pathlib.Path]:
    """jaxseg's font, then the system's fonts, those with many scripts first."""
    yield _SHIPPED
    found = []
    for folder in _folders():
        for at, _, names in os.walk(folder):
            found += [
                pathlib.Path(at, name)
                for name in names
                if name.lower().endswith((".ttf", ".otf", ".ttc"))
            ]

    def rank(path: pathlib.Path) -> tuple[int, bool, str]:
        name = path.name.lower()
        kind = next((k for k, word in enumerate(_WIDE) if word in name), len(_WIDE))
        return kind, "regular" not in name, name

    yield from sorted(found, key=rank)


def _folders() -> list[pathlib.Path]:
    if sys.platform == "darwin":
        return [pathlib.Path(p).expanduser() for p in ("/System/Library/Fonts", "/Library/Fonts",
                                                       "~/Library/Fonts")]  # fmt: skip
    if sys.platform == "win32":
        return [pathlib.Path(os.environ.get("WINDIR", "C:/Windows"), "Fonts")]
    home = pathlib.Path("~").expanduser()
    return [pathlib.Path("/usr/share/fonts"), pathlib.Path("/usr/local/share/fonts"),
            home / ".fonts", home / ".local/share/fonts"]  # fmt: skip
