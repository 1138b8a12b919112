# SPDX-License-Identifier: MIT
"""Looking, and what can be done with leases by their numbers."""

from __future__ import annotations

from typing import Iterator, List, Optional, Tuple

from . import _values
from ._records import Event, Lease, Shown, Status, record
from ._values import Duration, Gpus
from ._varlink import COMEBACK, HANGUP, PATIENCE, Comeback, Link, Path, Unreachable, call, garbage, run, socket_path


def status(*, socket: Optional[Path] = None) -> Status:
    """Everything there is to see: all GPUs, all leases that have not ended."""
    return record(Status, call("GetStatus", None, socket))


def leases(*, socket: Optional[Path] = None) -> List[Lease]:
    """Leases of everybody that have GPUs, or had them and are about to end; and arrays whose jobs have."""
    return [lease for lease in status(socket=socket).leases if lease.state not in ("waiting", "booked")]


def queue(*, socket: Optional[Path] = None) -> List[Lease]:
    """Who waits, in order; those that cannot have their turn yet come last."""
    waiting = [lease for lease in status(socket=socket).leases if lease.state == "waiting"]
    return sorted(waiting, key=lambda lease: (lease.position is None, lease.position or 0, lease.id))


def show(id: int, index: Optional[int] = None, *, socket: Optional[Path] = None) -> Shown:
    """One lease, also an ended one, with its journal. index: that element of an array."""
    return record(Shown, call("Show", {"id": id, "index": index}, socket))


def release(*ids: int, socket: Optional[Path] = None) -> List[Lease]:
    """Gives back leases of yours, all or none. A run or job is told to end."""
    if not ids:
        raise _values.invalid("release takes the numbers of leases; dibs.leases() has them")
    released = call("Release", {"ids": list(ids)}, socket).get("leases")
    if not isinstance(released, list):
        raise garbage()
    return [record(Lease, lease) for lease in released]


def extend(id: int, duration: Duration, *, socket: Optional[Path] = None) -> Lease:
    """A lease of yours lasts so much longer."""
    us = _values.microseconds("duration", duration)
    return record(Lease, call("Extend", {"id": id, "duration_us": us}, socket).get("lease"))


def shrink(id: int, gpus: Gpus, *, socket: Optional[Path] = None) -> Lease:
    """Gives these GPUs of a lease of yours back."""
    return record(Lease, call("Shrink", {"id": id, "gpus": _values.texts("gpus", gpus)}, socket).get("lease"))


def events(after: Optional[int] = None, lease: Optional[int] = None, follow: bool = True, *,
           socket: Optional[Path] = None) -> Iterator[Event]:
    """The journal behind that number (0: all of it), one event after the other, and then what happens:

        for event in dibs.events(lease=42):
            print(event.time, event.kind, event.detail)

    after=None: from now on. lease: only those of one. With follow=False it ends where the journal does, which is then read
    from its beginning if nothing is said; else close() of the iterator, or leaving the loop, ends it. A dibsd that is
    restarted meanwhile is asked again for what came after the last one.
    """
    if after is None and not follow:
        after = 0
    link, path, comeback = Link(), socket_path(socket), Comeback(COMEBACK)
    try:
        run(link.open(path))
        more = False
        while True:
            try:
                if not more:
                    run(link.send("org.dibs.Events", {"after": after, "lease": lease}, more=follow))
                found, after, more = run(_receive(link, None if more else PATIENCE, after))
            except Unreachable as error:
                if error.id != HANGUP or not follow:
                    raise
                run(comeback.reopen(link, path))
                more = False
                continue
            comeback.arrived()
            yield from found
            if not more and not found:
                return
    finally:
        link.close()


async def _receive(
        link: Link, seconds: Optional[float], after: Optional[int]) -> Tuple[List[Event], Optional[int], bool]:
    """What is new, the number to go on from, and whether more will come."""
    reply, more = await link.receive(seconds)
    found, last = reply.get("events"), reply.get("last", after)
    if not isinstance(found, list) or not (last is None or type(last) is int):
        raise garbage()
    return [record(Event, event) for event in found], last, more
