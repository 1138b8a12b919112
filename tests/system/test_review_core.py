# SPDX-License-Identifier: MIT
"""Interleavings that could bring the daemon down, hang it, or set GPUs free too early."""

import os
import signal
from pathlib import Path


def sensor_of(daemon):
    pid = daemon.process.pid
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


def test_a_sensor_that_hangs_does_not_hang_the_daemon(make_daemon, alice):
    daemon = make_daemon(config="[sensor]\ndeadline = 2s\n").start()
    sensor = sensor_of(daemon)
    os.kill(sensor, signal.SIGSTOP)
    daemon.wait_log("silent for too long")
    daemon.wait_log("the sensor ended")
    assert daemon.reserve(user=alice)["state"] == "active"
    daemon.wait_status(lambda s: all(g["state"] != "lost" for g in s["gpus"]))
    assert daemon.drain_log().count("silent for too long") == 1
