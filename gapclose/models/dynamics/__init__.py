"""Dynamics: networks that predict the next latent. Encoders and the world model around both are elsewhere in models."""
