"""Simulators: the true dynamics, with tasks, scripted experts and pictures.

Importing the package registers them with Gymnasium. The physics engines behind them are in `gapclose.engines`.
"""

from gapclose.envs import gymnasium_env as gymnasium_env
