from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from gapclose.errors import UserError
from gapclose.runs.storage.run_folder import job_folder, require_same_config

SETTINGS = st.text(max_size=400) | st.from_regex(r"[ab]=[01.=,+-]{0,4}(,[ab]=[01-]{0,2})?", fullmatch=True)


@given(SETTINGS, SETTINGS)
def test_every_job_has_a_unique_folder_name_that_every_file_system_accepts(settings, other):
    name = job_folder(settings)
    assert 0 < len(name.encode()) <= 200
    assert name.isascii()
    assert not set(name) & set("/\\ '\"*?:<>|$\n\0=,")
    assert (name == job_folder(other)) == (settings == other) or "" in (settings, other)


def test_a_folder_name_shows_the_settings_of_the_job_if_possible():
    assert job_folder("env.action_max=0.1,seed=2") == "env.action_max-0.1+seed-2"
    assert job_folder("base_checkpoint=a/b c.ckpt").startswith("base_checkpoint-a_b_c.ckpt-")
    assert job_folder("") == "defaults"


def test_a_folder_of_a_job_needs_no_quotes_on_a_command_line():
    value = f"multirun/sweep/{job_folder('env.action_max=0.1,seed=2,planner=cem')}/checkpoints/last.ckpt"
    override = OverridesParser.create().parse_override(f"checkpoint={value}")
    assert (override.value(), override.is_sweep_override()) == (value, False)


def test_a_folder_of_another_run_is_refused_with_up_to_three_settings_that_differ():
    stored = OmegaConf.create({"seed": 0, "model": {"lr": 1, "dim": [4]}, "data_dir": "a", "choices": {"model": "mlp"}})
    require_same_config(stored, OmegaConf.merge(stored, {"data_dir": "b"}), Path("run"))
    with pytest.raises(UserError, match=r"holds a run of another configuration \(seed is 0 there and 1 here\); choose"):
        require_same_config(stored, OmegaConf.merge(stored, {"seed": 1}), Path("run"))
    changes = {"seed": 1, "model": {"lr": 2, "dim": [5], "new": True}, "choices": {"model": "ensemble"}}
    with pytest.raises(UserError) as error:
        require_same_config(stored, OmegaConf.merge(stored, changes), Path("run"))
    assert (
        "(model is mlp there and ensemble here, model.dim is [4] there and [5] here, model.lr is 1 there and 2 here, "
        "and 2 more)"
    ) in str(error.value)


def test_a_setting_that_only_one_configuration_has_is_named_as_not_set():
    stored = OmegaConf.create({"seed": 0})
    with pytest.raises(UserError, match="noise is not set there and 2 here"):
        require_same_config(stored, OmegaConf.create({"seed": 0, "noise": 2}), Path("run"))
