"""Files that outlive a run: its folder and the models that runs share; also versions of the software.

The format of checkpoints is in `gapclose.training.checkpoint`, that of plans and maps in `gapclose.report.record`.
"""
