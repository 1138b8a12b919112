# SPDX-License-Identifier: MIT
"""What dibsd tells, as immutable objects. Their fields are those of org.dibs(7), which says what they mean.

Times are aware datetimes in UTC. What is unknown is None, so is what an older dibsd does not send; what a newer one
sends in addition is ignored.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Dict, Optional, Tuple, Type, TypeVar, Union

from ._varlink import garbage

T = TypeVar("T")
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Process:
    """How a process uses a GPU. standing: lease, ignored, no_lease, wrong_gpu, anothers or outside."""

    pid: int
    uid: Optional[int]
    command: str
    memory_mib: Optional[int]
    lease: Optional[int]
    standing: str
    container: Optional[str]


@dataclass(frozen=True)
class Gpu:
    """One GPU. state: free, leased, foreign, draining or lost; leases: the numbers of those who have it."""

    index: int
    uuid: str
    model: str
    vendor: str
    memory_mib: Optional[int]
    memory_used_mib: Optional[int]
    utilization: Optional[int]
    temperature_c: Optional[int]
    power_w: Optional[int]
    state: str
    reason: Optional[str]
    leases: Tuple[int, ...]
    processes: Tuple[Process, ...]
    free_since: Optional[datetime]


@dataclass(frozen=True)
class JobState:
    """What makes a lease a batch job."""

    name: str
    array: Optional[int]
    index: Optional[int]
    pending: Optional[str]
    active: Optional[int]
    ok: Optional[int]
    failed: Optional[int]
    blocked: Optional[str]
    held: Optional[bool]
    begin: Optional[datetime]
    after: Tuple[str, ...]
    nice: Optional[int]
    retries: Optional[int]
    restarts: Optional[int]
    on_limit: Optional[str]
    suspended: Optional[bool]
    exit_status: Optional[int]
    exit_signal: Optional[int]
    reason: Optional[str]
    log: Optional[str]
    log_offset: Optional[int]
    held_us: Optional[int]
    used_us: Optional[int]
    peak_memory_mib: Optional[int]


@dataclass(frozen=True)
class Lease:
    """One lease, or the wish for one. kind: run, hold, job or booking; state: waiting, booked, active, grace or ended."""

    id: int
    kind: str
    state: str
    uid: int
    gpus: Tuple[int, ...]
    count: int
    submitted: Optional[datetime]
    since: Optional[datetime]
    until: Optional[datetime]
    ended: Optional[datetime]
    end: Optional[str]
    command: Optional[str]
    note: Optional[str]
    position: Optional[int]
    share_mib: Optional[int]
    with_process: Optional[int]
    idle_since: Optional[datetime]
    idle_release: Optional[datetime]
    job: Optional[JobState]

    @property
    def exit_code(self) -> Optional[int]:
        """What a shell makes of the end of a job: its exit status, 128 and the signal, 125 if it never ran, for an array 1
        if an element failed. None while it has not ended; of a lease that is no job 0."""
        if self.state != "ended":
            return None
        if self.job is None:
            return 0
        if self.job.active is not None and self.job.failed:
            return 1
        if self.job.active is not None and self.end == "exited":
            return 0
        if self.job.exit_signal:
            return 128 + self.job.exit_signal
        return 125 if self.job.exit_status is None else self.job.exit_status


@dataclass(frozen=True)
class Event:
    """One line of the journal. uid is who did it, None for dibs itself."""

    id: int
    time: datetime
    kind: str
    lease: Optional[int]
    uid: Optional[int]
    gpu: Optional[str]
    detail: str


@dataclass(frozen=True)
class Status:
    """Everything there is to see."""

    host: str
    version: str
    guard: Optional[str]
    guard_method: Optional[str]
    guard_problem: Optional[str]
    gpus: Tuple[Gpu, ...]
    leases: Tuple[Lease, ...]


@dataclass(frozen=True)
class Shown:
    """One lease, also an ended one, with its journal."""

    lease: Lease
    events: Tuple[Event, ...]


@dataclass(frozen=True)
class Grant:
    """A reply to Request. blockers: leases in the way; visible: how programs are told their GPUs, uuid or index."""

    lease: Lease
    gpus: Tuple[Gpu, ...]
    blockers: Tuple[Lease, ...]
    visible: Optional[str]


@functools.lru_cache(maxsize=None)
def _fields(cls: Any) -> Dict[str, Any]:
    return typing.get_type_hints(cls)


def _value(kind: Any, wire: Any) -> Any:
    origin, members = typing.get_origin(kind), typing.get_args(kind)
    if origin is Union:
        return None if wire is None else _value(members[0], wire)
    if origin is tuple:
        if not isinstance(wire, (list, type(None))):
            raise garbage()
        return tuple(_value(members[0], member) for member in wire or ())
    if dataclasses.is_dataclass(kind):
        return record(typing.cast(Any, kind), wire)
    if kind is datetime:
        try:
            return EPOCH + timedelta(microseconds=_value(int, wire))
        except OverflowError:
            raise garbage() from None
    if type(wire) is not kind:
        raise garbage()
    return wire


def record(cls: Type[T], wire: Any) -> T:
    """An object of that class from a reply. Fault if what must be there is not, or is something else."""
    if not isinstance(wire, dict):
        raise garbage()
    return cls(**{name: _value(kind, wire.get(name)) for name, kind in _fields(typing.cast(Any, cls)).items()})
