"""Builds the documentation site in build/site and fails on whatever is wrong with it: `make docs`.

Pages are collected in build/pages, in the folders where they lie here, so that their links lead to the same places on
GitHub and on the site. zensical.toml has the menu and the settings.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]
PAGES, SITE = ROOT / "build/pages", ROOT / "build/site"
SOURCES = (
    "README.md",
    "CONTRIBUTING.md",
    "docs",
    "multirun/README.md",
    "benchmarks/README.md",
    "benchmarks/scaling.png",
)


def collect() -> None:
    """Copies what the site is made of."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for source in SOURCES:
        target = PAGES / source
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, target)


def build() -> Iterator[str]:
    """Runs Zensical; yields what it and the readers of docstrings complain of."""
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as zensical:
        for line in zensical.stdout:
            if line.startswith(("griffe:", "mkdocstrings:")):
                yield line.strip()
            else:
                print(line, end="", flush=True)
    if zensical.returncode:
        yield f"zensical ended with {zensical.returncode}"


class Page(HTMLParser):
    """The anchors of a page, where it links to, and what it loads."""

    def __init__(self, path: Path):
        super().__init__()
        self.anchors, self.links, self.loads = {""}, set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes what the tag names."""
        values = {name: value for name, value in attrs if value}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if "href" in values:
            (self.loads if tag == "link" else self.links).add(values["href"])
        if "src" in values:
            self.loads.add(values["src"])


def check() -> Iterator[str]:
    """Yields links and pictures that lead nowhere, and what a page would load from elsewhere."""
    pages = {path: Page(path) for path in sorted(SITE.rglob("*.html"))}
    for path, page in pages.items():
        if path.name == "404.html":  # whose links are those of a server's root
            continue
        name = path.relative_to(SITE)
        for link in sorted(page.links | page.loads):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loads and parts.scheme != "data":
                    yield f"{name}: loads {link}, which a reader without a network lacks"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                yield f"{name}: {link} leads nowhere"
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{name}: {link} leads to a page without such an anchor"


if __name__ == "__main__":
    collect()
    complaints = [*build(), *check()]
    sys.exit("\n".join(complaints) or None)
