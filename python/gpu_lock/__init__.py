# SPDX-License-Identifier: MIT
"""Locks on GPUs, for programs that were written for the package gpu_lock. The locks are leases of dibs:

    from gpu_lock import lock_gpu

    with lock_gpu() as lock:
        print(f"Locked GPUS {lock.uid}")

See lock_gpu(), and docs/coming-from/gpu_lock.md of dibs. New programs use dibs.lease(), which can wait.
"""

from .gpu_lock import LOCKDIR, LockError, lock_gpu, logger
from .version import version

__all__ = ["LOCKDIR", "LockError", "lock_gpu", "logger", "version"]
