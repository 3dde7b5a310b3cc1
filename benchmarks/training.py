"""Teacher-forced training through Lightning against a bare PyTorch loop: python benchmarks/training.py.

The same model, batches, optimizer and number of steps; the two alternate, and the medians are compared.
"""

import logging
import statistics
import time
import warnings
from functools import partial

import torch
from lightning import Trainer

from gapclose.data.behaviours import Expert
from gapclose.data.collect import collect
from gapclose.data.datamodule import WindowDataModule
from gapclose.data.replay import ReplayBuffer
from gapclose.envs.wall import Wall
from gapclose.models.dynamics.mlp import MLPDynamics
from gapclose.models.encoders.state import StateEncoder
from gapclose.models.world_model import LearnedWorldModel
from gapclose.training.teacher_forcing import TeacherForcing

STEPS, REPEATS, BATCH = 1000, 5, 256
OPTIMIZER = partial(torch.optim.Adam, lr=2e-3, fused=True)


def make_world_model(members: int) -> LearnedWorldModel:
    torch.manual_seed(0)
    return LearnedWorldModel(StateEncoder(2), MLPDynamics(2, 2, members=members))


def bare(world_model: LearnedWorldModel, data: WindowDataModule) -> float:
    """Steps per second of a loop without Lightning."""
    optimizer = OPTIMIZER(world_model.parameters())
    batches = data.train_dataloader()
    batches.epoch_key = lambda: (0,)
    began = time.perf_counter()
    for window in batches:
        optimizer.zero_grad()
        world_model.loss(window).backward()
        optimizer.step()
    return STEPS / (time.perf_counter() - began)


def through_lightning(world_model: LearnedWorldModel, data: WindowDataModule) -> float:
    """Steps per second of `Trainer.fit` with the LightningModule of the project, start and end included."""
    scheduler = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=1)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    module = TeacherForcing(world_model, optimizer=OPTIMIZER, scheduler=scheduler)
    began = time.perf_counter()
    trainer.fit(module, datamodule=data)
    return STEPS / (time.perf_counter() - began)


def main() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")
    trajectories = collect(Wall(), Expert(0.1), num_trajectories=1000, steps=30, seed=0)
    for name, members in (("mlp", 1), ("ensemble", 4)):
        speeds = {bare: [], through_lightning: []}
        for repeat in range(REPEATS + 1):
            for run, results in speeds.items():
                data = WindowDataModule(trajectories, ReplayBuffer(), 0.0, BATCH, STEPS, seed=0)
                speed = run(make_world_model(members), data)
                if repeat:  # The first round warms up.
                    results.append(speed)
        loop, lightning = (statistics.median(results) for results in speeds.values())
        print(
            f"{name}: bare loop {loop:.0f} steps/s, through Lightning {lightning:.0f} steps/s, "
            f"ratio {lightning / loop:.2f} (medians of {REPEATS})"
        )


if __name__ == "__main__":
    main()
