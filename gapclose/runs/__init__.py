"""Runs of train.py, plan.py and gapclose.diagnose: from the configuration to what is left in the folder."""
