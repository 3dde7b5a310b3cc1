"""The command line: entry points, composition of configurations, multiruns and searches, and error messages."""
