"""Training world models: teacher forcing, adversarial training, planner rollouts."""
