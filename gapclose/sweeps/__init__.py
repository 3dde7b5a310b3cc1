"""Results of many runs: reading a sweep, averaging over seeds, comparing with a control, tables and pictures.

The results of a single run are in `gapclose.evaluation`; the HTML page of a sweep is in `gapclose.report`.
"""
