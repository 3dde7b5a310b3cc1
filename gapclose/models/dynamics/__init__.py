"""Dynamics: networks that predict the next latent. Encoders are in `models.encoders`."""
