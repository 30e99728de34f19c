"""What is drawn for a terminal, as plain text and as a fragment of a page."""

from __future__ import annotations

import io
from typing import Any

__all__ = ["as_html", "as_text"]


def as_text(renderable: Any) -> str:
    """A table of rich as plain text, as wide as it needs to be: squeezed columns are harder to read than long lines."""
    from rich.console import Console

    buffer = io.StringIO()
    Console(file=buffer, width=1000, color_system=None).print(renderable)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def as_html(renderable: Any) -> str:
    """The same as a fragment of a page, for notebooks."""
    from html import escape

    text = escape(as_text(renderable))
    return f'<pre style="white-space:pre;overflow-x:auto;line-height:normal;font-family:monospace">{text}</pre>'
