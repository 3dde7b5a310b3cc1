"""Every option of every config group composes, and what it describes can be made."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from gapclose.runs.checkpoint import build_world_model
from gapclose.runs.entry import conf_dir
from gapclose.runs.parts import Parts

OPTIONS = sorted(
    f"{path.parent.name}={path.stem}" for path in conf_dir().glob("*/*.yaml") if path.parent.name != "hydra"
)


def configuration(name, *overrides):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(name, overrides=list(overrides))


def test_there_are_options():
    assert {"env=wall", "finetune=online", "planner=cem", "experiment=weekend"} <= set(OPTIONS)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_instantiates(option, tmp_path):
    group, _, choice = option.partition("=")
    config = configuration("train", option, f"data_dir={tmp_path}")
    OmegaConf.resolve(config)
    parts = Parts.build(config)
    assert parts.mpc.planner.horizon >= 1
    if choice != "oracle":
        build_world_model(config, parts.simulator)
    for stage in ("baseline", "finetune"):
        instantiate(config[stage])
    if group == "logger":
        instantiate(config.logger, save_dir=str(tmp_path))
    if group == "trainer":
        instantiate(config.trainer, logger=False, default_root_dir=str(tmp_path))
