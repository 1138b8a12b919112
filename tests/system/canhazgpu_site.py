# SPDX-License-Identifier: MIT
"""canhazgpu for users of a daemon, with an empty home and programs that say how they were called."""

import json
import os
import re
import subprocess

from harness import DEADLINE, demote

# What README.md and docs/*.md of the original name besides.
PROGRAMS = ["python", "vllm", "codex"]
STUB = '#!/bin/sh\necho "ran ${0##*/} $* on $CUDA_VISIBLE_DEVICES"\n'


def install_stubs(path):
    path.mkdir()
    for name in PROGRAMS:
        (path / name).write_text(STUB)
        (path / name).chmod(0o755)
    return path


class Face:
    """canhazgpu for users of a daemon."""

    def __init__(self, daemon, stubs, home):
        self.daemon, self.path, self.home = daemon, f"{stubs}:{os.environ['PATH']}", home

    def environment(self, env=None):
        base = {"PATH": self.path, "HOME": str(self.home), "LC_ALL": "C.UTF-8", "TZ": "UTC", "TERM": "xterm"}
        return {**base, **(env or {})}

    def __call__(self, *arguments, user, env=None, program="canhazgpu", **options):
        return self.daemon.dibs(*arguments, user=user, env=self.environment(env), program=program, **options)

    def popen(self, *arguments, user, env=None, **options):
        return self.daemon.popen(*arguments, user=user, env=self.environment(env), program="canhazgpu", **options)

    def status(self, *arguments, user=None, **options):
        return json.loads(self("status", "--json", *arguments, user=user, **options).stdout)

    def states(self):
        return [gpu["status"] for gpu in self.status()]

    def wait_waiting(self, n):
        return self.daemon.wait_leases(n, state="waiting")

    def shell(self, script, user):
        path = f"{self.daemon.programs['dibs'].parent}:{self.path}"
        return subprocess.run(["bash", "-c", script], env=self.daemon.client_environment(self.environment({"PATH": path})),
                              cwd="/", preexec_fn=demote(user), stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=DEADLINE, text=True)


def plain(text):
    """Without what differs each time."""
    text = re.sub(r"\d+h \d+m \d+s", "<D>", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+[+-]\d\d:\d\d", "<T>", text)
    return re.sub(r"\d{4}-\d\d-\d\d", "<DAY>", text)
