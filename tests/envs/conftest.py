import pytest

from gapclose.engines.pool import workers


@pytest.fixture(autouse=True)
def in_this_process():
    """Engines simulate in the process of the tests."""
    number = workers.number
    workers.take(0)
    yield
    workers.take(number)
