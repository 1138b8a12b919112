# SPDX-License-Identifier: MIT
"""A dibsd with the bridge to gpu_lock, and processes that use the old package."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

from harness import demote, read_line, wait_exit
from jobs import acting_as

OLD = Path(__file__).with_name("old_gpu_lock.py")


class Old:
    """A process that uses the old package."""

    def __init__(self, directory, user, generation="second", gpus=8):
        self.process = subprocess.Popen(
            [sys.executable, "-B", "-c", OLD.read_text(), str(directory), generation, str(gpus)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, preexec_fn=demote(user), bufsize=0, cwd="/")

    def send(self, line):
        self.process.stdin.write(f"{line}\n".encode())

    def answer(self):
        return read_line(self.process.stdout).rstrip("\n")

    def ask(self, line):
        self.send(line)
        return self.answer()

    def close(self):
        self.process.kill()
        wait_exit(self.process)
        self.process.stdin.close()
        self.process.stdout.close()


class LockSite:
    def __init__(self, make_daemon, directory, sim="8xA100-80G", config="", **options):
        self.directory = directory
        self.daemon = make_daemon(sim=sim, config=f"[gpu-lock]\ndirectory = {directory}\n{config}", **options)
        self.olds = []

    def old(self, user, generation="second", gpus=8):
        self.olds.append(Old(self.directory, user, generation, gpus))
        return self.olds[-1]

    def lock(self, gpu):
        """The lock file of a GPU; None if there is none."""
        with contextlib.suppress(FileNotFoundError):
            return json.loads((self.directory / f"gpu_{gpu}.json").read_text())
        return None

    def others(self):
        """What is in the directory beside lock files."""
        return [path.name for path in self.directory.iterdir() if not path.name.startswith("gpu_")]

    def hold(self, user, **parameters):
        """A reply to Request."""
        with acting_as(user), self.daemon.varlink() as link:
            return link.call("org.dibs.Request", {"kind": "hold", "wait_us": 0, **parameters})

    def close(self):
        for old in self.olds:
            old.close()
