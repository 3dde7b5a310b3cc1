"""Read-only folders, also for root, whom permissions do not bind unless a capability is given up."""

import ctypes
import os
from contextlib import contextmanager

VERSION, OVERRIDE = 0x20080522, 0b110
"""The version of the calls below, and the bits of CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (capability.h of Linux)."""


@contextmanager
def bound_by_permissions():
    """Context manager: file permissions bind this thread as they bind every user but root."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(VERSION, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    before = sets[0]
    sets[0] &= ~OVERRIDE
    assert libc.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0] = before
        assert libc.capset(header, sets) == 0


@contextmanager
def read_only(*folders):
    """Context manager: nothing in these folders can be changed."""
    paths = [path for folder in folders for path in (folder, *folder.rglob("*"))]
    modes = {path: path.stat().st_mode for path in paths}
    try:
        for path, mode in modes.items():
            path.chmod(mode & 0o555)
        with bound_by_permissions():
            yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
