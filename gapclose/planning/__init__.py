"""Planners: searching for actions through a world model."""
