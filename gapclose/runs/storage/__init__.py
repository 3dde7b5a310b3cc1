"""What outlives a run: its folder, the models that runs share, and the versions that made both."""
