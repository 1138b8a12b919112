# SPDX-License-Identifier: MIT
"""Leases of this process: asked for, waited for, put into the environment, given back.

A lease is a hold that dibsd binds to this process (with_process): however the process ends, its GPUs are free again. So
what is tried here on the way out need not succeed.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from datetime import datetime
from types import TracebackType
from typing import Dict, Iterable, List, Mapping, Optional, Tuple, Type, Union

from . import _values
from ._records import Gpu, Grant, Lease, record
from ._values import Duration, Gpus, Size
from ._varlink import (COMEBACK, HANGUP, PATIENCE, Comeback, Error, Invalid, Link, NotFree, Parameters, Path, Refused,
                       Unreachable, call, call_over, run, socket_path)

log = logging.getLogger("dibs")

GONE = "lease.unknown"  # the id of the error about a lease that has ended already
LAST_WORDS = 2.0  # seconds for what is asked by somebody who was interrupted
AT_EXIT = 10.0  # seconds for dibsd to be back when a lease is given back


class Wish:
    """One request for GPUs, until it is granted."""

    def __init__(self, link: Link, path: str, parameters: Parameters) -> None:
        self.link, self.path, self.parameters = link, path, parameters
        self.id: Optional[int] = None
        self.end: Optional[float] = None
        if parameters.get("wait_us") is not None:
            self.end = time.monotonic() + parameters["wait_us"] / 1e6
        self.comeback = Comeback(COMEBACK)

    async def granted(self) -> Grant:
        """Waits as long as it takes. Whoever interrupts that leaves the queue."""
        try:
            await self.link.open(self.path)
            await self.link.send("org.dibs.Request", self.parameters, more=True)
            return await self._follow()
        except GeneratorExit:
            raise
        except BaseException as error:
            # Neither the last word of dibsd, nor about what could not be sent.
            if not isinstance(error, Error) or error.id.startswith("client.") and not isinstance(error, Invalid):
                await self._withdraw()
            raise
        finally:
            self.link.close()

    def _patience(self) -> Optional[float]:
        """For the next change of the place in the queue."""
        return None if self.end is None else max(0.0, self.end - time.monotonic()) + PATIENCE

    async def _follow(self) -> Grant:
        patience: Optional[float] = PATIENCE
        while True:
            try:
                reply, more = await self.link.receive(patience)
                patience = self._patience()
            except Unreachable as error:
                if error.id != HANGUP or self.id is None:
                    raise
                await self._resume()
                patience = PATIENCE
                continue
            except (Invalid, Refused) as error:
                if self.comeback.lost is None:
                    raise
                raise Unreachable(error.id, f"{error}; #{self.id} has lost its place in the queue; ask again") from None
            grant = record(Grant, reply)
            self.id = grant.lease.id
            self.comeback.arrived()
            if not more:
                return grant
            log.info("#%d waits for %d GPUs, place %s in the queue", self.id, grant.lease.count, grant.lease.position)

    async def _resume(self) -> None:
        """dibsd went away, but keeps the queue."""
        if self.end is not None:
            self.comeback.patience = min(COMEBACK, max(0.0, self.end - time.monotonic()))
        log.info("dibsd went away; #%s takes its place again when it is back", self.id)
        try:
            await self.comeback.reopen(self.link, self.path)
        except Unreachable as error:
            if self.end is not None and time.monotonic() >= self.end:
                raise NotFree("request.timeout", f"the time is over, and dibsd is not back; #{self.id} leaves the "
                              "queue") from None
            raise Unreachable(error.id, f"{error}; #{self.id} has lost its place in the queue. Start dibsd, then ask "
                              "again") from None
        await self.link.send("org.dibs.Resume", {"id": self.id}, more=True)

    async def _withdraw(self) -> None:
        """Leaves the queue; and gives back what was granted while nobody listened any more."""
        try:
            if self.id is None:
                reply, _ = await self.link.receive(LAST_WORDS)
                self.id = record(Grant, reply).lease.id
            self.link.close()
            await self.link.open(self.path)
            await self.link.send("org.dibs.Release", {"ids": [self.id]})
            await self.link.receive(LAST_WORDS)
        except Error:
            pass  # there is nothing to leave


class _Visible:
    """os.environ, as leases of this process change it one upon the other and in any order set it back."""

    def __init__(self) -> None:
        self.layers: List[Tuple[object, Dict[str, Optional[str]]]] = []  # whose, and what it found
        self.lock = threading.Lock()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.lock = threading.Lock()

    def _put(self, above: int, name: str, value: Optional[str]) -> None:
        """A layer above that has set it finds another value; if there is none, that is the value now."""
        for _, found in self.layers[above:]:
            if name in found:
                found[name] = value
                return
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value

    def _index(self, owner: object) -> Optional[int]:
        return next((i for i, (other, _) in enumerate(self.layers) if other is owner), None)

    def set(self, owner: object, values: Mapping[str, str]) -> None:
        with self.lock:
            i = self._index(owner)
            if i is None:
                i = len(self.layers)
                self.layers.append((owner, {name: os.environ.get(name) for name in values}))
            for name, value in values.items():
                self._put(i + 1, name, value)

    def unset(self, owner: object) -> None:
        with self.lock:
            i = self._index(owner)
            if i is not None:
                _, found = self.layers.pop(i)
                for name, value in found.items():
                    self._put(i, name, value)


visible = _Visible()


def environment_of(grant: Grant) -> Dict[str, str]:
    """The variables that `dibs run` sets. UUIDs need no order; indices are in that of the PCI bus."""
    def names(vendor: str) -> str:
        return ",".join(str(gpu.index) if grant.visible == "index" or
                        (vendor == "amd" and not gpu.uuid.startswith("GPU-")) else gpu.uuid
                        for gpu in grant.gpus if gpu.vendor == vendor)

    values = {"DIBS_LEASE": str(grant.lease.id), "DIBS_GPUS": ",".join(str(gpu.index) for gpu in grant.gpus)}
    nvidia, amd = names("nvidia"), names("amd")
    if nvidia:
        values.update(CUDA_DEVICE_ORDER="PCI_BUS_ID", CUDA_VISIBLE_DEVICES=nvidia, NVIDIA_VISIBLE_DEVICES=nvidia)
    if amd:
        values["ROCR_VISIBLE_DEVICES"] = amd
    return values


class HoldBase:
    """What a lease of this process is, however it waits."""

    def __init__(self, parameters: Parameters, path: Optional[Path], set_environment: bool) -> None:
        self._parameters = parameters
        self._path = socket_path(path)
        self._set_environment = set_environment
        self._grant: Optional[Grant] = None
        self._pid = 0  # of the process that holds it; 0: nobody does

    def _granted(self, grant: Grant) -> None:
        self._grant, self._pid = grant, os.getpid()
        if self._set_environment:
            visible.set(self, self.environment)

    def _begin(self) -> Parameters:
        if self._pid:
            raise Invalid("lease.held", f"this is lease #{self.id} already; release it first, or ask for another one")
        return self._parameters

    def _end(self) -> Optional[Parameters]:
        """The environment is as before; None if there is nothing to release: it is released, or our parent's."""
        ours, self._pid = self._pid == os.getpid(), 0
        visible.unset(self)
        return {"ids": [self.id]} if ours else None

    def _told(self, reply: Parameters) -> Lease:
        """It has changed."""
        lease, before = record(Lease, reply.get("lease")), self._granted_before()
        gpus = tuple(gpu for gpu in before.gpus if gpu.index in lease.gpus)
        self._grant = Grant(lease, gpus, (), before.visible)
        if self._set_environment and self.held and gpus:
            visible.set(self, self.environment)
        return lease

    def _granted_before(self) -> Grant:
        if self._grant is None:
            raise Invalid("lease.not-held", "there is no lease yet: use it with 'with', or acquire() it")
        return self._grant

    def _extension(self, duration: Duration) -> Parameters:
        return {"id": self.id, "duration_us": _values.microseconds("duration", duration)}

    @property
    def held(self) -> bool:
        """Was it acquired, and not released, by this process? (dibsd may have ended it meanwhile; see refresh().)"""
        return self._pid == os.getpid()

    @property
    def lease(self) -> Lease:
        """As dibsd told it last; kept after the release."""
        return self._granted_before().lease

    @property
    def id(self) -> int:
        return self.lease.id

    @property
    def until(self) -> Optional[datetime]:
        """When it expires; None: when this process ends."""
        return self.lease.until

    @property
    def note(self) -> Optional[str]:
        return self.lease.note

    @property
    def gpus(self) -> Tuple[Gpu, ...]:
        return self._granted_before().gpus

    @property
    def indices(self) -> List[int]:
        return [gpu.index for gpu in self.gpus]

    @property
    def uuids(self) -> List[str]:
        return [gpu.uuid for gpu in self.gpus]

    @property
    def environment(self) -> Dict[str, str]:
        """What a program has to find in its environment to use just these GPUs."""
        return environment_of(self._granted_before())

    @property
    def cuda_visible_devices(self) -> str:
        return self.environment.get("CUDA_VISIBLE_DEVICES", "")

    def __repr__(self) -> str:
        if self._grant is None:
            return f"<{type(self).__name__}: not acquired>"
        return f"<{type(self).__name__} #{self.id} of GPU {','.join(map(str, self.indices))}{'' if self.held else ', released'}>"


async def give_back(link: Link, path: str, parameters: Parameters) -> None:
    """Release, by a dibsd that may just be restarted. What has ended already is no error."""
    comeback = Comeback(AT_EXIT)
    while True:
        try:
            await call_over(link, path, "Release", parameters)
            return
        except Unreachable:
            await comeback.reopen(link, path)
        except Invalid as error:
            if error.id != GONE:
                raise
            return


def warn_kept(error: Error) -> None:
    """A block ends as it would have ended; what it did is not to be lost for this."""
    warnings.warn(f"the lease ends with this process, not before: {error}", ResourceWarning, stacklevel=3)


class Hold(HoldBase):
    """A lease for as long as a block of this process takes; see lease()."""

    def acquire(self) -> Hold:
        """Waits for the GPUs, and puts them into the environment. `with` does it, too."""
        self._granted(run(Wish(Link(), self._path, self._begin()).granted()))
        return self

    def release(self) -> None:
        """Gives them back, and the environment what was there before. Again, or in a child that was forked: does nothing."""
        parameters = self._end()
        if parameters:
            run(give_back(Link(), self._path, parameters))

    def __enter__(self) -> Hold:
        return self if self.held else self.acquire()

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        try:
            self.release()
        except Error as error:
            warn_kept(error)

    def extend(self, duration: Duration) -> Lease:
        """It lasts so much longer."""
        return self._told(call("Extend", self._extension(duration), self._path))

    def shrink(self, gpus: Gpus) -> Lease:
        """Gives these GPUs back, and keeps the others."""
        return self._told(call("Shrink", {"id": self.id, "gpus": _values.texts("gpus", gpus)}, self._path))

    def refresh(self) -> Lease:
        """Asks what has become of it."""
        return self._told(call("Show", {"id": self.id}, self._path))


def wishes(gpus: Optional[int], gpu: Optional[Gpus], type: Union[None, str, Iterable[str]], min_memory: Optional[Size],
           note: Optional[str]) -> Parameters:
    """What requests and jobs have in common."""
    return {"count": _values.count("gpus", gpus), "gpus": _values.texts("gpu", gpu), "types": _values.texts("type", type),
            "min_memory_mib": _values.mebibytes("min_memory", min_memory), "note": note}


def request(gpus: Optional[int], gpu: Optional[Gpus], type: Union[None, str, Iterable[str]], min_memory: Optional[Size],
            duration: Optional[Duration], note: Optional[str], wait: bool, timeout: Optional[Duration], force: bool,
            adopt: Optional[Iterable[int]]) -> Parameters:
    """The parameters of Request for a lease of this process."""
    if not wait and timeout:
        raise _values.invalid("timeout says how long to wait, and wait=False not to; give one")
    adopted = None if adopt is None else [_values.count("adopt", pid) for pid in adopt]
    return {
        "kind": "hold", "with_process": True, "force": force or None, "adopt": adopted,
        "duration_us": _values.microseconds("duration", duration),
        "wait_us": _values.microseconds("timeout", timeout, least=0) if wait else 0,
        **wishes(gpus, gpu, type, min_memory, note),
    }


def lease(gpus: Optional[int] = None, *, gpu: Optional[Gpus] = None, type: Union[None, str, Iterable[str]] = None,
          min_memory: Optional[Size] = None, duration: Optional[Duration] = None, note: Optional[str] = None,
          wait: bool = True, timeout: Optional[Duration] = None, force: bool = False,
          adopt: Optional[Iterable[int]] = None, set_environment: bool = True, socket: Optional[Path] = None) -> Hold:
    """GPUs for a block of this process, waited for in the queue:

        with dibs.lease(gpus=2, type="A100") as l:
            train(l.cuda_visible_devices)

    gpus: how many; one if nothing is said. gpu: just these, by index or UUID. type: parts of model names, any will do.
    min_memory: of the card, "40G" or MiB. duration: "4h", seconds or a timedelta; without one it lasts as long as the
    block, and never longer than this process. timeout: how long to wait; then, or at once with wait=False, NotFree is
    raised. force: also GPUs in foreign use. adopt: processes of yours; the lease is for the GPUs that they use.
    set_environment: CUDA_VISIBLE_DEVICES and others are set in os.environ meanwhile. socket: where dibsd is.

    Nothing is asked before `with` or acquire(). Errors are those of dibs.Error.
    """
    return Hold(request(gpus, gpu, type, min_memory, duration, note, wait, timeout, force, adopt), socket, set_environment)


def adopt(pids: Union[None, int, Iterable[int]] = None, *, duration: Optional[Duration] = None, note: Optional[str] = None,
          socket: Optional[Path] = None) -> Hold:
    """A lease, at once, for the GPUs that processes of yours use already: this one, or those.

    That of this process ends with it, or after duration. That of others lasts for duration, or else as long as is usual
    at this site, whatever becomes of this process. `with`, or release(), ends it before.
    """
    listed = [os.getpid()] if pids is None else [pids] if isinstance(pids, int) else list(pids)
    parameters = request(None, None, None, None, duration, note, False, None, False, listed)
    parameters["with_process"] = os.getpid() in listed or None
    return Hold(parameters, socket, False).acquire()
