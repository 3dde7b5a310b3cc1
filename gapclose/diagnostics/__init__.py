"""Diagnostics: why models are or are not reliable under planning, with one module for each question.

`diagnosis` asks all questions of several models; `tables` and `plots` show the answers. How good a model is under
planning is measured in `gapclose.evaluation`.
"""
