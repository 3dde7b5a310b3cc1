"""Why models do or do not survive planning."""
