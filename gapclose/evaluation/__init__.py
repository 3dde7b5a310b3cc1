"""Evaluation of one run: the gap as metrics, outcomes of tasks, intervals, paired comparisons, tables and pictures.

Results of many runs are in `gapclose.sweeps`; the HTML page is in `gapclose.report`.
"""
