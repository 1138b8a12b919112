# SPDX-License-Identifier: MIT
"""Leases under asyncio: as dibs.lease(), and others run while it waits. Cancelling the task leaves the queue.

    async with dibs.aio.lease(gpus=2) as l:
        await train(l.cuda_visible_devices)

What else dibs has is quick: await asyncio.to_thread(dibs.status).
"""

from __future__ import annotations

import asyncio
import select
from types import TracebackType
from typing import Iterable, Optional, Type, Union

from . import _lease, _values, _varlink
from ._lease import HoldBase, Wish, give_back, warn_kept
from ._records import Lease
from ._values import Duration, Gpus, Size
from ._varlink import Error, Parameters, Path, call_over

__all__ = ["Hold", "lease"]


class Link(_varlink.Link):
    """A connection that is waited for by the event loop. Nothing is read but when it is asked for, so that no reply is lost
    when a task is cancelled."""

    async def _ready(self, events: int, seconds: Optional[float]) -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        fd = self._open_socket().fileno()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        add, remove = ((loop.add_reader, loop.remove_reader) if events == select.POLLIN else
                       (loop.add_writer, loop.remove_writer))
        timer = None if seconds is None else loop.call_later(seconds, wake)
        add(fd, wake)
        try:
            await future
        finally:
            remove(fd)
            if timer:
                timer.cancel()

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Hold(HoldBase):
    """As dibs.Hold."""

    async def acquire(self) -> Hold:
        self._granted(await Wish(Link(), self._path, self._begin()).granted())
        return self

    async def release(self) -> None:
        parameters = self._end()
        if parameters:
            await give_back(Link(), self._path, parameters)

    async def __aenter__(self) -> Hold:
        return self if self.held else await self.acquire()

    async def __aexit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                        trace: Optional[TracebackType]) -> None:
        try:
            await self.release()
        except Error as error:
            warn_kept(error)

    async def _call(self, method: str, parameters: Parameters) -> Lease:
        return self._told(await call_over(Link(), self._path, method, parameters))

    async def extend(self, duration: Duration) -> Lease:
        return await self._call("Extend", self._extension(duration))

    async def shrink(self, gpus: Gpus) -> Lease:
        return await self._call("Shrink", {"id": self.id, "gpus": _values.texts("gpus", gpus)})

    async def refresh(self) -> Lease:
        return await self._call("Show", {"id": self.id})


def lease(gpus: Optional[int] = None, *, gpu: Optional[Gpus] = None, type: Union[None, str, Iterable[str]] = None,
          min_memory: Optional[Size] = None, duration: Optional[Duration] = None, note: Optional[str] = None,
          wait: bool = True, timeout: Optional[Duration] = None, force: bool = False,
          adopt: Optional[Iterable[int]] = None, set_environment: bool = True, socket: Optional[Path] = None) -> Hold:
    """As dibs.lease(), for `async with`. os.environ is that of all tasks: with several leases, set_environment=False."""
    return Hold(_lease.request(gpus, gpu, type, min_memory, duration, note, wait, timeout, force, adopt), socket,
                set_environment)
