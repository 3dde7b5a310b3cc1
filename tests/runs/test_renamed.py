"""Checkpoints and runs from before a renaming are loaded by the present names."""

from pathlib import Path

import pytest
import torch
from hydra.utils import get_class
from omegaconf import OmegaConf

from gapclose.renamed import KEYS, TARGETS, with_present_names
from gapclose.training.checkpoint import read_checkpoint
from tests.runs.conftest import TINY_PLAN, metrics_of, without_times


def with_earlier_names(config):
    """A configuration as it was stored before the names changed."""
    earlier = {new: old for names in (TARGETS, KEYS) for old, new in names.items()}
    if isinstance(config, dict):
        return {earlier.get(key, key): with_earlier_names(value) for key, value in config.items()}
    if isinstance(config, list):
        return [with_earlier_names(value) for value in config]
    return earlier.get(config, config) if isinstance(config, str) else config


@pytest.mark.parametrize(("old", "new"), TARGETS.items())
def test_the_present_name_is_that_of_a_class_and_the_earlier_one_is_not(old, new):
    assert get_class(new).__name__ == old.rpartition(".")[2]
    with pytest.raises(ImportError):
        get_class(old)


def test_only_keys_and_targets_are_renamed():
    old, new = next(iter(TARGETS.items()))
    config = {"a": [{"_target_": old, "note": old}], "rivals": {}, "b": "rivals"}
    assert with_present_names(config) == {"a": [{"_target_": new, "note": old}], "compared": {}, "b": "rivals"}


def test_a_checkpoint_with_earlier_names_plans_as_with_the_present_ones(call, trained):
    present = trained / "run/checkpoints/last.ckpt"
    checkpoint = torch.load(present, weights_only=True)
    checkpoint["config"] = with_earlier_names(checkpoint["config"])
    torch.save(checkpoint, "earlier.ckpt")
    stored = str(torch.load("earlier.ckpt", weights_only=True)["config"])
    assert "gapclose.finetuning" in stored
    assert "gapclose.models.encoders.StateEncoder" in stored
    assert read_checkpoint("earlier.ckpt")["config"] == torch.load(present, weights_only=True)["config"]
    for name, path in (("present", present), ("earlier", "earlier.ckpt")):
        assert call("plan", *TINY_PLAN, "num_tasks=2", f"checkpoint={path}", f"hydra.run.dir={name}").code == 0
    measured = [without_times(metrics_of(name)["open_loop"]) for name in ("present", "earlier")]
    assert measured[0] == measured[1]


def test_a_run_with_earlier_names_can_be_resumed(call, trained):
    Path("run").mkdir()
    config = OmegaConf.to_container(OmegaConf.load(trained / "run/config.yaml"))
    OmegaConf.save(OmegaConf.create(with_earlier_names(config)), "run/config.yaml")
    assert "rivals" in OmegaConf.load("run/config.yaml")
    assert call("train", "resume=run").code == 0
    assert without_times(metrics_of("run")) == without_times(metrics_of(trained / "run"))
    assert OmegaConf.load("run/config.yaml") == OmegaConf.create(config)
