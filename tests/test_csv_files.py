import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapclose.csv_files import read_csv, write_csv


@pytest.mark.parametrize("text", ["=1+1", "+1", "-cmd", "@SUM(A1)", "\t=1", "'=1", "'quoted", "plain, with comma"])
def test_text_that_a_spreadsheet_takes_for_a_formula_has_an_apostrophe_and_is_read_as_it_was(tmp_path, text):
    table = pd.DataFrame({text: [text, "b"], "number": [-1.5, 2.0]})
    write_csv(tmp_path / "table.csv", table)
    written = (tmp_path / "table.csv").read_text()
    cells = [cell.strip('"') for line in written.splitlines() for cell in line.split(",")]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t")) or cell == "-cmd"]
    assert "-1.5" in cells
    pd.testing.assert_frame_equal(read_csv(written), table)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=0x2000, exclude_categories=("Cc", "Cs")), min_size=1))
def test_any_text_is_read_as_it_was_written(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    write_csv(path, pd.DataFrame({"a": [f"x{text}", f"={text}"]}))
    assert read_csv(path.read_text(encoding="utf-8")).a.tolist() == [f"x{text}", f"={text}"]


def test_names_that_are_not_valid_text_and_codes_for_a_terminal_are_replaced(tmp_path):
    write_csv(tmp_path / "table.csv", pd.DataFrame({"a": ["run\udcff", "\x1b[2J"]}))
    assert read_csv((tmp_path / "table.csv").read_text()).a.tolist() == ["run\N{REPLACEMENT CHARACTER}", "�[2J"]
