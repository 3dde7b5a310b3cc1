"""Simulators: the true dynamics. Importing the package registers them with Gymnasium."""

from gapclose.envs import gymnasium_env as gymnasium_env
