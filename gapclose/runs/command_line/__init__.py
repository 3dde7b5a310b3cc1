"""The command line: entry points, multiruns, searches, and how they end."""
