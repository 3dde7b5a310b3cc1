from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from gapclose.runs.storage.run_folder import job_folder

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
