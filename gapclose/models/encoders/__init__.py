"""Encoders: from observations to latents, and back to states. Predicting latents is the work of `models.dynamics`."""
