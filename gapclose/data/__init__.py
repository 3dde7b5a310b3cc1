"""Trajectories: collecting, storing, replaying and batching them."""
