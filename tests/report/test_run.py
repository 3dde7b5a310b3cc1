"""The report of a run, without a browser."""

import base64
import gzip
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from gapclose.errors import UserError
from gapclose.report import __main__ as command
from gapclose.report.folder import write_report
from gapclose.report.record import MAPS, PLANS, World, read_arrays, write_arrays
from gapclose.report.run import write_run_report
from tests.report.conftest import NUM_TASKS, executed, gap

VOID = {"meta", "link", "input", "br"}


class Structure(HTMLParser):
    """Checks that elements are properly nested, and collects references, identifiers and headings."""

    def __init__(self, text):
        super().__init__()
        self.open, self.references, self.ids, self.headings = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.references += [attributes[name] for name in ("src", "href") if name in attributes]
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data.strip())


def unpacked(text, name):
    """Unpacks data as page.js does."""
    packed = re.search(rf'id="{name}-data">([^<]*)<', text).group(1)
    return gzip.decompress(base64.b64decode(packed)).decode()


def test_the_page_is_well_formed_self_contained_and_small(make_run):
    path = write_run_report(make_run())
    text = path.read_text()
    structure = Structure(text)
    assert not structure.open
    assert len(set(structure.ids)) == len(structure.ids)
    assert structure.references == ["data:,"]
    assert not re.search(r"""(src|href|url|import|fetch)\s*[=(]\s*["']?(https?:)?//""", text)
    assert path.stat().st_size < 5e6
    assert unpacked(text, "plotly").lstrip().startswith("/**\n* plotly.js")
    assert not list(path.parent.glob(".report*"))


def test_the_page_contains_the_data_of_the_run(make_run, wall):
    text = write_run_report(make_run(overrides=("finetune=online", "note='a b'"))).read_text()
    player, figures = json.loads(unpacked(text, "player")), json.loads(unpacked(text, "figures"))
    states = player["models"]["baseline"]["ways"]["open_loop"]["states"]
    expected = executed(wall, True).states.numpy()
    world = World.of(executed(wall, True), wall)
    scale = (player["height"] - 80) / np.ptp(world.outline[..., 1])
    found = (np.array(states).reshape(expected.shape)[..., 0] - 40) / scale - 2
    np.testing.assert_allclose(found, expected[..., 0], atol=1 / scale)
    assert len(player["tasks"]) == NUM_TASKS
    assert player["ways"]["mpc"]["replan"] == 2
    assert len(figures) == len(re.findall('class="chart"', text)) == 8
    assert "python train.py finetune=online &#39;note=&#39;" in text
    assert "<script>alert" not in text
    assert "25 % of the plans reached their goal before" in text
    for cell in ("0.25 [0.00, 1.00]", "40,000", "wall", "12 s"):
        assert cell in text


def test_the_report_of_a_diverged_model_has_valid_data(make_run):
    folder = make_run(baseline=gap(0.0, None))
    maps = read_arrays(folder / MAPS)
    maps["errors/baseline"][:], maps["cost/baseline"][:] = np.nan, np.inf
    write_arrays(folder / MAPS, maps)
    text = write_run_report(folder).read_text()
    json.loads(unpacked(text, "player"), parse_constant=pytest.fail)
    json.loads(unpacked(text, "figures"), parse_constant=pytest.fail)
    assert "<td>–</td>" in text


EVERYTHING = {"One-step errors", "The planning cost", "Error along the horizon", "Finetuning"}


@pytest.mark.parametrize(
    ("models", "without", "missing"),
    [
        (("baseline", "finetuned", "oracle"), [], set()),
        (("baseline", "oracle"), [], {"Finetuning"}),
        (("oracle",), [MAPS], EVERYTHING),
        (("finetuned",), [MAPS], {"One-step errors", "The planning cost"}),
        (("baseline", "finetuned"), [PLANS, MAPS], EVERYTHING - {"Finetuning"}),
        (
            ("baseline", "finetuned"),
            [PLANS, MAPS, "config.yaml", ".hydra/overrides.yaml"],
            EVERYTHING - {"Finetuning"},
        ),
    ],
)
def test_sections_without_data_are_left_out(make_run, models, without, missing):
    folder = make_run(models=models, finetune="online" if "finetuned" in models else "none")
    for name in without:
        (folder / name).unlink()
    text = write_run_report(folder).read_text()
    headings = set(Structure(text).headings)
    assert headings & EVERYTHING == EVERYTHING - missing
    assert ("Plans: imagined and executed" in headings) == (PLANS not in without)
    assert ("python train.py" in text) == (".hydra/overrides.yaml" not in without)


def test_lightnings_curves_are_shown_if_they_were_logged(make_run):
    folder = make_run()
    (folder / "version_0").mkdir()
    lines = ["step,finetune/loss,epoch", "10,0.5,0", "20,,0", "30,0.1,1"]
    (folder / "version_0" / "metrics.csv").write_text("\n".join(lines))
    text = write_run_report(folder).read_text()
    assert "Training" in Structure(text).headings
    assert json.loads(unpacked(text, "figures"))[-1]["data"][0]["name"] == "finetune/loss"


def test_curves_are_shown_whatever_numbers_were_logged(make_run):
    folder = make_run()
    lines = ["step,loss", "1" + "0" * 400 + ",1", "0,2", "1,1", "2,1" + "0" * 400, "3,inf", "x,y", "4,1e300"]
    (folder / "metrics.csv").write_text("\n".join(lines))
    (curve,) = json.loads(unpacked(write_run_report(folder).read_text(), "figures"))[-1]["data"]
    assert curve["name"] == "loss"


def test_folders_nested_too_deeply_are_an_error_in_one_sentence(make_run, monkeypatch, capsys):
    folder = make_run()
    folder.joinpath(*["f"] * 100).mkdir(parents=True)
    code, printed = call(monkeypatch, capsys, folder)
    assert (code, printed.err.count("\n")) == (1, 1)
    assert printed.err.startswith(f"Error: {folder}/f/")
    assert "(Too many levels of folders)" in printed.err


def test_a_run_with_an_empty_log_and_unknown_duration_has_a_report(make_run):
    folder = make_run()
    (folder / "metrics.csv").touch()
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["wall_clock_seconds"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    text = write_run_report(folder).read_text()
    assert "Training" not in Structure(text).headings
    assert "<dt>took</dt>" not in text


def test_parts_of_a_run_that_do_not_belong_together_have_a_report(make_run):
    folder = make_run()
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["baseline"]  # plans.npz has it.
    metrics["each_epoch"] = [{"epoch": 1, "expert_error": 1.0, "open_loop": {"train_test_gap": 1.0}}]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert write_report(folder).exists()


def test_the_report_of_a_resumed_run_does_not_give_the_resuming_command(make_run):
    assert "resume=somewhere" not in write_run_report(make_run(overrides=("resume=somewhere",))).read_text()


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["report", *map(str, arguments)])
    code = 0
    try:
        command.main()
    except SystemExit as stop:
        code = stop.code
    return code, capsys.readouterr()


def test_the_command_writes_the_same_report_again(make_run, monkeypatch, capsys):
    folder = make_run()
    code, printed = call(monkeypatch, capsys, folder)
    assert code == 0
    assert str(folder / "report.html") in printed.out
    before = (folder / "report.html").read_bytes()
    write_report(folder)
    assert (folder / "report.html").read_bytes() == before


def test_a_file_for_the_run_and_a_folder_for_the_report_are_errors_in_one_sentence(make_run, monkeypatch, capsys):
    folder = make_run()
    code, printed = call(monkeypatch, capsys, folder / "metrics.json")
    assert (code, printed.err.count("\n")) == (1, 1)
    assert printed.err.startswith(f"Error: {folder / 'metrics.json'} is a file; give the folder of")
    (folder / "report.html").mkdir()
    code, printed = call(monkeypatch, capsys, folder)
    assert (code, printed.err.count("\n")) == (1, 1)
    assert printed.err.startswith(f"Error: {folder / 'report.html'} cannot be used (Is a directory)")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("metrics.json", "{", "cannot be read"),
        ("metrics.json", "[]", "not from train.py"),
        ("metrics.json", '{"open_loop": {}}', "not from train.py"),
        (PLANS, "damaged", "damaged"),
        (MAPS, "", "damaged"),
        ("metrics.json", None, "not finished"),
        ("metrics.json", '{"finetune": "none", "baseline": {"mpc": {}}}', "train.py writes it (seed is missing"),
        ("metrics.json", "[" * 100_000, "cannot be read"),
        ("config.yaml", "a: [1", "cannot be read"),
        ("config.yaml", "- 1", "cannot be read"),
        (".hydra/overrides.yaml", "- [", "cannot be read"),
        ("metrics.csv", 'step,loss\n1,"2', "cannot be read"),
        ("metrics.csv", "step" + ",loss" * 2000, "it is too large"),
    ],
)
def test_unreadable_files_are_errors_in_one_sentence(make_run, monkeypatch, capsys, name, content, sentence):
    folder = make_run()
    (folder / name).unlink(missing_ok=True)
    if content is not None:
        (folder / name).write_text(content)
    code, printed = call(monkeypatch, capsys, folder)
    assert code == 1
    assert sentence in printed.err
    assert printed.err.startswith("Error: ")
    assert len(printed.err.splitlines()) == 1
    with pytest.raises(UserError):
        write_report(folder / "nowhere")
