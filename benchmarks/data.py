"""What each behaviour shows of the wall's world, as figures and as docs/data.png: python benchmarks/data.py."""

from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from torch import Tensor

from gapclose.data.collect import collect
from gapclose.data.trajectories import Trajectories
from gapclose.envs.wall import Wall
from gapclose.evaluation.plots import draw_world, save
from gapclose.runs.command_line.entry import conf_dir

OPTIONS = ("expert", "noisy_expert", "random_walk", "mixture")
CELLS, DIRECTIONS, SHOWN = 20, 8, 30
PICTURE = Path(__file__).parents[1] / "docs" / "data.png"


def main() -> None:
    wall = Wall()
    figure, panels = plt.subplots(1, len(OPTIONS), figsize=(3 * len(OPTIONS), 3.5), layout="constrained")
    print(f"{'data':14s}{'cells visited':>15s}{'in all directions':>20s}{'steps against the wall':>25s}")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for option, axes in zip(OPTIONS, panels):
            data = instantiate(compose("train", overrides=[f"data={option}"]).data)
            trajectories = collect(wall, data.behaviour, **data.settings)
            stopped = stopped_by_wall(wall, trajectories)
            share = f"{stopped.float().mean():.2%}"
            cells, directions = coverage(wall, trajectories)
            print(f"{option:14s}{cells:15.1%}{directions:20.1%}{share:>25s}")
            draw(axes, wall, trajectories, stopped, f"{option}\nagainst the wall: {share}")
    save(figure, PICTURE)
    print(f"{PICTURE} shows {SHOWN} trajectories of each; red: stopped by the wall.")


def coverage(wall: Wall, trajectories: Trajectories) -> tuple[float, float]:
    """Shares of the cells of a grid over the arena that were visited, and of cells times directions of actions."""
    states, actions = trajectories.states[:, :-1], trajectories.actions
    cells = ((states + wall.arena) / (2 * wall.arena) * CELLS).long().clamp(0, CELLS - 1).flatten(0, 1)
    turns = torch.atan2(actions[..., 1], actions[..., 0]) / (2 * torch.pi) * DIRECTIONS
    both = torch.cat((cells, (turns.round().long() % DIRECTIONS).flatten()[:, None]), 1)
    return len(cells.unique(dim=0)) / CELLS**2, len(both.unique(dim=0)) / (CELLS**2 * DIRECTIONS)


def stopped_by_wall(wall: Wall, trajectories: Trajectories) -> Tensor:
    """Whether a step ended elsewhere than it would have without the wall: bool `[N, T]`."""
    free = (trajectories.states[:, :-1] + trajectories.actions).clamp(-wall.arena, wall.arena)
    return ((trajectories.states[:, 1:] - free).abs() > 1e-5).any(-1)


def draw(axes: Axes, wall: Wall, trajectories: Trajectories, stopped: Tensor, title: str) -> None:
    """The first trajectories, and where they were stopped."""
    draw_world(axes, wall)
    states, stopped = trajectories.states[:SHOWN], stopped[:SHOWN]
    axes.add_collection(LineCollection(states.numpy(), colors="#1b6ca8", linewidths=0.6, alpha=0.6))
    axes.scatter(*states[:, 1:][stopped].T, s=10, color="#d62728", zorder=3)
    axes.set_title(title)
    axes.axis("off")


if __name__ == "__main__":
    main()
