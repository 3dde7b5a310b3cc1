"""The HTML report: `report.html` of a run or of a sweep, for readers who do not know the project.

To add a picture to the report of a run, see `gapclose.report.figures`; to that of a sweep, see
`gapclose.report.sweep_figures`. PNG pictures are in `gapclose.evaluation.plots` and `gapclose.sweeps.plots`.
"""
