# SPDX-License-Identifier: MIT
"""A site of Multi-GPU Scheduler on dibs: its commands, its server, and a client of its protocol that knows nothing of dibs."""

import json
import pwd
import re
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path

from harness import DEADLINE, demote, read_line, text
from jobs import acting_as

FACES = ("mgpu_srun", "mgpu_queue", "mgpu_cancel")
ID = re.compile(r"\b\d{8}\b")


def install_mgpu(build, programs):
    """The faces are links to dibs, as installed; the server is beside it."""
    for name in FACES:
        (programs["dibs"].parent / name).symlink_to("dibs")
    server = programs["dibs"].parent.parent / "mgpu" / "mgpu_scheduler_server"
    server.parent.mkdir()
    shutil.copy2(build / "src/mgpu/mgpu_scheduler_server", server)
    return {"bin": programs["dibs"].parent, "server": server}


def tidy(home):
    for path in [*home.glob(".mgpu_job_*.log"), home / ".bash_profile"]:
        path.unlink(missing_ok=True)
    for name in ("venv", "conda"):
        shutil.rmtree(home / name, ignore_errors=True)


class MgpuSite:
    """One dibsd, its users, and programs that jobs find in their PATH."""

    def __init__(self, daemon, programs):
        self.daemon, self.programs, self.servers = daemon, programs, []
        self.tools = daemon.directory / "tools"
        self.tools.mkdir()
        for name in ("python", "torchrun"):
            self.script(self.tools / name, 'echo "$(basename $0) in $PWD:" "$@"')

    def script(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def environment(self, user, extra=None):
        home = pwd.getpwnam(user or "root").pw_dir
        path = f"{self.tools}:{self.programs['bin']}:/usr/bin:/bin"
        return self.daemon.client_environment({"HOME": home, "PATH": path, **(extra or {})})

    def popen(self, line, user, env=None, **options):
        words = shlex.split(line) if isinstance(line, str) else list(map(str, line))
        process = subprocess.Popen([self.programs["bin"] / words[0], *words[1:]], env=self.environment(user, env),
                                   preexec_fn=demote(user), cwd="/", bufsize=0,
                                   **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                                      "stderr": subprocess.PIPE, **options})
        self.daemon.clients.append(process)
        return process

    def run(self, line, user, code=0, deadline=DEADLINE, **options):
        """A command line of a README to its end; returns what it printed, and what on standard error."""
        process = self.popen(line, user, **options)
        out, err = process.communicate(timeout=deadline)
        assert process.returncode == code, (line, process.returncode, out, err)
        return text(out), text(err)

    def home(self, user):
        return Path(pwd.getpwnam(user).pw_dir)

    def log(self, user, job_id):
        return self.home(user) / f".mgpu_job_{job_id}.log"

    def background(self, user, command, *options):
        """The id of a job in the background."""
        out, _ = self.run(["mgpu_srun", "--gpus", "1", "--background", *options, "--", *command], user)
        return ID.search(out)[0]

    def fill(self):
        """Nothing starts any more."""
        return self.daemon.reserve("-g", "8")["id"]

    def release(self):
        self.daemon.dibs("release")

    def serve(self, *options, **popen):
        """mgpu_scheduler_server, at a socket of this test."""
        self.socket = self.daemon.directory / "mgpu.sock"
        server = subprocess.Popen([self.programs["server"], "--socket", self.socket, "--config", self.daemon.config,
                                   *map(str, options)],
                                  env={"PATH": "/usr/bin:/bin", "DIBS_SOCKET": str(self.daemon.socket),
                                       "SECRET_OF_ROOT": "x"},
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                                  cwd="/", **popen)
        self.servers.append(server)
        assert read_line(server.stdout) == "mgpu_scheduler_server started\n"
        return server

    def close(self):
        for server in self.servers:
            if server.poll() is None:
                server.terminate()
                assert server.wait(DEADLINE) == 0, server.stderr.read()
            errors = server.stderr.read().decode()
            assert "AddressSanitizer" not in errors and "runtime error" not in errors, errors
            server.stdout.close()
            server.stderr.close()


class OldClient:
    """The protocol as the tool's own programs speak it: one JSON value each way, received with recv(4096)."""

    def __init__(self, site, user):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE)
        with acting_as(user):
            self.socket.connect(str(site.socket))

    def send(self, request):
        self.socket.sendall(request if isinstance(request, bytes) else json.dumps(request).encode())

    def receive(self):
        """As srun does, which takes what comes at once for the whole."""
        return json.loads(self.socket.recv(4096).decode())

    def receive_all(self):
        data = b""
        while piece := self.socket.recv(4096):
            data += piece
        return json.loads(data)

    def messages(self):
        buffer = ""
        while data := self.socket.recv(4096):
            buffer += data.decode("utf-8", errors="ignore")
            while "\n" in buffer:
                line, buffer = buffer.split("\n", 1)
                if line.strip():
                    yield json.loads(line)
        assert not buffer

    def output(self):
        """What a job printed, and its exit code."""
        shown = ""
        for message in self.messages():
            if message["type"] == "completion":
                return shown, message["exit_code"]
            shown += message["data"]
        raise AssertionError(f"no completion: {shown!r}")

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def ask(site, user, request):
    with OldClient(site, user) as client:
        client.send(request)
        return client.receive_all()


def submit(site, user, cmdline, **more):
    return ask(site, user, {"cmd": "submit", "user": user, "gpus": 1, "cmdline": cmdline, **more})


def children(site):
    pid = site.servers[0].pid
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def wait_no_children(site):
    """Processes of clients end by themselves; dibsd is asked meanwhile, which gives them time."""
    end = time.monotonic() + DEADLINE
    while children(site):
        assert time.monotonic() < end, "processes of clients stay"
        site.daemon.status()
