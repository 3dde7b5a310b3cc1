"""One HTML file with all that it needs, Plotly included: it opens without a network, from a disk or an e-mail."""

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

from gapclose.files import replacing
from gapclose.report.figures import Section

PAGE = "report.html"


def write_page(
    path: Path, template: str, sections: list[Section], player: dict[str, Any] | None = None, **content: Any
) -> Path:
    """Fills a template of this folder and writes the file, whole or not at all.

    Args:
        path: of the file.
        template: its name; it extends page.html.
        sections: with the charts.
        player: what player.js shows; none leaves the player out.
        content: what else the template names.
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
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def source(name: str) -> str:
    """A style sheet or script of this folder."""
    return (files("gapclose.report") / name).read_text(encoding="utf-8")


def packed(text: str) -> str:
    """A text as page.js unpacks it: compressed, which is a third or less, in letters that HTML leaves alone."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


@cache
def plotly_packed() -> str:
    """Plotly's script, packed: 2 MB instead of 4.8."""
    return packed(get_plotlyjs())


@cache
def environment() -> Environment:
    """What reads the templates; all that they are filled with is escaped."""
    loader = PackageLoader("gapclose.report", ".")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
