"""Self-contained HTML files, with embedded style, script and pictures."""

import base64
import html
import io
import os
import pathlib

from PIL import Image

from jaxseg.errors import InputError
from jaxseg.utils.access import reason
from jaxseg.utils.atomic import write_atomic


def document(title: str, style: str, body: str, script: str) -> str:
    """Creates a complete page.

    Args:
      title: plain text.
      style: CSS.
      body: HTML.
      script: JavaScript.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'  # otherwise a browser requests one from the server
        f"<title>{html.escape(title)}</title><style>{style}</style></head>\n"
        f"<body>{body}<script>{script}</script></body></html>\n"
    )


def data_url(image: Image.Image, kind: str, quality: int = 92) -> str:
    """A picture as a data URL.

    Args:
      image: image in a mode that PIL can write as `kind`.
      kind: "JPEG" or "PNG".
      quality: quality of a JPEG.
    """
    file = io.BytesIO()
    options = {"quality": quality, "subsampling": 0} if kind == "JPEG" else {"optimize": True}
    image.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def check_place(path: pathlib.Path) -> None:
    """Raises InputError if `write_page` could not write to `path`; for use before long work."""
    if path.is_dir():
        raise InputError(f"{path} is a folder.", "Give the name of the file to write.")
    if not os.access(path.parent, os.W_OK):
        raise InputError(
            f"Cannot write {path}: {path.parent} is not a folder that you can write to.",
            "Choose another place.",
        )


def write_page(path: pathlib.Path, page: str) -> None:
    """Writes a page.

    Raises:
      InputError: it cannot be written.
    """
    try:
        write_atomic(path, page)
    except OSError as e:
        raise InputError(
            f"Cannot write {path}: {reason(e)}.", "Choose a place that you can write to."
        ) from None
