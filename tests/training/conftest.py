"""Training through Lightning, with little of everything; and a linear model, of which the strongest attack is known."""

import pytest
import torch
from lightning import Trainer
from torch import nn

from gapclose.data.datamodule import WindowDataModule
from gapclose.data.replay import ReplayBuffer
from gapclose.models.dynamics.dynamics import Dynamics
from gapclose.models.encoders.state import StateEncoder
from gapclose.models.world_model import LearnedWorldModel


class LinearDynamics(nn.Module):
    """`z' = z A + a B`."""

    members = context = 1
    huber_delta, errors = None, Dynamics.errors

    def __init__(self, a=None, b=None):
        super().__init__()
        self.a = nn.Parameter(torch.eye(2) if a is None else a)
        self.b = nn.Parameter(torch.eye(2) if b is None else b)
        self.register_buffer("action_std", torch.tensor([0.5, 2.0]))
        self.register_buffer("delta_std", torch.tensor([1.0, 0.25]))

    def rollout(self, latent, actions):
        latents = [latent]
        for action in actions.unbind(1):
            latents.append(latents[-1] @ self.a + (action @ self.b).unsqueeze(1))
        return torch.stack(latents, 1)


def linear(a=None, b=None):
    return LearnedWorldModel(StateEncoder(2), LinearDynamics(a, b))


def transitions(n=6, members=1, seed=0, steps=1):
    """Latents, actions and targets as arguments of `rollout_loss`, with random errors."""
    random = torch.Generator().manual_seed(seed)
    latent = torch.randn(n, 1, 1, 2, generator=random).expand(-1, -1, members, -1)
    actions = torch.randn(n, steps, 2, generator=random)
    return latent, actions, latent + torch.randn(n, steps, 1, 2, generator=random)


@pytest.fixture
def fit():
    """Trains a module for a few epochs and returns the Trainer."""

    def run(module, trajectories, epochs=2, seed=0, callbacks=None, replay=None, **settings):
        settings = dict(replay_ratio=0.0, batch_size=16, steps_per_epoch=15) | settings
        replay = ReplayBuffer() if replay is None else replay  # Not `replay or ...`: an empty buffer is falsy.
        data = WindowDataModule(trajectories, replay, seed=seed, **settings)
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            logger=False,
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, datamodule=data)
        return trainer

    return run
