# SPDX-License-Identifier: MIT
"""Share the GPUs of this machine with others, through dibsd.

    import dibs

    with dibs.lease(gpus=2, type="A100") as l:     # waits in the queue like everybody
        train(l.cuda_visible_devices)              # also in os.environ["CUDA_VISIBLE_DEVICES"]

The GPUs are free again when the block is left, or this process ends, however it does. `async with dibs.alease(...)`
does the same under asyncio. There are adopt() for GPUs that are used already, submit() for batch jobs, status(),
leases(), queue(), show(), events() to look, release(), extend(), shrink() for leases by number.

Times are datetimes in UTC, durations "4h", seconds or timedeltas, sizes "40G" or MiB. What goes wrong is a subclass of
Error with a sentence in .message and a stable .id: Invalid, Refused, NotFree, Fault, Unreachable. dibsd is looked for at
socket=, DIBS_SOCKET or /run/dibs/socket.

Nothing here prints, starts threads, or needs anything but the standard library. Everything may be called from any
thread; but os.environ belongs to all of them, so threads with leases of their own say set_environment=False. Whoever
forks in a block shares its lease: only the process that got it gives it back.
"""

from __future__ import annotations

import typing as _typing

from ._calls import events, extend, leases, queue, release, show, shrink, status
from ._jobs import Job, submit
from ._lease import Hold, adopt, lease
from ._records import Event, Gpu, JobState, Lease, Process, Shown, Status
from ._varlink import Error, Fault, Invalid, NotFree, Refused, Unreachable

if _typing.TYPE_CHECKING:
    from .aio import lease as alease

__version__ = "0.1.0"

for _error in (Error, Fault, Invalid, NotFree, Refused, Unreachable):
    _error.__module__ = __name__  # as people name them

__all__ = [
    "Error", "Event", "Fault", "Gpu", "Hold", "Invalid", "Job", "JobState", "Lease", "NotFree", "Process", "Refused",
    "Shown", "Status", "Unreachable", "adopt", "alease", "events", "extend", "lease", "leases", "queue", "release", "show",
    "shrink", "status", "submit",
]


def __getattr__(name: str) -> _typing.Any:
    """asyncio takes longer to import than everything here; who does not use it does not pay for it."""
    if name in ("aio", "alease"):
        import importlib

        aio = importlib.import_module(".aio", __name__)
        return aio if name == "aio" else aio.lease
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
