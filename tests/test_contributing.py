"""CONTRIBUTING.md names files to copy and what to look for in them: both are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = " ".join((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split())


def test_every_file_that_it_names_exists():
    named = re.findall(r"`((?:gapclose|conf|tests|docs)/[^`\s]*)`", PAGE)
    coming = ["gapclose/data/formats/"]
    assert len(named) > 40
    assert [path for path in named if not (ROOT / path).exists()] == coming


def test_every_name_is_in_the_file_that_it_is_said_to_be_in():
    named = re.findall(r"`(\w+)` in `([^`\s]+\.py)`", PAGE)
    assert len(named) > 10
    assert [(name, path) for name, path in named if not re.search(rf"\b{name}\b", (ROOT / path).read_text())] == []
