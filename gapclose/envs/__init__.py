"""Simulators: the true dynamics."""
