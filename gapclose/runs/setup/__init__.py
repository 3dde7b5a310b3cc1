"""Builds all objects of a run from its configuration, and checks them before any work starts."""
