"""World models (encoders and dynamics), the oracle, and the goal-conditioned policy. Training is in `training`."""
