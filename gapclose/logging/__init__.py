"""Logging of a run: curves with an axis for each group, results, and, on W&B, the artifacts of its files.

`recording` and `results` serve every logger; the other modules are for Weights & Biases. Its workspace and report are
in `gapclose.dashboards`.
"""
