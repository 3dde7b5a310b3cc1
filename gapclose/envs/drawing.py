"""Line drawings of simulator states: the world's outline, and what moves in it."""

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

WORLD, STATE, GOAL = (0, 0, 0), (31, 119, 180), (144, 200, 144)
SUPERSAMPLING = 2
"""Pictures are drawn larger by this factor and then reduced, which smooths their lines."""


def draw_frames(
    outline: Tensor,
    position: Tensor,
    figure: Tensor,
    goal: tuple[Tensor, Tensor] | None,
    radius: float | None,
    size: int,
) -> Tensor:
    """Draws pictures `uint8 [N, size, size, 3]`, with y pointing up.

    Args:
        outline: segments `[K, 2, 2]` of the world's outline; the picture shows all of it.
        position: positions `[N, 2]` of the states, drawn as discs.
        figure: segments `[N, F, 2, 2]` of the moving body.
        goal: positions and figures of the goals; `None` draws no goals.
        radius: success radius of the goals; `None` draws a small disc.
        size: width and height, in pixels.
    """
    low, high = outline.flatten(0, 1).amin(0), outline.flatten(0, 1).amax(0)
    width = 1.04 * (high - low).max().item()
    scale, middle = SUPERSAMPLING * size / width, (low + high) / 2

    def pixels(points: Tensor) -> np.ndarray:
        """Pixel coordinates of points `[..., 2]`."""
        centred = (points.detach().cpu() - middle) * torch.tensor([1.0, -1.0])
        return (centred * scale + SUPERSAMPLING * size / 2).numpy()

    def disc(draw: ImageDraw.ImageDraw, centre: np.ndarray, radius: float, color: tuple[int, int, int]) -> None:
        draw.ellipse([*(centre - radius), *(centre + radius)], fill=color)

    def lines(draw: ImageDraw.ImageDraw, segments: np.ndarray, color: tuple[int, int, int]) -> None:
        for segment in segments:
            draw.line([tuple(end) for end in segment], fill=color, width=2 * SUPERSAMPLING)

    world = Image.new("RGB", (SUPERSAMPLING * size, SUPERSAMPLING * size), "white")
    lines(ImageDraw.Draw(world), pixels(outline), WORLD)
    dot = width * scale / 60
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
        frames.append(np.asarray(frame.reduce(SUPERSAMPLING)))
    return torch.from_numpy(np.stack(frames))
