"""Types of settings for pydantic: numbers in a range, neither infinite nor NaN.

The settings of a model, its environment and its data come from a checkpoint, so a stranger may choose them. Where they
decide how much is computed, they are bounded far above what anybody needs.
"""

from typing import Annotated

from pydantic import Field, StrictInt

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[StrictInt, Field(ge=0, lt=2**63)]
Layers = Annotated[int, Field(ge=1, le=1000)]
"""A number of layers."""
EngineSteps = Annotated[int, Field(ge=1, le=10_000)]
"""A number of steps of a physics engine in one step of a simulator."""
