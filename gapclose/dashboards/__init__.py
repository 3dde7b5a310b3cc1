"""A W&B project's workspace and report, from code: `python -m gapclose.dashboards --help` explains it."""
