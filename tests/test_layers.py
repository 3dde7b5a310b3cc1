import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def layers():
    return runpy.run_path(str(ROOT / "docs/layers.py"))


@pytest.fixture(scope="module")
def found(layers):
    return list(layers["imports"]())


def test_no_import_runs_against_the_order(layers, found):
    assert layers["violations"](found) == []


def test_every_name_in_the_order_exists(layers):
    for package, order in layers["ORDER"].items():
        folder = ROOT / package.replace(".", "/")
        missing = [name for name in order[1:] if not (folder / name).is_dir() and not (folder / f"{name}.py").is_file()]
        assert missing == []


def test_the_picture_is_up_to_date(layers, found):
    drawn = layers["PICTURE"].read_text(encoding="utf-8")
    assert drawn == layers["picture"](found), "python docs/layers.py draws it again"


@pytest.mark.parametrize(
    ("module", "statement", "sentence"),
    [
        ("planning/cem", "from gapclose.training.attacks import FGSM", "planning imports training"),
        ("planning/cem", "import gapclose.training", "planning imports training"),
        ("planning/cem", "from gapclose import training", "planning imports training"),
        ("planning/cem", "from ..training import attacks", "planning imports training"),
        ("planning/cem", "def plan():\n    from gapclose.training import attacks", "planning imports training"),
        ("seeds", "from gapclose.envs import wall", "base modules imports envs"),
        ("models/dynamics/mlp", "from gapclose.models.world_model import WorldModel", "dynamics imports world_model"),
        ("runs/storage/versions", "from gapclose.runs.jobs import train", "storage imports jobs"),
        ("planning/cem", "from gapclose.rewards import dense", "gapclose.rewards has no place in the order"),
        ("rewards/dense", "from gapclose.seeds import generator", "gapclose.rewards has no place in the order"),
    ],
)
def test_an_import_against_the_order_is_found(layers, tmp_path, module, statement, sentence):
    names = ["training/attacks", "envs/wall", "models/world_model", "runs/jobs/train", "rewards/dense", "seeds", module]
    for name in names:
        file = tmp_path / f"gapclose/{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        for folder in file.relative_to(tmp_path).parents[:-1]:
            (tmp_path / folder / "__init__.py").touch()
        file.write_text(statement if name == module else "")
    (violation,) = layers["violations"](list(layers["imports"](tmp_path)))
    assert violation.startswith(f"gapclose/{module}.py:")
    assert sentence in violation
