"""Templates become pages: HTML that needs no other file, escaped throughout, and Markdown."""

import base64
import io
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from PIL import Image

from semart_hf.model.pictures_semart import load_picture

from .table import as_cell, enumeration, escape_markdown, percent, signed

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"


def data_uri(content: bytes, kind: str = "image/jpeg") -> str:
    """Address of a picture that is part of the page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=select_autoescape(("html",), default_for_string=False),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
ENVIRONMENT.filters.update(
    cell=as_cell, data_uri=data_uri, enumeration=enumeration, markdown=escape_markdown, percent=percent, signed=signed
)


def render_page(template: str, **context: Any) -> str:
    """The page or Markdown of a template in `semart_hf/templates`; the filter `markdown` escapes what is data."""
    page = ENVIRONMENT.get_template(template).render(context)
    # A line of a page does not end between a number and its percent sign.
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", page) if template.endswith(".html") else page


def notice(message: str) -> str:
    """A sentence as a paragraph; nothing where there is none."""
    return f"<p>{escape(message)}</p>" if message else ""


def refusal(error: Exception, picture: str | None) -> str:
    """The error's sentence as a paragraph, in which a visitor's file has its name and not its path on the server."""
    message = str(error) or type(error).__name__
    return notice(message.replace(picture, Path(picture).name) if picture else message)


def small_picture(picture: Any, size: int) -> Image.Image:
    """The picture with at most `size` pixels on its longer side; a ValueError where it cannot be read."""
    small = load_picture(picture, least_side=size).copy()
    small.thumbnail((size, size))
    return small


def to_jpeg(picture: Any, size: int = 144) -> bytes | None:
    """The picture as a JPEG of at most `size` pixels on its longer side; `None` if there is none that can be read."""
    buffer = io.BytesIO()
    try:
        small_picture(picture, size).save(buffer, "JPEG", quality=80, optimize=True)
    except ValueError:  # a page is not lost for one file; findings and results name it
        return None
    return buffer.getvalue()


def title_of(painting: Mapping[str, Any], default: str) -> str:
    """What a painting is called on a page."""
    title = painting.get("title") or painting.get("image_file") or default
    return title if len(title) <= 70 else title[:69] + "…"


def shown_painting(key: str | int, painting: Mapping[str, Any], default_title: str) -> dict[str, Any]:
    """What the template's macro `painting` shows of a row."""
    title, author = title_of(painting, default_title), painting.get("author") or ""
    return {"key": key, "title": title, "author": author, "jpeg": to_jpeg(painting.get("image"))}
