"""Settings of all tests. The fixtures are in `tests/fixtures.py`, which takes seconds to import."""

import os

from hypothesis import settings

# The same examples in every run, so that a failure is a failure for everybody; HYPOTHESIS_PROFILE=search looks
# for new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
# One thread each: pytest has a process for each core, and some tests start more processes.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_configure(config):
    """Loads the fixtures in the processes that run tests, but not in the one that only hands them out."""
    if hasattr(config, "workerinput") or config.getoption("dist", "no") == "no":
        config.pluginmanager.import_plugin("tests.fixtures")
