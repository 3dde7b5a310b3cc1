"""The files and symbols that CONTRIBUTING.md names exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = " ".join((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split())


def test_every_named_file_exists():
    named = re.findall(r"`((?:gapclose|conf|tests|docs)/[^`\s]*)`", PAGE)
    coming = ["gapclose/data/formats/"]
    assert len(named) > 40
    assert [path for path in named if not (ROOT / path).exists()] == coming


def test_every_named_symbol_is_in_its_file():
    named = re.findall(r"`(\w+)` in `([^`\s]+\.py)`", PAGE)
    assert len(named) > 10
    assert [(name, path) for name, path in named if not re.search(rf"\b{name}\b", (ROOT / path).read_text())] == []
