# SPDX-License-Identifier: MIT
"""GPUs for a daemon that was not given --sim: programs whose sensor finds the fake libnvidia-ml.so.1.

The daemon starts its sensor with an environment of its own, so a shell script in the sensor's place adds to it.
"""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

from harness import demote, install_programs, read_line


class Gpu:
    """One GPU as tests/fakes/fake-nvml-state.h describes it; lines are what else is said about it."""

    def __init__(self, number, **values):
        self.uuid = f"GPU-{number:08x}-0000-4000-8000-{number:012x}"
        self.values = {"minor": 7 - number, "name": "NVIDIA A100-SXM4-80GB", "bus": f"00000000:{number + 1:02X}:00.0",
                       "memory": "81920 512 3", "util": 0, "temp": 31, "power": 60500, **values}
        self.lines = []
        self.instances = []

    def __str__(self):
        known = [f"{key} {value}" for key, value in self.values.items() if value is not None]
        return "\n".join([f"gpu {self.uuid}", *known, *self.lines, *map(str, self.instances)])


class Instance:
    """One MIG instance of a card, whose "mig" has to be larger than number."""

    def __init__(self, number, gpu_instance, compute_instance=0, **values):
        self.uuid = f"MIG-{number:08x}-0000-5000-8000-{gpu_instance:012x}"
        self.head = f"instance {number} {self.uuid} {gpu_instance} {compute_instance}"
        self.values = {"name": "NVIDIA A100-SXM4-80GB MIG 1g.10gb", "memory": "9728 0 12", **values}

    def __str__(self):
        return "\n".join([self.head, *(f"{key} {value}" for key, value in self.values.items())])


def wait_ready(process):
    """The pid of a gpujob, once it is on its GPUs."""
    line = read_line(process.stdout)
    found = re.fullmatch(r"ready (\d+)\n", line)
    assert found, f"gpujob said {line!r}"
    return int(found[1])


def replace_sensor(programs, script):
    """Puts a shell script in the place of the sensor; returns where the real one is now."""
    sensor = programs["sensor"]
    real = sensor.with_name("real-sensor")
    if not real.exists():
        os.rename(sensor, real)
    draft = sensor.with_name("draft")
    draft.write_text(f"#!/bin/sh\n{script}\n")
    draft.chmod(0o755)
    os.rename(draft, sensor)
    return real


class FakeNvml:
    """The state of one fake library, and programs of its own for the daemon that reads it."""

    def __init__(self, directory, variant="current", gpus=2):
        self.programs = install_programs(Path(os.environ["DIBS_BUILD"]).resolve(), directory / "programs")
        self.directory = directory / "nvml"
        self.directory.mkdir()
        self.directory.chmod(0o777)  # the sensor removes the events that it took
        self.file = self.directory / "state"
        self.sysroot = directory / "sysroot"
        self.sysroot.mkdir()
        self.rules = []
        self.jobs = []
        self.gpus = [Gpu(number) for number in range(gpus)]
        self.use(variant)
        self.write()

    def use(self, variant):
        """The build of the library, or None for a machine without it."""
        environment = {"FAKE_NVML_STATE": self.file}
        if variant:
            library = self.programs["gpujob"].parent / f"nvml-{variant}"
            assert (library / "libnvidia-ml.so.1").exists(), library
            environment["LD_LIBRARY_PATH"] = library
        exports = " ".join(f"{key}={shlex.quote(str(value))}" for key, value in environment.items())
        real = self.programs["sensor"].with_name("real-sensor")
        replace_sensor(self.programs, f'export {exports}\nexec {shlex.quote(str(real))} --sysroot {shlex.quote(str(self.sysroot))} "$@"')

    def write(self):
        draft = self.directory / "draft"
        draft.write_text("\n".join(map(str, [*self.rules, *self.gpus])) + "\n")
        draft.chmod(0o644)
        os.rename(draft, self.file)

    def tree(self, path, text):
        """A file of /proc or /sys, as the sensor sees it."""
        file = self.sysroot / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def sample(self, *arguments):
        """What the sensor says first when it is asked without a daemon."""
        sensor = subprocess.Popen([self.programs["sensor"], *arguments], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, bufsize=0)
        try:
            return json.loads(read_line(sensor.stdout))
        finally:
            sensor.kill()
            sensor.wait()
            sensor.stdout.close()

    def rule(self, *words):
        """Something about all calls: return, delay or hang a function, the stride."""
        self.rules.append(" ".join(map(str, words)))
        self.write()

    def clear_rules(self):
        self.rules = []
        for gpu in self.gpus:
            gpu.lines = []
        self.write()

    def fail(self, gpu, result, function="*"):
        """From now on calls to this GPU return result."""
        gpu.lines = [f"return {function} {result}"] if result else []
        self.write()

    def unload(self):
        """rmmod nvidia."""
        self.file.unlink()

    def xid(self, gpu, number):
        draft = self.directory / "draft"
        draft.write_text(f"{gpu.uuid} {number}\n")
        os.rename(draft, f"{self.file}.xid")

    @property
    def environment(self):
        return {"FAKE_NVML_STATE": str(self.file)}

    def job(self, gpu, *arguments, user=None, memory=512):
        """A gpujob of a user, outside of dibs, that is on its GPU."""
        process = subprocess.Popen(
            [self.programs["gpujob"], "--gpu", gpu.uuid, "--memory", str(memory), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0, env={**os.environ, **self.environment},
            preexec_fn=demote(user), cwd="/")
        self.jobs.append(process)
        process.gpu_pid = wait_ready(process)
        return process

    def wait_xid_taken(self, daemon):
        """Waits, by the daemon's notifications, until the sensor has taken the pending event."""
        daemon.wait_status(lambda _: not os.path.exists(f"{self.file}.xid"))

    def close(self):
        for process in self.jobs:
            process.kill()
            process.wait()
            process.stdout.close()
