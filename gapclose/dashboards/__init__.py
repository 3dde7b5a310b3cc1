"""The workspace and the report of a W&B project, made by code: see `python -m gapclose.dashboards --help`.

Metrics are logged in `gapclose.logging`.
"""
