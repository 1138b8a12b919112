# SPDX-License-Identifier: MIT
"""lock_gpu() of both generations, upon leases of dibs.

A lock is taken in lock_gpu(): what it returns is locked, and nobody comes between that and `with`. It is given back when
the block is left, when the object is gone without ever having been entered, and when the process ends, however it does.

One process can lock a GPU again that it has locked ("Old lock will be renewed"). Here such locks are counted, so that
leaving the inner block does not unlock the outer one.
"""

from __future__ import annotations

import logging
import os
import pwd
import threading
import weakref
from pathlib import Path
from types import TracebackType
from typing import Dict, Iterable, Iterator, List, Optional, Tuple, Type, Union

import dibs

LOCKDIR = "/var/tmp/gpu_lock"  # where dibsd shows leases as lock files, if it is told to
POSITIONAL = "GPU_LOCK_POSITIONAL"

logger = logging.getLogger("gpu_locking")


class LockError(RuntimeError, OSError):
    """RuntimeError is what gpu_lock raises; its first version raised EnvironmentError, which is OSError."""


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _failed(error: dibs.Error) -> LockError:
    return LockError(f"Could not aquire lock. {error.message}")


class _Machine:
    """Which GPUs there are, and who has them."""

    def __init__(self) -> None:
        try:
            status = dibs.status()
        except dibs.Error as error:
            raise _failed(error) from error
        self.gpus = {gpu.index: gpu for gpu in status.gpus}
        self.owners = {lease.id: lease.uid for lease in status.leases}

    def is_ours(self, uid: int) -> bool:
        hold = _locks.hold(uid)
        return bool(hold and uid in self.gpus and hold.id in self.gpus[uid].leases)

    def refusal(self, uid: int) -> Optional[str]:
        """Why this process cannot lock it."""
        gpu = self.gpus.get(uid)
        if gpu is None:
            return f"Could not aquire lock. This machine has no GPU {uid}."
        if self.is_ours(uid):
            return None
        if gpu.leases:
            return f"Could not aquire lock. The resource is locked by {_user_name(self.owners.get(gpu.leases[0], -1))}"
        if gpu.state == "foreign":
            return "Lock could have been aquired but the GPU is being used by a rogue user."
        return None if gpu.state == "free" else f"Could not aquire lock. GPU {uid} is {gpu.state}: {gpu.reason}"

    def check(self, uid: int) -> None:
        """RuntimeError if this process cannot lock it."""
        refusal = self.refusal(uid)
        if refusal:
            raise LockError(refusal)
        if self.is_ours(uid):
            logger.warning("Found existing GPU lock for pid %s. Please make sure to release resources after finishing your "
                           "scripts. Old lock will be renewed.", os.getpid())

    def available(self, uids: Iterable[int]) -> Iterator[int]:
        for uid in uids:
            try:
                self.check(uid)
            except LockError:
                logger.info("Could not aquire lock on GPU %s", uid)
            else:
                yield uid


class _Locks:
    """What this process has locked. A child that was forked has none of it."""

    def __init__(self) -> None:
        self.holds: Dict[int, Tuple[dibs.Hold, int]] = {}  # by GPU: its lease, and how often it is locked
        self.entered: List[_Lock] = []  # whose GPUs are in the environment
        self.before: Dict[str, Optional[str]] = {}  # the environment, as it was without them
        self.mutex = threading.RLock()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.mutex = threading.RLock()

    def hold(self, uid: int) -> Optional[dibs.Hold]:
        hold, _ = self.holds.get(uid, (None, 0))
        return hold if hold and hold.held else None

    def take(self, uids: List[int], machine: _Machine) -> Dict[int, dibs.Hold]:
        """All or none. NotFree if somebody was quicker."""
        with self.mutex:
            new = [uid for uid in uids if not machine.is_ours(uid)]
            if new:
                hold = dibs.lease(gpu=new, note="gpu_lock", wait=False, set_environment=False).acquire()
                self.holds.update((uid, (hold, 0)) for uid in new)
            for uid in uids:
                hold, times = self.holds[uid]
                self.holds[uid] = hold, times + 1
            for uid in new:
                logger.debug("Aquired lock on GPU %s", uid)
            return {uid: self.holds[uid][0] for uid in uids}

    def give_back(self, taken: Dict[int, dibs.Hold]) -> None:
        with self.mutex:
            leases: Dict[int, Tuple[dibs.Hold, List[int]]] = {}
            for uid, hold in taken.items():
                if self.hold(uid) is not hold:
                    continue  # it was taken away, and locked anew
                _, times = self.holds.pop(uid)
                if times > 1:
                    self.holds[uid] = hold, times - 1
                else:
                    leases.setdefault(hold.id, (hold, []))[1].append(uid)
            for hold, gone in leases.values():
                self._release(hold, gone)

    def _release(self, hold: dibs.Hold, uids: List[int]) -> None:
        try:
            if any(other is hold for other, _ in list(self.holds.values())):
                hold.shrink(uids)
            else:
                hold.release()
        except dibs.Error as error:
            logger.warning("GPU %s stays locked until this process ends: %s", ", ".join(map(str, uids)), error)
        else:
            for uid in uids:
                logger.debug("Released GPU %s lock", uid)

    def enter(self, lock: _Lock) -> None:
        with self.mutex:
            if not self.entered:
                self.before = {name: os.environ.get(name) for name in ("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES")}
            self.entered.append(lock)
            self._show()

    def leave(self, lock: _Lock) -> None:
        with self.mutex:
            if lock in self.entered:
                self.entered.remove(lock)
                self._show()

    def _show(self) -> None:
        """The GPUs of all blocks that this process is in; outside of them, what was there before."""
        uids = sorted({uid for lock in self.entered for uid in lock._uids})
        values = self.before
        if uids:
            values = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(map(str, uids))}
        for name, value in values.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_locks = _Locks()


class _Claim:
    """That GPUs are locked once. It can be dropped twice, and in a child, to no effect."""

    def __init__(self, uids: List[int], machine: _Machine) -> None:
        self.taken, self.pid = _locks.take(uids, machine), os.getpid()

    def drop(self) -> None:
        if self.pid == os.getpid():
            self.pid = 0
            _locks.give_back(self.taken)


class _Lock:
    """Some GPUs, to be locked together."""

    def __init__(self, uids: List[int], set_environment: bool) -> None:
        self._uids = uids
        self._set_environment = set_environment
        self._claim: Optional[_Claim] = None

    def _lock(self, machine: _Machine) -> None:
        """NotFree if somebody was quicker; RuntimeError if it cannot be at all."""
        try:
            self._claim = _Claim(self._uids, machine)
        except dibs.NotFree:
            raise
        except dibs.Error as error:
            raise _failed(error) from error
        weakref.finalize(self, self._claim.drop).atexit = False  # the end of the process does it better

    def check_lock_availability(self) -> None:
        """RuntimeError if this process cannot lock what is meant."""
        machine = _Machine()
        for uid in self._uids:
            machine.check(uid)

    def _relock(self) -> None:
        machine = _Machine()
        for uid in self._uids:
            machine.check(uid)
        try:
            self._lock(machine)
        except dibs.NotFree as error:
            self.check_lock_availability()  # it knows who was quicker
            raise _failed(error) from error

    def __enter__(self) -> _Lock:
        if self._claim is None:
            self._relock()
        if self._set_environment:
            _locks.enter(self)
        return self

    def __exit__(self, exit_type: Optional[Type[BaseException]], value: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        if self._set_environment:
            _locks.leave(self)
        if self._claim:
            self._claim.drop()
        self._claim = None


class _GPULock(_Lock):
    """A lock on a single GPU, number uid."""

    def __init__(self, uid: int, set_environment: bool = True) -> None:
        super().__init__([uid], set_environment)
        self.uid = uid
        self.user = _user_name(os.getuid())
        self.pid = os.getpid()
        self.lock_dir = Path(LOCKDIR)
        self.lock = self.lock_dir / f"gpu_{uid}.json"

    def __enter__(self) -> _GPULock:
        super().__enter__()
        return self

    @staticmethod
    def check_pid_alive(pid: int) -> bool:
        """Is there a process with that number? Whose it is does not matter."""
        try:
            os.kill(pid, 0)
        except PermissionError:
            return True
        except (OSError, OverflowError):
            return False
        return pid > 0


class _MultiGPULock(_Lock):
    """A lock on several GPUs, whose numbers are the list uid; locks has each of them."""

    def __init__(self, uids: List[int]) -> None:
        super().__init__(uids, True)
        self.uid = uids
        self.locks = [_GPULock(uid) for uid in uids]

    def __enter__(self) -> _MultiGPULock:
        super().__enter__()
        return self


def _lock_any(n: int, n_system_gpus: Optional[int]) -> Union[_GPULock, _MultiGPULock]:
    """The first n GPUs that can be locked. Who is quicker than we are makes us try others."""
    lost: List[int] = []
    while True:
        machine = _Machine()
        all_uids = sorted(machine.gpus) if n_system_gpus is None else range(n_system_gpus)
        available = machine.available(uid for uid in all_uids if uid not in lost)
        uids = [uid for uid, _ in zip(available, range(n))]
        if len(uids) < n:
            raise LockError("Could not aquire lock. All GPUs are busy." if n == 1 else
                            f"Could not acquire at {n} locks. Too many GPUs are busy!")
        lock: Union[_GPULock, _MultiGPULock] = _GPULock(uids[0]) if n == 1 else _MultiGPULock(uids)
        try:
            lock._lock(machine)
            return lock
        except dibs.NotFree:
            machine = _Machine()
            taken = [uid for uid in uids if machine.refusal(uid)]
            lost += taken or [uid for uid in uids if not machine.is_ours(uid)]


def _read_positional(positional: Tuple[Optional[int], ...], n: Optional[int], n_system_gpus: Optional[int],
                     uid: Optional[int]) -> Tuple[Optional[int], Optional[int], Optional[int]]:
    if len(positional) > 2:
        raise TypeError("lock_gpu() takes n and n_system_gpus, or uid")
    if len(positional) == 2:
        if n is not None or n_system_gpus is not None:
            raise TypeError("lock_gpu() got n or n_system_gpus twice")
        return positional[0], positional[1], uid
    if not positional or positional[0] is None:
        return n, n_system_gpus, uid
    if n is not None or uid is not None:
        raise TypeError("lock_gpu() got two numbers: give n, or uid")
    meaning = os.environ.get(POSITIONAL, "n")
    if meaning not in ("n", "uid"):
        raise ValueError(f"{POSITIONAL} is n or uid, not {meaning!r}")
    if n_system_gpus is None and (meaning == "uid" or positional[0] == 0):
        return None, None, positional[0]
    return positional[0], n_system_gpus, None


def lock_gpu(*positional: Optional[int], n: Optional[int] = None, n_system_gpus: Optional[int] = None,
             uid: Optional[int] = None) -> Union[_GPULock, _MultiGPULock]:
    """Locks GPUs for `with`; never waits.

    lock_gpu(), lock_gpu(n=3): the first, or so many, that are not locked; n_system_gpus: only those with lower numbers.
    In the block, CUDA_DEVICE_ORDER and CUDA_VISIBLE_DEVICES say which; behind it they are as before.

    lock_gpu(uid=2): that GPU. As in the version that had uid=, the environment is left alone: its programs choose
    "cuda:2" themselves.

    lock_gpu(2): two GPUs, as in all versions since n= exists; lock_gpu(0), which would be none, is GPU 0. With
    GPU_LOCK_POSITIONAL=uid in the environment it is GPU 2.

    RuntimeError if they are locked by others or in use, or dibsd cannot be reached.
    """
    n, n_system_gpus, uid = _read_positional(positional, n, n_system_gpus, uid)
    if uid is not None:
        if n is not None or n_system_gpus is not None:
            raise TypeError("lock_gpu() takes n and n_system_gpus, or uid")
        lock = _GPULock(uid, set_environment=False)
        lock._relock()
        return lock
    n = 1 if n is None else n
    if n < 1:
        raise ValueError(f"lock_gpu() locks one GPU or more, not {n}")
    return _lock_any(n, n_system_gpus)
