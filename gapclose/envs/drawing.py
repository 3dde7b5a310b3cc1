"""Pictures of simulators that are drawn with lines: the world's outline, and what moves in it."""

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

WORLD, STATE, GOAL = (0, 0, 0), (31, 119, 180), (144, 200, 144)
FINER = 2
"""Pictures are drawn so many times larger, and then made smaller, which smooths their lines."""


def draw_frames(
    outline: Tensor,
    position: Tensor,
    figure: Tensor,
    goal: tuple[Tensor, Tensor] | None,
    radius: float | None,
    size: int,
) -> Tensor:
    """Pictures `uint8 [N, size, size, 3]`, with y pointing up.

    Args:
        outline: of the world, segments `[K, 2, 2]`; they fill the picture.
        position: where states are, `[N, 2]`.
        figure: what moves, segments `[N, F, 2, 2]`; without any it is a disc.
        goal: position and figure of the goals, if there are goals.
        radius: how near to the goal counts as reached, if that is a matter of the position alone.
        size: of a side, in pixels.
    """
    low, high = outline.flatten(0, 1).amin(0), outline.flatten(0, 1).amax(0)
    extent = 1.04 * (high - low).max().item()
    scale, middle = FINER * size / extent, (low + high) / 2

    def pixels(points: Tensor) -> np.ndarray:
        """Places in the picture of points `[..., 2]`."""
        centred = (points.detach().cpu() - middle) * torch.tensor([1.0, -1.0])
        return (centred * scale + FINER * size / 2).numpy()

    def disc(draw: ImageDraw.ImageDraw, centre: np.ndarray, radius: float, color: tuple[int, int, int]) -> None:
        draw.ellipse([*(centre - radius), *(centre + radius)], fill=color)

    def lines(draw: ImageDraw.ImageDraw, segments: np.ndarray, color: tuple[int, int, int]) -> None:
        for segment in segments:
            draw.line([tuple(end) for end in segment], fill=color, width=2 * FINER)

    world = Image.new("RGB", (FINER * size, FINER * size), "white")
    lines(ImageDraw.Draw(world), pixels(outline), WORLD)
    dot = extent * scale / 60
    frames = []
    for number, (centre, moving) in enumerate(zip(pixels(position), pixels(figure))):
        frame = world.copy()
        draw = ImageDraw.Draw(frame)
        if goal is not None:
            target = pixels(goal[0][number])
            disc(draw, target, dot if radius is None else radius * scale, GOAL)
            lines(draw, pixels(goal[1][number]), GOAL)
        lines(draw, moving, STATE)
        disc(draw, centre, dot, STATE)
        frames.append(np.asarray(frame.reduce(FINER)))
    return torch.from_numpy(np.stack(frames))
