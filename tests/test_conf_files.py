import pytest

from gapclose.conf_files import conf_dir, known_targets, require_known_targets, require_plain, targets_below
from gapclose.errors import UserError


def test_known_are_the_classes_of_our_own_options_but_not_those_that_configure_hydra():
    known = known_targets()
    assert {"gapclose.envs.wall.Wall", "torch.optim.Adam", "lightning.Trainer"} <= known
    assert not [name for name in known if name.startswith("hydra_plugins") or "BeginSweep" in name]
    named = "".join(path.read_text() for path in conf_dir().rglob("*.yaml"))
    assert all(f"_target_: {name}\n" in named for name in known)


@pytest.mark.parametrize(
    "target",
    [
        "builtins.open",
        "gapclose.envs.wall.Wall.__init__.__globals__",
        "gapclose.envs.wall.torch.load",
        "gapclose.envs.wall.Wal",
        "gapclose.envs.wall.Wall ",
        "gapclose.envs",
        "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher",
        "",
        None,
        5,
        True,
    ],
)
@pytest.mark.parametrize(
    "place", [lambda x: x, lambda x: {"a": x}, lambda x: {"a": [1, {"b": {"c": x}}]}, lambda x: {"_args_": [x]}]
)
def test_any_other_target_is_refused_wherever_it_stands(target, place):
    with pytest.raises(UserError, match=r"stored\.yaml names"):
        require_known_targets({"env": place({"_target_": target})}, "stored.yaml")
    require_known_targets({"env": place({"_target_": "gapclose.envs.wall.Wall"})}, "stored.yaml")


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "a ${b}", object(), b"bytes", {1, 2}, (1,), 1j])
def test_what_is_no_plain_value_is_refused(value):
    with pytest.raises(UserError, match=r"stored\.yaml is not one that train\.py wrote, as a\.0\.b is"):
        require_plain({"a": [{"b": value}]}, "stored.yaml")
    require_plain({"a": [{"b": 1}, None, 2.5, "text", True]}, "stored.yaml")


def test_comments_name_no_classes(tmp_path):
    (tmp_path / "env").mkdir()
    (tmp_path / "env/lab.yaml").write_text("# _target_: lab.Old\n_target_: lab.New # _target_: lab.Other\n")
    (tmp_path / "hydra").mkdir()
    (tmp_path / "hydra/lab.yaml").write_text("_target_: lab.Launcher\n")
    assert targets_below(tmp_path) == {"lab.New"}
