"""The layers of gapclose: their order, the imports that run against it, and their picture.

    python docs/layers.py

draws docs/layers.svg from the import statements, and fails if one of them runs against the order. tests/test_layers.py
does the same without drawing.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs/layers.svg"

BASE = "base modules"  # the files that lie directly in gapclose/, but for those that the order names
# A layer imports only itself and those before it.
ORDER = {
    "gapclose": (
        BASE,
        "engines",
        "envs",
        "data",
        "models",
        "planning",
        "training",
        "evaluation",
        "sweeps",
        "diagnostics",
        "report",
        "logging",
        "dashboards",
        "runs",
        "diagnose",
    ),
    "gapclose.models": ("normalization", "encoders", "dynamics", "world_model", "policy", "oracle", "adapted"),
    "gapclose.runs": ("storage", "setup", "jobs", "command_line"),
}

Import = tuple[str, str, str]  # the file and line, the module that imports, the module that is imported


def imports(root: Path = ROOT) -> Iterator[Import]:
    """Every import of a module of gapclose by another, those inside functions included."""
    files = {_module(path.relative_to(root)): path for path in sorted((root / "gapclose").rglob("*.py"))}
    for module, path in files.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in _imported(node, package):
                while name and name not in files:  # what is imported from a module is not a module
                    name = name.rpartition(".")[0]
                if name:
                    yield f"{path.relative_to(root).as_posix()}:{node.lineno}", module, name


def _module(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(node: ast.AST, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
        source = ".".join([*parents, *([node.module] if node.module else [])])
        return [f"{source}.{alias.name}" for alias in node.names]
    return []


def layer(module: str, package: str) -> str | None:
    """The layer of the package that a module belongs to; None if it is the package itself or lies outside."""
    if module == "gapclose":
        return BASE if package == "gapclose" else None
    if not module.startswith(package + "."):
        return None
    name = module[len(package) + 1 :].split(".")[0]
    is_base = package == "gapclose" and name not in ORDER[package] and (ROOT / f"gapclose/{name}.py").is_file()
    return BASE if is_base else name


def edges(found: list[Import], package: str) -> Iterator[tuple[str, str, str]]:
    """Where a layer of the package imports another, and which ones these are."""
    for place, module, imported in found:
        above, below = layer(module, package), layer(imported, package)
        if above and below and above != below:
            yield place, above, below


def violations(found: list[Import]) -> list[str]:
    """A sentence for each import against the order and each layer that the order does not name."""
    sentences = []
    for package, order in ORDER.items():
        for place, above, below in edges(found, package):
            unnamed = [name for name in (above, below) if name not in order]
            if unnamed:
                sentences.append(f"{place}: {package}.{unnamed[0]} has no place in the order of docs/layers.py")
            elif order.index(below) > order.index(above):
                sentences.append(f"{place}: {package}, {above} imports {below}, which is a layer above it")
    return list(dict.fromkeys(sentences))


def picture(found: list[Import]) -> str:
    """The SVG: a dot where the layer at the end of the row imports the one at the foot of the column."""
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 540" width="700" height="540" role="img" '
            'font-family="Helvetica, Arial, sans-serif" font-size="16" fill="#1f2933">',
            "<title>The layers of gapclose, and which imports which</title>",
            '<rect width="700" height="540" rx="8" fill="#ffffff"/>',
            *_staircase(found, "gapclose", left=24, top=24, cell=30),
            *_staircase(found, "gapclose.runs", left=464, top=158, cell=25),
            *_staircase(found, "gapclose.models", left=354, top=308, cell=25),
            '<text x="24" y="516">A dot: the layer that ends the row imports the layer that ends the column.</text>',
            "</svg>",
            "",
        ]
    )


def _staircase(found: list[Import], package: str, left: int, top: int, cell: int) -> Iterator[str]:
    """A row and a column for each layer, the lowest at the bottom and on the left; a step is where both meet."""
    order = ORDER[package]
    dots = {(above, below) for _, above, below in edges(found, package)}
    if package != "gapclose":
        yield f'<text x="{left}" y="{top - 8}" font-style="italic">inside {package.rpartition(".")[2]}</text>'
    for column, name in enumerate(order):
        x, y = left + column * cell, top + (len(order) - 1 - column) * cell
        yield f'<rect x="{left}" y="{y}" width="{(column + 1) * cell}" height="{cell}" fill="none" stroke="#e4e7eb"/>'
        yield f'<rect x="{x}" y="{top}" width="{cell}" height="{y - top + cell}" fill="none" stroke="#e4e7eb"/>'
        yield f'<rect x="{x}" y="{y}" width="{cell}" height="{cell}" fill="#0b6e99"/>'
        yield f'<text x="{x + cell + 6}" y="{y + cell // 2 + 5}">{name}</text>'
        for other, below in enumerate(order):
            if (name, below) in dots:
                yield f'<circle cx="{left + other * cell + cell // 2}" cy="{y + cell // 2}" r="5" fill="#e07a1f"/>'


if __name__ == "__main__":
    found = list(imports())
    PICTURE.write_text(picture(found), encoding="utf-8")
    sys.exit("\n".join(violations(found)) or None)
