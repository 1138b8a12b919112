# SPDX-License-Identifier: MIT
"""Python programs of users, with the modules of python/ in their path."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from harness import DEADLINE, demote, read_line, text

SOURCES = Path(__file__).resolve().parents[2] / "python"
PYTHON = os.environ.get("DIBS_TEST_PYTHON", "/usr/bin/python3")  # any since 3.9
# Lines come at once, and the program goes on when it is told to.
PROLOGUE = """
import os, sys, json, time, signal, threading
def say(*words): print(*words, flush=True)
def hear(): return sys.stdin.readline().strip()
"""
NAMES = ("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "DIBS_LEASE", "DIBS_GPUS")
DIBS = f"""{PROLOGUE}
import dibs, asyncio
NAMES = {NAMES}
def seen(): return {{n: os.environ[n] for n in NAMES if n in os.environ}}
"""


def install_modules(directory):
    """A copy of the modules where every test user can read them."""
    for name in ("dibs", "gpu_lock"):
        shutil.copytree(SOURCES / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [directory, *directory.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return directory


class Scripts:
    """Started as users of a daemon, each behind the same prologue; killed at the end."""

    def __init__(self, modules, daemon, prologue):
        self.modules, self.daemon, self.prologue, self.started = modules, daemon, prologue, []

    def start(self, code, user=None, env=None):
        """Runs; it is to be heard with line() and told things with tell()."""
        environment = self.daemon.client_environment({"PYTHONPATH": str(self.modules), "PYTHONDONTWRITEBYTECODE": "1",
                                                      "PYTHONWARNINGS": "error", **(env or {})})
        process = subprocess.Popen([PYTHON, "-c", self.prologue + code], env=environment, cwd="/", preexec_fn=demote(user),
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        self.started.append(process)
        return process

    def run(self, code, user=None, status=0, env=None, timeout=DEADLINE):
        """To its end; what it printed."""
        process = self.start(code, user, env)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"it did not end: {text(out)}\n{text(err)}")
        assert process.returncode == status, f"exit status {process.returncode}: {text(out)}\n{text(err)}"
        return text(out)

    def says(self, code, user=None, **options):
        """What its last line is, as JSON."""
        return json.loads(self.run(code, user, **options).splitlines()[-1])

    def close(self):
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                stream.close()


def line(process):
    """What it says next; its complaint if it ended instead."""
    said = read_line(process.stdout)
    if not said:
        raise AssertionError(f"it ended: {text(process.stderr.read())}")
    return said.rstrip("\n")


def tell(process, word="go"):
    process.stdin.write(word.encode() + b"\n")


def finish(process, status=0):
    """Waits for its end; what it still said."""
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == status, f"exit status {process.returncode}: {text(err)}"
    return text(out)
