# SPDX-License-Identifier: MIT
"""What is measured runs here: a dibsd, a redis-server, a task spooler, each in a directory of its own, on nothing but
UNIX sockets and the loopback, ended by what started it."""

import contextlib
import json
import os
import resource
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

DEADLINE = 20  # seconds for anything that should be quick
PINS = Path("/sys/fs/bpf")


class Failed(Exception):
    """A measurement could not be made."""


def wait_until(condition, what, deadline=DEADLINE):
    """Asks until condition is true. Only for what happens between measurements."""
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"not within {deadline} s: {what}")
        time.sleep(0.001)


def cgroup2_mount():
    for line in Path("/proc/self/mounts").read_text().splitlines():
        fields = line.split()
        if fields[2] == "cgroup2":
            return Path(fields[1])
    return None


class Connection:
    """A raw client of dibsd."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(str(path))

    def send(self, method, parameters=None, more=False):
        call = {"method": f"org.dibs.{method}", "parameters": parameters or {}, "more": more}
        self.socket.sendall(json.dumps(call).encode() + b"\0")

    def receive(self):
        data = b""
        while not data.endswith(b"\0"):
            part = self.socket.recv(1 << 20)
            if not part:
                raise Failed("dibsd hung up")
            data += part
        reply = json.loads(data[:-1])
        if "error" in reply:
            raise Failed(f"dibsd answered {reply}")
        return reply["parameters"]

    def call(self, method, parameters=None):
        self.send(method, parameters)
        return self.receive()

    def close(self):
        self.socket.close()


class Daemon:
    """One dibsd with simulated GPUs, or with what the sensor beside another program of dibsd tells."""

    def __init__(self, place, gpus, config="", program=None):
        self.place = place
        self.program = program or place.program("src/daemon/dibsd")
        self.directory = place.directory("dibsd")
        self.socket = self.directory / "socket"
        self.state = self.directory / "state"
        self.cgroups = place.cgroup_root and place.cgroup_root / self.directory.name
        (self.directory / "dibs.conf").write_text(f"[daemon]\nsocket = {self.socket}\n{config}")
        self.gpus = gpus
        self.process = None
        place.stack.callback(self.remove_pins)
        self.start()

    def start(self):
        command = [self.program, "--config", self.directory / "dibs.conf", "--state", self.state]
        if self.gpus:
            command += ["--sim", f"{self.gpus}xA100-80G"]
        if self.cgroups:
            command += ["--cgroup-root", self.cgroups]
        self.log = self.directory / "log"
        with open(self.log, "wb") as log:
            self.process = self.place.start(command, stdout=log, stderr=log)
        wait_until(lambda: "is ready" in self.log.read_text() or self.process.poll() is not None, "dibsd is ready", 60)
        if self.process.poll() is not None:
            raise Failed(f"dibsd did not start: {self.log.read_text()}")

    def stop(self):
        self.process.terminate()
        self.process.wait(DEADLINE)
        self.remove_pins()
        if self.cgroups:
            with contextlib.suppress(OSError):
                self.cgroups.rmdir()

    def remove_pins(self):
        """A device filter outlives its daemon."""
        if self.state.exists():
            shutil.rmtree(PINS / f"dibs-{self.state.stat().st_ino:x}", ignore_errors=True)

    def connect(self):
        return Connection(self.socket)

    def dibs(self, *arguments):
        """The words of a command line."""
        return [self.place.program("src/cli/dibs"), "--socket", str(self.socket), *arguments]

    def sensor(self):
        """The pid of its dibs-sensor."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


class Place:
    """A temporary directory and all that runs in it. As a context manager, it ends and removes all of that."""

    def __init__(self, build, parent="/var/tmp"):
        self.build = build
        self.parent = parent
        self.path = None
        self.processes = []
        self.endings = []
        self.cgroup_root = None
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        self.path = Path(tempfile.mkdtemp(prefix="dibs-bench-", dir=self.parent))
        self.stack.callback(shutil.rmtree, self.path, ignore_errors=True)
        self.path.chmod(0o755)  # the sensor runs as somebody else
        mount = cgroup2_mount()
        if mount:
            self.cgroup_root = mount / self.path.name
            self.cgroup_root.mkdir()
            self.stack.callback(self.remove_cgroups)
        self.stack.callback(self.end)
        return self

    def __exit__(self, *_):
        self.stack.close()

    def end(self):
        for command, environment in self.endings:
            subprocess.run(command, env=environment, check=False, timeout=DEADLINE)
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def remove_cgroups(self):
        for directory, _, _ in os.walk(self.cgroup_root, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)

    def directory(self, name):
        path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.path))
        path.chmod(0o755)
        return path

    def program(self, name):
        return str(self.build / name)

    def tool(self, name):
        return self.program(f"bench/bench-{name}")

    def start(self, command, **options):
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "cwd": "/", **options}
        process = subprocess.Popen([str(word) for word in command], **options)
        self.processes.append(process)
        return process

    def output(self, command, timeout=120):
        """What a program says, to its end."""
        command = [str(word) for word in command]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=timeout, check=False)
        if result.returncode:
            raise Failed(f"{' '.join(command)} ended with {result.returncode}")
        return result.stdout.decode()

    def fifo(self):
        path = self.path / "stamp"
        if not path.exists():
            os.mkfifo(path)
        return path


class Crowd:
    """Idle processes with some descriptors each, while it lasts."""

    DESCRIPTORS = 10
    BYTES = 256 * 1024  # more than the kernel takes for one
    SPARE = 2000        # pids that are left to others

    def __init__(self, place, n):
        self.process = place.start([place.tool("crowd"), n, self.DESCRIPTORS], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
        ready, _, _ = select.select([self.process.stdout], [], [], 60)
        if not ready or self.process.stdout.readline() != b"ready\n":
            self.__exit__()
            raise Failed(f"{n} processes cannot be had")

    @classmethod
    def has_room(cls, n):
        tasks = int(Path("/proc/loadavg").read_text().split()[3].split("/")[1])
        limit = min(int(Path(f"/proc/sys/kernel/{name}").read_text()) for name in ("pid_max", "threads-max"))
        free = next(int(line.split()[1]) * 1024 for line in Path("/proc/meminfo").read_text().splitlines()
                    if line.startswith("MemAvailable:"))
        return tasks + n + cls.SPARE < limit and 2 * n * cls.BYTES < free

    def pids(self):
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


class Stamp:
    """Reads the moments that bench-now writes."""

    def __init__(self, place, deadline=DEADLINE):
        self.fd = os.open(place.fifo(), os.O_RDWR | os.O_CLOEXEC)
        self.deadline = deadline

    def read(self):
        ready, _, _ = select.select([self.fd], [], [], self.deadline)
        if not ready:
            raise Failed("the command did not start")
        return struct.unpack("q", os.read(self.fd, 8))[0]

    def close(self):
        os.close(self.fd)


def start_redis(place):
    """A redis-server that keeps nothing, with what canhazgpu would keep there. Returns its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place.start(["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                 "--dir", place.directory("redis")])

    def answers():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    wait_until(answers, "redis-server answers")
    place.output([place.tool("canhazgpu"), port, "prepare"])
    return port


def start_spooler(place, slots=4):
    """A task spooler that runs so many jobs at once. Returns the words in front of a command."""
    directory = place.directory("tsp")
    variables = {"TS_SOCKET": str(directory / "socket"), "TMPDIR": str(directory)}
    environment = {**os.environ, **variables}
    subprocess.run(["tsp", "-S", str(slots)], env=environment, check=True, timeout=DEADLINE, stdin=subprocess.DEVNULL)
    place.endings.append((["tsp", "-K"], environment))
    os.environ.update(variables)  # for commands that bench-spawn starts
    return ["tsp", "-n"]


def allow_files(n):
    """Raises the limit of open files, also for what is started from now on. Returns what it became."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(n, soft), max(n, hard)))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
