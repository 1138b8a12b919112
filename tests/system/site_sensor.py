# SPDX-License-Identifier: MIT
"""GPUs that a program of the site tells ([sensor] exec): a test says what it tells, sample by sample."""

import json
import os

# A list instead of a number is a figure that changes: one value a sample, from the beginning again at its end.
# It is a little slower than the sensor, so that each line counts.
PROGRAM = """#!/usr/bin/python3
import itertools, json, time
for tick in itertools.count():
    with open({state!r}) as file:
        told = json.load(file)
    for gpu in told.get("gpus", []):
        for key in ("utilization", "memory_used_mib"):
            if isinstance(gpu[key], list):
                gpu[key] = gpu[key][tick % len(gpu[key])]
    print(json.dumps(told), flush=True)
    time.sleep(1.05)
"""


class SiteSensor:
    def __init__(self, directory, count):
        self.state = directory / "told"
        self.program = directory / "site-sensor"
        self.program.write_text(PROGRAM.format(state=str(self.state)))
        self.program.chmod(0o755)
        self.gpus = [{"uuid": f"SITE-{n}", "model": "Abacus", "pci": f"0000:{n + 1:02x}:00.0", "vendor": "amd",
                      "index": n, "minor": n, "memory_mib": 1024, "memory_used_mib": 0, "utilization": 0,
                      "temperature_c": 30, "power_w": 10, "links": ["system"] * n + ["internal"]
                      + ["system"] * (count - n - 1), "processes": []} for n in range(count)]
        self.write()

    @property
    def config(self):
        return f"[sensor]\nexec = {self.program}\n"

    def write(self, told=None):
        """From the next sample on, the GPUs are told as they are now, or something else is."""
        draft = self.state.with_name("draft")
        draft.write_text(json.dumps(told or {"gpus": self.gpus}))
        draft.chmod(0o644)
        os.rename(draft, self.state)

    def tell(self, gpu, **values):
        self.gpus[gpu].update(values)
        self.write()


class Device:
    """A character device that really opens, and that nobody else on the machine has open: the end of a pty."""

    def __init__(self):
        self.master, end = os.openpty()
        self.path = os.ttyname(end)
        st = os.fstat(end)
        os.fchmod(end, 0o666)
        os.close(end)
        self.major = os.major(st.st_rdev)
        self.node = f"{self.major}:{os.minor(st.st_rdev)}"

    def close(self):
        os.close(self.master)

