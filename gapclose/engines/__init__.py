"""Physics engines that step one state at a time, and the worker processes that run them; nothing here uses PyTorch.

The simulators that wrap these engines, with tasks, experts and pictures, are in `gapclose.envs`.
"""
