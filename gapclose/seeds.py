"""One seed for a run, and from it one for every purpose in it.

Everything random draws from a generator of its own, named by seed, purpose and epoch. So nothing depends on the
order in which other things drew, and a run that is resumed at an epoch draws what the uninterrupted run would have.
"""

import hashlib

import torch


def derive_seed(*names: int | str) -> int:
    """A seed that depends on all the names."""
    return int.from_bytes(hashlib.blake2b(repr(names).encode(), digest_size=8).digest()) >> 1


def generator(*names: int | str) -> torch.Generator:
    """A generator on the CPU, seeded with all the names."""
    return torch.Generator().manual_seed(derive_seed(*names))
