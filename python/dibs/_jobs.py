# SPDX-License-Identifier: MIT
"""Batch jobs: what `dibs submit` and its companions do, from a program."""

from __future__ import annotations

import fnmatch
import os
import resource
import shlex
import signal as signals
import stat
import time
from datetime import datetime
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from . import _values
from ._lease import wishes
from ._records import Lease, Shown, record
from ._values import Duration, Gpus, Size
from ._varlink import (HANGUP, NO_COMEBACK, PATIENCE, TIMEOUT, Comeback, Invalid, Link, Parameters, Path, Unreachable, call,
                       run, socket_path)

Signal = Union[int, str]  # signal.SIGUSR1, "USR1"

# What is wrong in the environment of a job: as in cli/submit_environment.c, which says why.
_LEFT_OUT = (
    "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK", "DIBS_LEASE", "DIBS_GPUS", "DIBS_JOB", "DIBS_ARRAY_*", "DIBS_RESTART_COUNT",
    "XDG_RUNTIME_DIR", "XDG_SESSION_*", "XDG_SEAT", "XDG_VTNR", "DBUS_SESSION_BUS_ADDRESS", "NOTIFY_SOCKET", "LISTEN_FDS",
    "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID", "INVOCATION_ID", "JOURNAL_STREAM", "MANAGERPID",
    "SYSTEMD_EXEC_PID", "_", "PWD", "OLDPWD", "SHLVL",
)
_VARIABLE_MAX = 64 * 1024  # bytes
_SCRIPT_MAX = 192 * 1024  # bytes
_COMMAND_MAX = 500  # bytes, for show
_LIMITS = ("as", "core", "cpu", "data", "fsize", "memlock", "msgqueue", "nofile", "nproc", "rss", "rttime", "sigpending",
           "stack")


class Job:
    """A batch job of yours: one that was submitted, or Job(42), or Job("42.7") for an element of an array."""

    def __init__(self, id: Union[int, str], *, socket: Optional[Path] = None) -> None:
        number, dot, index = str(id).lstrip("#").partition(".")
        if not number.isdecimal() or int(number) < 1 or dot and not index.isdecimal():
            raise Invalid("usage.id", f"{id!r} is not the number of a job; dibs.leases() has yours")
        self.id: Union[int, str] = f"{int(number)}.{int(index)}" if dot else int(number)
        self._show: Parameters = {"id": int(number), "index": int(index) if dot else None}
        self._path = socket

    def show(self) -> Shown:
        """The lease and its journal, also when it has ended."""
        return record(Shown, call("Show", self._show, self._path))

    @property
    def lease(self) -> Lease:
        """As it is now."""
        return self.show().lease

    @property
    def log(self) -> Optional[str]:
        """The path of its output; None if it has not started."""
        job = self.lease.job
        return job.log if job else None

    def wait(self, timeout: Union[None, int, float] = None) -> int:
        """Its exit code, when it has ended: see Lease.exit_code. TimeoutError after that many seconds.

        A dibsd that is restarted meanwhile is waited for, as jobs go on without it.
        """
        end = None if timeout is None else time.monotonic() + timeout
        code = run(self._wait(Link(), end)).exit_code
        return 125 if code is None else code

    async def _wait(self, link: Link, end: Optional[float]) -> Lease:
        path, comeback = socket_path(self._path), Comeback(None)
        try:
            await link.open(path)
            while True:
                try:
                    await link.send("org.dibs.WaitJobs", {"ids": [str(self.id)]})
                    reply, _ = await link.receive(None if end is None else max(0.0, end - time.monotonic()))
                    return record(Lease, reply.get("lease"))
                except Unreachable as error:
                    if error.id != HANGUP:
                        raise
                    comeback.patience = None if end is None else max(0.0, end - time.monotonic())
                    await comeback.reopen(link, path)
        except Unreachable as error:
            if end is not None and error.id in (TIMEOUT, NO_COMEBACK):
                raise TimeoutError(f"job {self.id} has not ended") from None
            raise
        finally:
            link.close()

    def _control(self, action: str, signal: Optional[int] = None, seconds: Optional[float] = PATIENCE) -> None:
        call("ControlJobs", {"action": action, "ids": [str(self.id)], "signal": signal}, self._path, seconds)

    def cancel(self) -> None:
        """It leaves the queue, or is told to end."""
        self._control("cancel")

    def signal(self, signal: Signal) -> None:
        """Sends a signal to all its processes."""
        self._control("signal", _signal(signal))

    def hold(self) -> None:
        """It does not start before resume()."""
        self._control("hold")

    def resume(self) -> None:
        self._control("resume")

    def requeue(self) -> None:
        """It is told to end, and starts anew at its next turn."""
        self._control("requeue")

    def suspend(self) -> None:
        """It is frozen and its GPUs are freed; returns when that is done."""
        self._control("suspend", seconds=None)

    def __repr__(self) -> str:
        return f"<Job {self.id}>"


After = Union[int, str, Job]  # 41, "41:any"


def _signal(signal: Signal) -> int:
    try:
        if isinstance(signal, str):
            return signals.Signals["SIG" + signal.upper().replace("SIG", "", 1)]
        return int(signal)
    except (KeyError, ValueError):
        raise _values.invalid(f"{signal!r} is no signal; USR1 is one") from None


def _warning(signal: Union[None, Signal, Tuple[Signal, Duration]]) -> Parameters:
    """"USR1@5m", or a pair; a minute if nothing is said, as with sbatch."""
    before: Duration = 60
    if signal is None:
        return {}
    if isinstance(signal, tuple):
        signal, before = signal
    elif isinstance(signal, str) and "@" in signal:
        signal, before = signal.split("@", 1)
    return {"signal": _signal(signal), "signal_before_us": _values.microseconds("signal", before)}


def _needs(after: Union[None, After, Iterable[After]]) -> Optional[List[str]]:
    if after is None:
        return None
    if isinstance(after, (int, str, Job)):
        after = [after]
    words = [str(need.id) if isinstance(need, Job) else str(need) for need in after]
    needs = [part.strip().lstrip("#") for word in words for part in word.split(",")]
    return [need if ":" in need else need + ":ok" for need in needs]


def _array(array: Union[None, str, Iterable[int]], parallel: Optional[int]) -> Parameters:
    """"0-9,12%4", or a range, or any numbers."""
    if array is None:
        return {"parallel": _values.count("parallel", parallel)}
    if not isinstance(array, str):
        array = ",".join(str(int(index)) for index in array)
    indices, percent, most = array.partition("%")
    if percent:
        if not most.isdecimal():
            raise _values.invalid(f"array takes numbers as 0-9,12 or 0-20:5, with %4 behind for four at a time, not {array!r}")
        parallel = int(most)
    return {"indices": indices, "parallel": _values.count("parallel", parallel)}


def _fits(variable: str) -> bool:
    try:
        return len(variable.encode()) <= _VARIABLE_MAX
    except UnicodeEncodeError:
        return False


def _environment(directory: str, env: Optional[Mapping[str, str]], inherit: bool) -> List[str]:
    """That of this process, but for what would be wrong later, is not UTF-8 or too large; and env."""
    values: Dict[str, str] = {"PWD": directory}
    if inherit:
        values.update((name, value) for name, value in os.environ.items() if _fits(f"{name}={value}") and
                      not any(fnmatch.fnmatchcase(name, pattern) for pattern in _LEFT_OUT))
    values.update(env or {})
    return [f"{name}={value}" for name, value in values.items()]


def _here() -> str:
    """What the shell calls the directory that we are in, if that is where we are."""
    pwd = os.environ.get("PWD", "")
    try:
        if pwd.startswith("/") and os.path.samefile(pwd, "."):
            return pwd
        return os.getcwd()
    except OSError:
        raise Invalid("submit.directory", "the directory that you are in is gone; use directory=") from None


def _limits() -> List[str]:
    limits = []
    for name in _LIMITS:
        number = getattr(resource, "RLIMIT_" + name.upper(), None)
        if number is not None:
            soft = resource.getrlimit(number)[0]
            limits.append(f"{name}:{'unlimited' if soft == resource.RLIM_INFINITY else soft}")
    return limits


def _umask() -> int:
    """Without changing it, as threads may make files meanwhile."""
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    return 0o022


def _script(path: str, ignore_directives: bool) -> str:
    """What is submitted is what runs, whatever becomes of the file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Invalid("script.file", f"{path} is not a regular file")
            text = file.read(_SCRIPT_MAX + 1).decode()
    except OSError as error:
        raise Invalid("script.file", f"cannot read the script {path} ({error.strerror}); a command is a list of words") from None
    except UnicodeDecodeError:
        raise Invalid("script.file", f"{path} is not UTF-8, as scripts have to be") from None
    if not text or len(text) > _SCRIPT_MAX or "\0" in text:
        raise Invalid("script.file", f"{path} is empty, binary, or larger than {_SCRIPT_MAX} bytes; submit a small one that "
                      "calls it")
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip(" \t\r") and not line.lstrip(" \t").startswith("#"):
            break
        if line.split(" ")[0].split("\t")[0].rstrip("\r") in ("#DIBS", "#SBATCH") and not ignore_directives:
            raise Invalid("script.directives", f"{path}:{number}: the options in this line are read by 'dibs submit' alone; "
                          "give them as parameters of submit(), with ignore_directives=True")
    return text


def _arguments(command: Union[Path, Sequence[Path]], arguments: Sequence[str], ignore_directives: bool) -> Parameters:
    if isinstance(command, (str, os.PathLike)):
        words, script = [os.fspath(command), *arguments], _script(os.fspath(command), ignore_directives)
    else:
        words, script = [os.fspath(word) for word in [*command, *arguments]], None
    shown = shlex.join(words).encode(errors="replace")[:_COMMAND_MAX].decode(errors="ignore")
    return {"arguments": words, "script": script, "command": shown}


def submit(command: Union[Path, Sequence[Path]], arguments: Sequence[str] = (), *, gpus: Optional[int] = None,
           gpu: Optional[Gpus] = None, type: Union[None, str, Iterable[str]] = None, min_memory: Optional[Size] = None,
           memory: Optional[Size] = None, time: Optional[Duration] = None, name: Optional[str] = None,
           note: Optional[str] = None, output: Optional[str] = None, error: Optional[str] = None,
           directory: Optional[Path] = None, env: Optional[Mapping[str, str]] = None, inherit_env: bool = True,
           setup: Optional[str] = None, venv: Union[None, bool, Path] = None,
           after: Union[None, After, Iterable[After]] = None, array: Union[None, str, Iterable[int]] = None,
           parallel: Optional[int] = None, begin: Union[None, datetime, Duration] = None, held: bool = False,
           retries: Optional[int] = None, on_limit: Optional[str] = None, grace: Optional[Duration] = None,
           signal: Union[None, Signal, Tuple[Signal, Duration]] = None, nice: Optional[int] = None,
           ignore_directives: bool = False, socket: Optional[Path] = None) -> Job:
    """Queues a batch job, which starts when its turn comes, whatever becomes of this process:

        job = dibs.submit(["python", "train.py"], gpus=2, time="8h")
        if job.wait() != 0: print(open(job.log).read())

    command is a list of words, or the path of a script, whose arguments follow. gpus, gpu, type, min_memory, note: as of
    lease(). memory: a share of each GPU. time: its limit. output, error: patterns of file names. env: variables in
    addition to those of this process, or with inherit_env=False the only ones. venv: a directory, or False for none.
    after: 41, "41:any", a Job, or several of them. array: "0-9,12%4", a range or numbers; parallel: how many at a time.
    begin: a datetime, or from now on. signal: "USR1@5m", sent that long before the limit. All are those of dibs(1).
    """
    where = _values.path(directory) if directory is not None else _here()
    place = None if venv is None or venv is True else _values.path(venv) if venv else ""
    reply = call("Submit", {
        **wishes(gpus, gpu, type, min_memory, note), **_arguments(command, arguments, ignore_directives),
        **_array(array, parallel), **_warning(signal),
        "share_mib": _values.mebibytes("memory", memory), "duration_us": _values.microseconds("time", time), "name": name,
        "output": output, "error": error, "directory": where, "environment": _environment(where, env, inherit_env),
        "setup": setup, "venv": place, "umask": _umask(), "limits": _limits(), "after": _needs(after),
        "begin": _values.moment("begin", begin), "held": held or None, "retries": retries, "on_limit": on_limit,
        "grace_us": _values.microseconds("grace", grace, least=0), "nice": nice,
    }, socket)
    return Job(record(Lease, reply.get("lease")).id, socket=socket)
