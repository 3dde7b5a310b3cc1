from tests.runs.conftest import call, unrendered

__all__ = ["call", "unrendered"]
