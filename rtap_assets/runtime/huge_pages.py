"""Keeps huge pages out of a process whose large arrays live for one batch.

Arrow's allocator and NumPy ask the kernel for them, and where memory is fragmented making them took several times as long as
the work on the arrays.
"""

from __future__ import annotations

import ctypes
import sys

PR_SET_THP_DISABLE = 41  # linux/prctl.h


def disable_huge_pages() -> None:
    """Have the kernel give this process, and what it starts from now on, no huge pages; changes nothing but on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, *(ctypes.c_ulong(argument) for argument in (1, 0, 0, 0)))
