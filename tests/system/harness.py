# SPDX-License-Identifier: MIT
"""Runs a real dibsd, with real users and processes, in a directory of its own.

Everything that waits, waits for an event and has a deadline; there are no sleeps.
"""

import contextlib
import json
import os
import pwd
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

DEADLINE = float(os.environ.get("DIBS_TEST_DEADLINE", "20"))  # seconds for anything that should be quick
SIM = "8xA100-80G"


def cgroup2_mount():
    for line in Path("/proc/self/mounts").read_text().splitlines():
        fields = line.split()
        if fields[2] == "cgroup2":
            return Path(fields[1])
    return None


def demote(user):
    """What a child does to become user for good (uid, primary and supplementary groups)."""
    if user is None:
        return None
    entry = pwd.getpwnam(user)
    groups = os.getgrouplist(user, entry.pw_gid)

    def become():
        os.setgroups(groups)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)

    return become


def uid_of(user):
    return pwd.getpwnam(user).pw_uid


def read_line(stream, deadline=DEADLINE):
    """One line of a pipe (binary, unbuffered), or a failed test."""
    line = b""
    end = time.monotonic() + deadline
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([stream], [], [], max(0, end - time.monotonic()))
        assert ready, f"no line within {deadline} s; so far: {line!r}"
        byte = os.read(stream.fileno(), 1)
        if not byte:
            break
        line += byte
    return line.decode()


def wait_exit(pid_or_process, deadline=DEADLINE):
    """Waits until a process (our child or not) has ended."""
    if hasattr(pid_or_process, "wait"):
        return pid_or_process.wait(timeout=deadline)
    try:
        fd = os.pidfd_open(pid_or_process)
    except ProcessLookupError:
        return None
    try:
        ready, _, _ = select.select([fd], [], [], deadline)
        assert ready, f"process {pid_or_process} still runs after {deadline} s"
    finally:
        os.close(fd)
    return None


def text(data):
    return None if data is None else data.decode(errors="replace")


class Varlink:
    """A raw connection: what a program of somebody else would speak."""

    def __init__(self, path, timeout=DEADLINE):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self.buffer = b""

    def send_raw(self, data):
        self.socket.sendall(data)

    def send(self, method, parameters=None, **flags):
        message = {"method": method, "parameters": parameters or {}, **flags}
        self.send_raw(json.dumps(message).encode() + b"\0")

    def receive(self):
        """The next message, or None at the end of the connection."""
        while b"\0" not in self.buffer:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self.buffer += data
        frame, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(frame)

    def call(self, method, parameters=None):
        self.send(method, parameters)
        return self.receive()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Daemon:
    """One dibsd: started, killed, started again on the same state."""

    count = 0

    def __init__(self, programs, directory, sim=SIM, config="", user=None, environment=None, cgroups=True):
        Daemon.count += 1
        self.programs = programs
        self.directory = directory
        self.user = user
        self.environment = {**os.environ, **(environment or {})}
        self.state = directory / "state"
        self.socket = directory / "run" / "socket"
        self.config = directory / "dibs.conf"
        self.write_config(config)
        self.sim = sim
        self.cgroup_root = None
        mount = cgroup2_mount()
        if cgroups and user is None and mount:
            self.cgroup_root = mount / f"dibs-test-{os.getpid()}-{Daemon.count}"
        self.process = None
        self.log = []
        self.clients = []
        if user:
            entry = pwd.getpwnam(user)
            os.chown(directory, entry.pw_uid, entry.pw_gid)
            os.chown(self.config, entry.pw_uid, entry.pw_gid)

    def write_config(self, text):
        self.config.write_text(text)
        self.config.chmod(0o644)

    def arguments(self):
        arguments = [self.programs["dibsd"], "--config", self.config, "--socket", self.socket, "--state", self.state]
        if self.sim:
            arguments += ["--sim", self.sim]
        if self.cgroup_root:
            arguments += ["--cgroup-root", self.cgroup_root]
        return [str(a) for a in arguments]

    def spawn(self, wrapper=()):
        """Starts it without waiting for it to be ready."""
        self.process = subprocess.Popen(
            [*wrapper, *self.arguments()],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, bufsize=0,
            env=self.environment, preexec_fn=demote(self.user), cwd="/",
        )
        return self

    def start(self, wrapper=()):
        self.spawn(wrapper)
        self.wait_log("is ready")
        return self

    def wait_log(self, text, deadline=DEADLINE):
        """Reads the daemon's log until a line has text; returns that line."""
        end = time.monotonic() + deadline
        while True:
            line = read_line(self.process.stderr, max(0.1, end - time.monotonic()))
            assert line, "dibsd ended:\n" + "".join(self.log)
            self.log.append(line)
            if text in line:
                return line

    def drain_log(self):
        """What it logged until now, without waiting."""
        while self.process and select.select([self.process.stderr], [], [], 0)[0]:
            data = os.read(self.process.stderr.fileno(), 65536)
            if not data:
                break
            self.log.append(data.decode(errors="replace"))
        return "".join(self.log)

    def kill(self):
        self.process.kill()
        self.process.wait(DEADLINE)

    def stop(self):
        self.process.terminate()
        code = self.process.wait(DEADLINE)
        log = self.drain_log()
        assert code == 0, f"dibsd ended with {code}:\n{log}"
        assert "AddressSanitizer" not in log and "runtime error" not in log, log

    def restart(self):
        self.stop()
        return self.start()

    def crash_and_restart(self):
        self.kill()
        return self.start()

    # Clients

    def client_environment(self, extra=None):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("CUDA_", "NVIDIA_", "DIBS_", "ROCR_"))}
        environment["DIBS_SOCKET"] = str(self.socket)
        environment.update(extra or {})
        return environment

    def popen(self, *arguments, user=None, env=None, **options):
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        options.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen(
            [str(self.programs[options.pop("program", "dibs")]), *map(str, arguments)],
            env=self.client_environment(env), preexec_fn=options.pop("preexec_fn", None) or demote(user), bufsize=0,
            cwd=options.pop("cwd", "/"), **options,
        )
        self.clients.append(process)
        return process

    def dibs(self, *arguments, user=None, code=0, env=None, timeout=DEADLINE, **options):
        """Runs a command to its end; code None accepts any status. Returns it with text output."""
        process = self.popen(*arguments, user=user, env=env, **options)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"dibs {arguments} did not end: {out!r} {err!r}")
        result = subprocess.CompletedProcess(arguments, process.returncode, text(out), text(err))
        assert code is None or result.returncode == code, f"dibs {arguments}: {result}"
        return result

    def shell(self, script, user=None, **options):
        """Runs a line of bash that finds dibs in its PATH, to the end; returns its standard output."""
        path = f"{self.programs['dibs'].parent}:{os.environ['PATH']}"
        result = subprocess.run(["bash", "-c", script], env=self.client_environment({"PATH": path}), cwd="/",
                                preexec_fn=demote(user), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                timeout=DEADLINE, text=True, **options)
        return result.stdout

    def status(self):
        return json.loads(self.dibs("status", "--json").stdout)

    def nodes(self):
        """The device nodes of its simulated GPUs, by index."""
        gpus = sorted(self.status()["gpus"], key=lambda gpu: gpu["index"])
        return [self.state / "dev" / f"nvidia{gpu['nodes'][0].split(':')[1]}" for gpu in gpus]

    def leases(self, **conditions):
        """Leases with these values, as {"id": ..., ...}."""
        return [l for l in self.status()["leases"] if all(l[k] == v for k, v in conditions.items())]

    def lease(self, lease_id):
        """One lease with its journal, also an ended one."""
        return json.loads(self.dibs("show", lease_id, "--json").stdout)

    @contextlib.contextmanager
    def database(self):
        """A copy of its database: a look at the original would recover it."""
        copy = self.directory / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for file in self.state.glob("dibs.db*"):
            shutil.copy(file, copy)
        with contextlib.closing(sqlite3.connect(copy / "dibs.db")) as db:
            yield db

    def journal(self, *columns, kinds=()):
        """(kind, *columns) of all events, or of these kinds, in their order."""
        with self.database() as db:
            rows = db.execute(f"SELECT {', '.join(['kind', *columns])} FROM event ORDER BY id").fetchall()
        return [row for row in rows if not kinds or row[0] in kinds]

    def varlink(self, **options):
        return Varlink(self.socket, **options)

    def wait_status(self, predicate, deadline=DEADLINE):
        """Waits, by the daemon's own notifications, until predicate(raw status) holds; returns it."""
        end = time.monotonic() + deadline
        message = None
        with self.varlink(timeout=deadline) as watch, contextlib.suppress(TimeoutError):
            watch.send("org.dibs.GetStatus", more=True)
            while time.monotonic() < end:
                message = watch.receive()
                assert message, "dibsd hung up"
                if predicate(message["parameters"]):
                    return message["parameters"]
        raise AssertionError(f"not within {deadline} s: {message}")

    def wait_leases(self, count, deadline=DEADLINE, **conditions):
        """Waits until exactly count leases have these (raw) values; returns them."""
        def matching(status):
            return [l for l in status["leases"] if all(l[k] == v for k, v in conditions.items())]
        return matching(self.wait_status(lambda s: len(matching(s)) == count, deadline))

    def reserve(self, *arguments, user=None):
        """A hold; returns its lease object."""
        return json.loads(self.dibs("reserve", "--json", *arguments, user=user).stdout)

    def close(self):
        for client in self.clients:
            if client.poll() is None:
                client.kill()
                client.wait()
            for stream in (client.stdout, client.stderr, client.stdin):
                if stream:
                    stream.close()
        if self.process and self.process.poll() is None:
            self.stop()
        if self.process:
            self.process.stderr.close()
        self.remove_pins()
        if self.cgroup_root and self.cgroup_root.exists():
            remove_cgroup(self.cgroup_root)

    def pins(self):
        """Where its device filter is pinned."""
        return Path("/sys/fs/bpf") / f"dibs-{self.state.stat().st_ino:x}"

    def remove_pins(self):
        """A device filter stays in force when its daemon ends; that is what it is for."""
        if self.state.exists() and self.pins().exists():
            shutil.rmtree(self.pins())


def come_up(daemon, die_at):
    """Starts it; False if it died on the way, as it was told to."""
    daemon.environment.pop("DIBS_DIE_AT", None)
    if die_at:
        daemon.environment["DIBS_DIE_AT"] = str(die_at)
    try:
        daemon.start()
    except AssertionError:
        assert die_at and daemon.process.wait(DEADLINE) == -signal.SIGKILL, daemon.log
        return False
    return True


def remove_cgroup(path):
    """Kills what is left in a cgroup of ours and removes it."""
    with contextlib.suppress(OSError):
        (path / "cgroup.kill").write_text("1")
    end = time.monotonic() + DEADLINE
    while "populated 1" in (path / "cgroup.events").read_text() and time.monotonic() < end:
        poll = select.poll()
        with open(path / "cgroup.events") as events:
            events.read()
            poll.register(events, select.POLLPRI)
            poll.poll(1000)
    for directory, _, _ in os.walk(path, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def install_programs(build, directory):
    """Copies of the programs where every test user can run them, laid out as in the build tree."""
    programs = {}
    for name, source in {"dibsd": "src/daemon/dibsd", "dibs": "src/cli/dibs", "sensor": "src/sensor/dibs-sensor",
                         "exec": "src/exec/dibs-exec", "import": "src/import/dibs-import-canhazgpu",
                         "gpujob": "tests/fakes/gpujob"}.items():
        target = directory / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (build / source).exists():
            shutil.copy2(build / source, target)
        programs[name] = target
    for name in ("canhazgpu", "chg"):  # faces
        programs[name] = programs["dibs"].with_name(name)
        programs[name].symlink_to("dibs")
    for library in (build / "tests/fakes").glob("**/libnvidia-ml.so*"):
        if library.is_file():
            target = directory / library.relative_to(build)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(library, target)
    return programs


def preload(name, **settings):
    """The environment that puts tests/fakes/lib<name>.so into a daemon."""
    library = Path(os.environ["DIBS_BUILD"]).resolve() / "tests/fakes" / f"lib{name}.so"
    assert library.exists(), library
    # ASan wants to be the first library; these only hand calls on, to it.
    asan = os.environ.get("ASAN_OPTIONS", "").split(":") + ["verify_asan_link_order=0"]
    return {"LD_PRELOAD": str(library), "ASAN_OPTIONS": ":".join(filter(None, asan)),
            **{k: str(v) for k, v in settings.items()}}


def is_sanitized():
    return b"__asan_init" in (Path(os.environ["DIBS_BUILD"]) / "src/daemon/dibsd").read_bytes()


@contextlib.contextmanager
def small_disk(path, size):
    """A file system of its own, of so many bytes, mounted at path."""
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@contextlib.contextmanager
def process_with_pid(pid, user=None):
    """A process of that user with a pid that was another's; others may be quicker, so it takes some attempts."""
    last = Path("/proc/sys/kernel/ns_last_pid")
    become = demote(user)
    if not last.exists():
        pytest.skip("the kernel does not let pids be chosen")
    end = time.monotonic() + DEADLINE
    while True:
        last.write_text(str(pid - 1))
        got = os.fork()
        if got == 0:
            if become:
                become()
            signal.pause()
            os._exit(0)
        if got == pid:
            break
        os.kill(got, signal.SIGKILL)
        os.waitpid(got, 0)
        assert time.monotonic() < end, f"pid {pid} is not to be had"
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
