"""The results of a sweep as a Markdown page: tables, sentences and pictures between two marks."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from gapclose.errors import UserError
from gapclose.files import replacing
from gapclose.sweeps.plots import draw_sweep, plot_methods
from gapclose.sweeps.results import Setting, has_control
from gapclose.sweeps.table import by_scene, caption, sentences, table_of

BEGIN, END = "<!-- generated from here -->", "<!-- to here -->"


def write_page(path: Path, settings: Sequence[Setting]) -> None:
    """Puts tables and pictures between the two marks of a Markdown page; what stands around them is left alone.

    Raises:
        UserError: there is such a page, but without the marks, or it is no text.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else f"# {path.stem}\n\n{BEGIN}\n{END}\n"
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8; give a Markdown page, or the name of a new one.") from error
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(
            f"{path} has no place for results; put the lines {BEGIN} and, below it, {END} where they belong."
        )
    content = methods(path, settings) if has_control(settings) else plain(path, settings)
    with replacing(path) as temporary:
        temporary.write_text("\n\n".join([before + begin, *content]) + f"\n\n{end}{after}", encoding="utf-8")


def methods(path: Path, settings: Sequence[Setting]) -> Iterator[str]:
    """A picture of all methods, and a heading and a table of methods for each scene."""
    picture = plot_methods(settings, path.with_suffix(".png"))
    yield f"![Success and model error of all methods]({picture.name})"
    columns, rows = table_of(settings)
    for scene in by_scene(settings):
        yield f"### {scene}"
        yield table(columns[1:], [row[1:] for row in rows if row[0] == scene])
    yield "\n".join(f"- {sentence}" for sentence in sentences(settings))
    yield f"{sentence_case(caption(settings))}."


def plain(path: Path, settings: Sequence[Setting]) -> Iterator[str]:
    """One table of all settings, main effects and heat maps."""
    yield table(*table_of(settings))
    yield f"{sentence_case(caption(settings))}."
    if found := sentences(settings):
        yield "\n".join(f"- {sentence}" for sentence in found)
    for title, picture in draw_sweep(settings, path.parent, f"{path.stem}_").items():
        yield f"![{title}]({picture.name})"


def table(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def sentence_case(text: str) -> str:
    """With a capital at its beginning."""
    return f"{text[0].upper()}{text[1:]}"
