"""The units in which networks see what they are given."""

from torch import Tensor


def deviation(values: Tensor) -> Tensor:
    """Standard deviation `[D]` of the columns of values `[B, D]`, and 1 where it is no more than rounding.

    In units of next to nothing, the first departure from a constant would be a huge number.
    """
    std, size = values.std(0), values.abs().amax(0).clamp(min=1)
    return std.where(std > 1e-6 * size, 1.0)
