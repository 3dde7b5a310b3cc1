"""gapclose measures the train-test gap of a world model under planning, and closes it."""

__version__ = "0.1.0"
