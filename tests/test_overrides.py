"""Overrides are parsed as by Hydra, and neutral settings are ignored everywhere."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from gapclose.conf_files import conf_dir
from gapclose.logging import identity
from gapclose.overrides import NEUTRAL_SETTINGS, is_among, key_of
from gapclose.sweeps import varied_settings


@pytest.mark.parametrize(
    "override",
    ["seed=1", "+a.b=c", "++finetune.epochs=[1,2]", "~data.behaviour.shares.x", "attack@diagnostics.pgd=fgsm", "a="],
)
def test_the_key_of_an_override_is_the_one_that_hydra_finds(override):
    assert key_of(override) == OverridesParser.create().parse_override(override).key_or_group


def test_neutral_settings_are_ignored_in_folder_names_wandb_names_and_tables():
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        given = ["data_dir=elsewhere", "seed=1", "compare=[cem]"]
        configs = [compose(job, overrides=given, return_hydra_config=True) for job in ("train", "plan")]
    train, plan = (config.hydra.job for config in configs)
    assert (train.override_dirname, plan.override_dirname) == ("seed=1", "compare=[cem],seed=1")
    assert list(plan.config.override_dirname.exclude_keys) == list(NEUTRAL_SETTINGS)
    for key in (*NEUTRAL_SETTINGS, "logger.offline"):
        assert is_among(key, NEUTRAL_SETTINGS)
        assert is_among(key, identity.IGNORED_SETTINGS)
        assert varied_settings.is_ignored(key)
    assert not is_among("data.steps", NEUTRAL_SETTINGS)
    assert {key.partition(".")[0] for key in NEUTRAL_SETTINGS} <= {*configs[0], "sweep"}, "a setting has another name"
