import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from gapclose.errors import UserError
from gapclose.report.sweep import write_sweep_report
from gapclose.sweeps import __main__ as sweep_command
from gapclose.sweeps import summary as sweep
from gapclose.sweeps.page import BEGIN, END, write_page
from gapclose.sweeps.plots import MAX_NAME
from tests.sweeps.conftest import leave_run, read_settings


@pytest.fixture
def call(monkeypatch, capsys):
    """Calls the command and returns its exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["sweep", *map(str, arguments)])
        code = 0
        try:
            sweep_command.main()
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def no_pictures(monkeypatch):
    """Draws no pictures, which are slow."""
    monkeypatch.setattr(sweep, "draw_sweep", lambda *_: {})


def test_the_command_prints_and_writes_and_leaves_the_rest_of_the_page_alone(methods, tmp_path, call, no_pictures):
    page = tmp_path / "docs" / "wall.md"
    page.parent.mkdir()
    page.write_text(f"# Ours\n\nWords before.\n\n{BEGIN}\nobsolete\n{END}\n\nWords after.\n")
    leave_run(methods, ["finetune=none", "model=mlp"], 5, [1, 1, 1, 1], [0.1] * 4, "none")
    (methods / "run6" / "metrics.json").unlink()
    for _ in range(2):
        code, out, _ = call(methods, "--page", page)
        assert code == 0
        text = page.read_text()
        assert text.startswith("# Ours\n\nWords before.\n")
        assert text.endswith(f"{END}\n\nWords after.\n")
        assert "obsolete" not in text
        assert text.count("| online | 2 | 0.75 [") == 1
        assert "- mlp: online is not clearly different from continue" in text
        assert "6 runs, 1 unfinished" in out
    assert page.with_suffix(".png").stat().st_size > 1000
    table = pd.read_csv(methods / "summary.csv")
    assert table["success minus control"].tolist()[2] == 0.5
    assert len(table) == 3
    assert (methods / "timings.csv").exists()


def test_the_page_of_a_plain_sweep_has_one_table_and_pictures(grid, tmp_path, call):
    code, out, _ = call(grid, "--page", tmp_path / "page.md")
    assert code == 0
    assert "horizon" in out
    text = (tmp_path / "page.md").read_text()
    assert text.count("| 0.25 | 25 | 2 | 0.75 [") == 1
    for picture in ("page_main_effects.png", "page_heatmap_action_max_horizon.png"):
        assert f"]({picture})" in text
        assert (tmp_path / picture).stat().st_size > 1000
    assert {path.name for path in grid.glob("*.png")} == {"main_effects.png", "heatmap_action_max_horizon.png"}


def test_the_summary_does_not_depend_on_how_often_it_was_interrupted_or_what_runs_are_called(
    grid, tmp_path, call, no_pictures
):
    call(grid)
    whole = (grid / "summary.csv").read_bytes()
    resumed = tmp_path / "resumed"
    for number, run in enumerate(sorted(grid.glob("run*"), reverse=True)):
        shutil.copytree(run, resumed / f"job{number}")
        metrics = resumed / f"job{number}" / "metrics.json"
        metrics.write_text(metrics.read_text().replace('"wall_clock_seconds": 1', '"wall_clock_seconds": 7'))
        if number % 5 == 0:
            call(resumed)
            assert (resumed / "summary.csv").read_bytes() != whole
    call(resumed)
    assert (resumed / "summary.csv").read_bytes() == whole


def test_failures_are_printed_and_listed_in_a_file_that_is_removed_with_the_last_of_them(grid, call, no_pictures):
    for number in range(12):
        (grid / f"job{number:02}" / ".hydra").mkdir(parents=True)
        (grid / f"job{number:02}" / "error.txt").write_text(f"Number {number} is too large.\n")
    code, out, _ = call(grid)
    assert code == 0
    assert "12 runs, 12 failed" in out
    assert "job00 failed: Number 0 is too large." in out
    assert "job11" not in out
    assert "and 2 others: failures.csv" in out
    failures = pd.read_csv(grid / "failures.csv")
    assert failures.columns.tolist() == ["run", "state", "reason"]
    assert failures["reason"].tolist()[11] == "Number 11 is too large."
    for folder in grid.glob("job*"):
        shutil.rmtree(folder)
    call(grid)
    assert not (grid / "failures.csv").exists()


def test_a_sweep_without_a_finished_run_is_an_error_in_one_sentence(tmp_path, call):
    (leave_run(tmp_path, ["finetune=online"], 0, [1, 0], [0.5, 0.5]) / "metrics.json").unlink()
    assert call(tmp_path)[::2] == (
        1, f"Error: There is no finished run below {tmp_path} (1 unfinished); give the folder of a sweep of train.py.\n"
    )  # fmt: skip


def test_files_and_folders_without_runs_are_an_error_in_one_sentence(tmp_path, call):
    (tmp_path / "file").touch()
    for name, begin in (
        ("", "There is no run below"),
        ("none", "There is no folder"),
        ("file", f"{tmp_path}/file is a"),
    ):
        code, out, err = call(tmp_path / name)
        assert (code, out) == (1, "")
        assert err.startswith(f"Error: {begin}")
        assert err.count("\n") == 1


def test_markup_and_codes_from_files_are_shown_as_they_are_or_not_at_all(tmp_path, call, no_pictures):
    folder = tmp_path / "[old] sweep :smile: [/bold]"
    for value, rate in {"[red]a[/red]": 1, "=1+1": 2, "[/bold]": 3}.items():
        leave_run(folder, ["finetune=online", f"env='{value}'"], 0, [1] * rate + [0] * (4 - rate), [0.1] * 4)
    (folder / "job" / ".hydra").mkdir(parents=True)
    (folder / "job" / "error.txt").write_text("\x1b[31mred\x1b]0;title\x07\n")
    code, out, err = call(folder, "--page", tmp_path / "page.md")
    assert (code, err) == (0, "")
    assert "[old] sweep :smile: [/bold]: 3 runs" in out
    for value in ("[red]a[/red]", "=1+1", "[/bold]"):
        assert re.search(rf"^│ *{re.escape(value)} *│", out, re.MULTILINE)
    assert "\x1b" not in out
    assert "\x07" not in out
    assert pd.read_csv(folder / "summary.csv")["env"].tolist() == ["'=1+1", "[/bold]", "[red]a[/red]"]
    assert "\x1b" not in (folder / "failures.csv").read_text()


def test_pictures_page_and_report_are_made_whatever_keys_and_values_contain(tmp_path):
    folder = tmp_path / "sweep"
    for value in ("a$b$c", r"$\frac", "a_b|<script>x", r"\x1b[2J", r"\0"):
        for horizon in (25, 50):
            settings = ["finetune=online", f'env.a$b$/{"x" * 80}|<script>x="{value}"', f"planner.horizon={horizon}"]
            leave_run(folder, settings, 0, [1, 0], [0.1] * 2)
    results = sweep.summarize_sweep(folder, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    report = write_sweep_report(folder, results).read_text(encoding="utf-8")
    assert "<script>x" not in page + report
    assert len({line.replace(r"\|", "").count("|") for line in page.splitlines() if line.startswith("|")}) == 1
    assert [len(path.name) for path in folder.glob("heatmap_*.png")] == [len("heatmap_.png") + MAX_NAME]


def test_help_names_the_command(call):
    assert call("--help")[1].startswith("usage: python -m gapclose.sweeps ")


def test_a_folder_with_the_name_of_the_summary_is_an_error_and_is_kept(grid, call, no_pictures):
    (grid / "summary.csv").mkdir()
    (grid / "summary.csv" / "mine").write_text("precious")
    code, out, err = call(grid)
    assert code == 1
    assert "horizon" in out
    assert err.startswith(f"Error: {grid / 'summary.csv'} cannot be used (Is a directory); move it")
    assert (grid / "summary.csv" / "mine").read_text() == "precious"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"# Mine\n", "has no marks"),
        (f"{END}\n{BEGIN}\n".encode(), "has no marks"),
        (b"\xff\xfe", "is not text in UTF-8"),
    ],
)
def test_a_page_without_marks_is_refused(methods, tmp_path, content, sentence):
    page = tmp_path / "page.md"
    page.write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        write_page(page, read_settings(methods))
    assert page.read_bytes() == content


def test_reading_results_imports_no_pytorch():
    """Its import would take two thirds of the time of the command."""
    program = "import sys, gapclose.sweeps.summary, gapclose.report.sweep; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
