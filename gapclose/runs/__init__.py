"""Runs of train.py and plan.py: from the configuration to what is left in the folder."""
