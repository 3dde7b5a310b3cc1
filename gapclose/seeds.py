"""Derives one seed per purpose from the seed of a run.

Every source of randomness has its own generator, identified by seed, purpose and epoch. So its draws do not depend on
the order of other draws, and a resumed run draws the same numbers as an uninterrupted one.
"""

import hashlib

import torch


def derive_seed(*names: int | str) -> int:
    """Returns a seed from 0 to 2^63 - 1 that depends on all the names and their order."""
    return int.from_bytes(hashlib.blake2b(repr(names).encode(), digest_size=8).digest()) >> 1


def generator(*names: int | str) -> torch.Generator:
    """Returns a generator on the CPU, seeded by `derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(*names))
