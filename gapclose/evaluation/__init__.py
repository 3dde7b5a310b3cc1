"""The gap as numbers, tables and pictures."""
