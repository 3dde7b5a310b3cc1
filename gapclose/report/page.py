"""Writes a report as one self-contained HTML file, Plotly included, that opens without a network."""

import base64
import gzip
import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.io import to_json
from plotly.offline import get_plotlyjs

from gapclose.files import write_text
from gapclose.printable import printable
from gapclose.report.figures import Section

PAGE = "report.html"


def write_page(
    path: Path, template: str, sections: list[Section], player: dict[str, Any] | None = None, **content: Any
) -> Path:
    """Fills a template of this folder and writes the file, atomically.

    Args:
        path: of the file.
        template: name of a template that extends page.html.
        sections: of charts.
        player: data for player.js; none leaves the player out.
        content: the other variables of the template.
    """
    figures = [json.loads(to_json(chart.figure)) for section in sections for chart in section.charts]
    page = environment().get_template(template)
    text = page.render(
        sections=sections,
        style=source("style.css"),
        scripts=[source("page.js"), *([source("player.js")] if player else [])],
        plotly=plotly_packed() if figures else None,
        figures=packed(json.dumps(figures)),
        player=player and packed(json.dumps(player, separators=(",", ":"), allow_nan=False)),
        **content,
    )
    write_text(path, printable(text))
    return path


def source(name: str) -> str:
    """Reads a style sheet or script of this folder."""
    return (files("gapclose.report") / name).read_text(encoding="utf-8")


def packed(text: str) -> str:
    """Compresses a text (to a third or less) and encodes it in base64, as page.js unpacks it."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


@cache
def plotly_packed() -> str:
    """Plotly's script, packed: 2 MB instead of 4.8."""
    return packed(get_plotlyjs())


@cache
def environment() -> Environment:
    """The template environment; all values are escaped."""
    loader = PackageLoader("gapclose.report", ".")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
