"""World models: encoders, dynamics, and the oracle."""
