"""Training: LightningModules, attacks, planner rollouts, checkpoint files, and the stages that run them.

Which stages a run has, and where it stores their results, is decided in `runs`.
"""
