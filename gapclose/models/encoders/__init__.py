"""Encoders: from observations to latents, and from latents back to states. Dynamics are next door."""
