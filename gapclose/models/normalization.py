"""The scale by which inputs of networks are normalised."""

from torch import Tensor


def safe_std(values: Tensor) -> Tensor:
    """Returns the standard deviation `[D]` of the columns of `values [B, D]`, or 1 for constant columns.

    Columns count as constant if they vary by no more than rounding; dividing by so small a number would blow up the
    first new value.
    """
    std, size = values.std(0), values.abs().amax(0).clamp(min=1)
    return std.where(std > 1e-6 * size, 1.0)
