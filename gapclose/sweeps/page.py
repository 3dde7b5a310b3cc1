"""Writes the results of a sweep into a Markdown page: tables, sentences and pictures between two marks."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from gapclose.errors import UserError
from gapclose.files import write_text
from gapclose.printable import printable
from gapclose.sweeps.plots import draw_sweep, plot_methods
from gapclose.sweeps.results import Setting, has_control
from gapclose.sweeps.table import by_condition, caption, sentences, table_of

BEGIN, END = "<!-- generated from here -->", "<!-- to here -->"


def write_page(path: Path, settings: Sequence[Setting]) -> None:
    """Replaces the text between the two marks of a Markdown page by tables and pictures; the rest stays as it is.

    Raises:
        UserError: the page exists, but has no marks, or is not text.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else f"# {path.stem}\n\n{BEGIN}\n{END}\n"
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8; give a Markdown page, or the name of a new one.") from error
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(
            f"{path} has no marks for the results; add the lines {BEGIN} and, below it, {END} where the results belong."
        )
    content = methods_content(path, settings) if has_control(settings) else plain_content(path, settings)
    write_text(path, "\n\n".join([before + begin, *content]) + f"\n\n{end}{after}")


def methods_content(path: Path, settings: Sequence[Setting]) -> Iterator[str]:
    """Yields a picture of all methods, and a heading and a table for each condition."""
    picture = plot_methods(settings, path.with_suffix(".png"))
    yield f"![Success and model error of all methods]({picture.name})"
    columns, rows = table_of(settings)
    for condition in by_condition(settings):
        yield f"### {literal(condition)}"
        yield markdown_table(columns[1:], [row[1:] for row in rows if row[0] == condition])
    yield "\n".join(f"- {literal(sentence)}" for sentence in sentences(settings))
    yield f"{sentence_case(caption(settings))}."


def plain_content(path: Path, settings: Sequence[Setting]) -> Iterator[str]:
    """Yields one table of all settings, main effects and heat maps."""
    yield markdown_table(*table_of(settings))
    yield f"{sentence_case(caption(settings))}."
    if lines := sentences(settings):
        yield "\n".join(f"- {literal(sentence)}" for sentence in lines)
    for title, picture in draw_sweep(settings, path.parent, f"{path.stem}_").items():
        yield f"![{literal(title)}]({quote(picture.name)})"


def markdown_table(columns: list[str], rows: list[list[str]]) -> str:
    """Formats a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(literal, line)) + " |" for line in lines)


def literal(text: str) -> str:
    """Text in Markdown as it is: no HTML, no end of a cell or line."""
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", printable(text)).replace("|", r"\|")
    return " ".join(text.splitlines())


def sentence_case(text: str) -> str:
    """Capitalises the first letter."""
    return f"{text[0].upper()}{text[1:]}"
