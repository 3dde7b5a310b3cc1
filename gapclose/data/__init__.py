"""Trajectories: how they are collected, stored, replayed and batched. How models train on them is in `training`."""
