"""Runs of train.py, plan.py and gapclose.diagnose, from the command line to the files in the run's folder.

How models are trained, plan and are evaluated is in the packages below this one.
"""
