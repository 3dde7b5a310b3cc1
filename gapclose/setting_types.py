"""Types of settings for pydantic: numbers in a range, neither infinite nor NaN."""

from typing import Annotated

from pydantic import Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Layers = Annotated[int, Field(ge=1, le=1000)]
"""A number of layers. Each one is built, so a checkpoint of a stranger must not ask for any number of them."""
