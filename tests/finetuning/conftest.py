"""Training through Lightning, with little of everything."""

import pytest
from lightning import Trainer

from gapclose.data.datamodule import WindowDataModule
from gapclose.data.replay import ReplayBuffer


@pytest.fixture
def fit():
    """Trains a module for a few epochs and returns the Trainer."""

    def run(module, trajectories, epochs=2, seed=0, callbacks=None, replay=None, **settings):
        settings = dict(replay_ratio=0.0, batch_size=16, steps_per_epoch=15) | settings
        replay = ReplayBuffer() if replay is None else replay  # An empty one is false.
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
