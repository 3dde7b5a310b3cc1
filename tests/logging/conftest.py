from tests.runs.conftest import call

__all__ = ["call"]
