"""From a configuration to objects: everything that a run needs, made and checked before any work starts."""
