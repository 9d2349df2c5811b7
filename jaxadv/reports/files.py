"""Files of figures: JSON, Markdown."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxadv.storage import cache


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON; NaN is refused, as it is not JSON."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False))


def write_text(path: Path, text: str) -> None:
    """Writes a whole file in UTF-8, or none; "?" stands for what is no text, as in file names."""
    with cache.replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")
