# SPDX-License-Identifier: MIT
"""The socket of dibsd: errors, frames, and calls that survive its restart.

Everything is a coroutine that waits in two places only, Link._ready() and Link.pause(). Those of Link block, so run()
can drive such a coroutine without an event loop; those of aio.Link let others run meanwhile. So there is one text of
what a request does, however its caller waits.

What answers need not be dibsd: frames have a limit, numbers and nesting too, and no text gets past here that a
terminal would obey.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import time
from typing import Any, Coroutine, Dict, NoReturn, Optional, Tuple, Type, TypeVar, Union

SOCKET = "/run/dibs/socket"
REQUEST_MAX = 384 * 1024  # bytes, what dibsd reads
REPLY_MAX = 64 * 1024 * 1024  # bytes, what we read
PATIENCE = 30.0  # seconds for what dibsd answers at once
COMEBACK = 60.0  # seconds for a dibsd that is restarted

Path = Union[str, "os.PathLike[str]"]
Parameters = Dict[str, Any]
T = TypeVar("T")


class Error(Exception):
    """What went wrong: .message is a sentence that says what to do, .id is stable ("lease.not-yours")."""

    def __init__(self, id: str, message: str) -> None:
        super().__init__(message)
        self.id = id
        self.message = message

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.id, self.message)


class Invalid(Error):
    """The request is wrong, or this machine can never fulfil it."""


class Refused(Error):
    """Not yours, or against the rules or limits of this site."""


class NotFree(Error):
    """Possible, but not now, or not within the time that was given."""


class Fault(Error):
    """dibs failed; nothing was changed."""


class Unreachable(Error):
    """dibsd does not run, does not answer, or may not be used by you."""


# Ids of what is not dibsd's own word. HANGUP: try to get back.
HANGUP, TIMEOUT, NO_COMEBACK = "client.hangup", "client.timeout", "client.no-comeback"


def socket_path(path: Optional[Path]) -> str:
    return os.fspath(path) if path else os.environ.get("DIBS_SOCKET") or SOCKET


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine whose Link blocks."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it waited for something else than its Link")


# Errors, as sentences


def _unreachable(path: str, error: Exception) -> Unreachable:
    start = "start it with 'systemctl start dibsd', or name another socket with DIBS_SOCKET or socket="
    if isinstance(error, FileNotFoundError):
        return Unreachable("client.no-daemon", f"dibsd does not run here (no socket {path}); {start}")
    if isinstance(error, ConnectionRefusedError):
        return Unreachable("client.no-daemon", f"dibsd does not run here (nobody listens at {path}); {start}")
    if isinstance(error, PermissionError):
        return Unreachable("client.permission", f"you may not use {path}; ask an administrator to make you a member of "
                           "its group, then log in again")
    return Unreachable("client.connect", f"cannot reach dibsd at {path}: {error}")


_REMOTE: Dict[str, Type[Error]] = {
    "org.dibs.Invalid": Invalid, "org.dibs.Refused": Refused, "org.dibs.NotFree": NotFree, "org.dibs.Fault": Fault,
}


def _raise_remote(name: str, parameters: Parameters) -> NoReturn:
    kind, message, id = _REMOTE.get(name), parameters.get("message"), parameters.get("id")
    if kind and isinstance(message, str):
        raise kind(id if isinstance(id, str) else "remote." + kind.__name__.lower(), message)
    if name == "org.varlink.service.InvalidParameter":
        raise Invalid("remote.parameter", f"dibsd does not accept the parameter '{parameters.get('parameter')}' as it was "
                      "given")
    if name in ("org.varlink.service.MethodNotFound", "org.varlink.service.MethodNotImplemented"):
        raise Fault("remote.method", f"dibsd does not know the method '{parameters.get('method')}'; it may be older than "
                    "this package: 'systemctl restart dibsd'")
    raise Fault("remote.other", f"dibsd answered with the error {name}")


def garbage() -> Fault:
    return Fault("client.reply", "what answers there does not speak org.dibs; is it dibsd?")


# Frames

# As base/text.c: control characters, separators of lines, and what changes the direction of text.
_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _HARMFUL.sub("?", value)
    if isinstance(value, list):
        return [_clean(member) for member in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(member) for key, member in value.items()}
    return value


def _int(digits: str) -> int:
    if len(digits) > 20:  # int() of a million digits takes minutes
        raise ValueError(digits[:20])
    return int(digits)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def decode(frame: bytes) -> Tuple[Parameters, bool]:
    """The parameters of a reply, and whether more follow; or the error that it is."""
    try:
        message = _clean(json.loads(frame.decode(), parse_int=_int, parse_constant=_refuse))
        parameters = message.get("parameters", {})
        name = message.get("error")
        if not isinstance(parameters, dict) or not (name is None or isinstance(name, str)):
            raise ValueError
    except (ValueError, AttributeError, RecursionError):
        raise garbage() from None
    if name is not None:
        _raise_remote(name, parameters)
    return parameters, message.get("continues") is True


def encode(method: str, parameters: Parameters, more: bool) -> bytes:
    """A call. Parameters that are None are left out: dibsd knows the defaults."""
    message: Dict[str, Any] = {"method": method, "parameters": {k: v for k, v in parameters.items() if v is not None}}
    if more:
        message["more"] = True
    try:
        frame = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\0"
    except UnicodeEncodeError as error:
        raise Invalid("client.text", f"{error.object[:100]!r} is not UTF-8") from None
    if len(frame) > REQUEST_MAX:
        raise Invalid("client.too-large", f"the request is larger than {REQUEST_MAX} bytes; ask for less at once")
    return frame


class Link:
    """A connection to dibsd. It can be opened again after it was closed."""

    def __init__(self) -> None:
        self._socket: Optional[socket.socket] = None
        self._buffer = bytearray()
        self._scanned = 0  # no NUL before

    def _open_socket(self) -> socket.socket:
        if self._socket is None:
            raise Unreachable(HANGUP, "the connection to dibsd is closed")
        return self._socket

    async def _ready(self, events: int, seconds: Optional[float]) -> None:
        """Returns when the socket is ready, or after that time."""
        poll = select.poll()
        poll.register(self._open_socket(), events)
        poll.poll(None if seconds is None else max(0, int(seconds * 1000) + 1))

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    async def open(self, path: str) -> None:
        end = time.monotonic() + PATIENCE
        while not await self._connect(path):
            if time.monotonic() >= end:
                raise Unreachable(TIMEOUT, "dibsd does not answer; see 'systemctl status dibsd'")
            await self.pause(0.02)

    async def _connect(self, path: str) -> bool:
        """False if too many others are about to connect."""
        self.close()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.setblocking(False)
        try:
            self._socket.connect(path)
        except BlockingIOError:
            return False
        except (OSError, ValueError) as error:
            self.close()
            raise _unreachable(path, error) from None
        return True

    def close(self) -> None:
        """Also for a child that was forked meanwhile: dibsd sees it at once."""
        if self._socket:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self._socket.close()
        self._socket, self._scanned = None, 0
        self._buffer.clear()

    async def _wait(self, events: int, end: Optional[float]) -> None:
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            raise Unreachable(TIMEOUT, "dibsd does not answer; see 'systemctl status dibsd'")
        await self._ready(events, left)

    async def send(self, method: str, parameters: Parameters, more: bool = False) -> None:
        frame = memoryview(encode(method, parameters, more))
        end = time.monotonic() + PATIENCE
        while frame:
            try:
                frame = frame[self._open_socket().send(frame):]
            except BlockingIOError:
                await self._wait(select.POLLOUT, end)
            except ConnectionError:
                return  # a dibsd that turns somebody away says why before it hangs up; see receive()
            except OSError as error:
                raise Unreachable("client.send", f"cannot send to dibsd: {error}") from None

    def _next(self) -> Optional[bytes]:
        """The first frame in the buffer."""
        end = self._buffer.find(b"\0", self._scanned)
        if end < 0:
            self._scanned = len(self._buffer)
            return None
        frame = bytes(self._buffer[:end])
        del self._buffer[:end + 1]
        self._scanned = 0
        return frame

    async def receive(self, seconds: Optional[float]) -> Tuple[Parameters, bool]:
        """The next reply and whether more follow. Unreachable after that time."""
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            frame = self._next()
            if frame is not None:
                return decode(frame)
            if len(self._buffer) >= REPLY_MAX:
                raise Fault("client.reply", f"dibsd sent a reply of more than {REPLY_MAX} bytes; ask for less at once")
            try:
                data = self._open_socket().recv(65536)
            except BlockingIOError:
                await self._wait(select.POLLIN, end)
                continue
            except OSError:
                data = b""
            if not data:
                raise Unreachable(HANGUP, "dibsd went away before it answered; see 'systemctl status dibsd', then 'dibs' for "
                                  "what was done")
            self._buffer += data


async def call_over(link: Link, path: str, method: str, parameters: Parameters,
                    seconds: Optional[float] = PATIENCE) -> Parameters:
    """One call with one reply, which is there after so many seconds."""
    try:
        await link.open(path)
        await link.send("org.dibs." + method, parameters)
        reply, _ = await link.receive(seconds)
        return reply
    finally:
        link.close()


def call(method: str, parameters: Optional[Parameters] = None, path: Optional[Path] = None,
         seconds: Optional[float] = PATIENCE) -> Parameters:
    return run(call_over(Link(), socket_path(path), method, parameters or {}, seconds))


class Comeback:
    """Getting back to a dibsd that was restarted: at once, then with growing pauses, for so many seconds."""

    def __init__(self, patience: Optional[float]) -> None:
        self.patience = patience
        self.lost: Optional[float] = None  # since when
        self._pause = 0.0

    def arrived(self) -> None:
        """It has answered."""
        self.lost = None

    async def reopen(self, link: Link, path: str) -> None:
        if self.lost is None:
            self.lost, self._pause = time.monotonic(), 0.0
        while True:
            await link.pause(self._pause)
            self._pause = min(max(2 * self._pause, 0.02), 0.25)
            try:
                if self.patience is not None and time.monotonic() > self.lost + self.patience:
                    raise Unreachable(NO_COMEBACK, "dibsd went away and did not come back; see 'systemctl status "
                                      "dibsd'")
                return await link.open(path)
            except Unreachable as error:
                if error.id == NO_COMEBACK:
                    raise
