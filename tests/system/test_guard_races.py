# SPDX-License-Identifier: MIT
"""The gate while things go wrong or change: a store that fails, a sensor that forgets, a configuration that cannot be
had, processes that come back or multiply."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from harness import cgroup2_mount, small_disk, wait_exit
from site_sensor import SiteSensor

pytestmark = pytest.mark.skipif(cgroup2_mount() is None, reason="no cgroup v2 here")


@pytest.fixture
def site(base_directory, devices):
    directory = Path(tempfile.mkdtemp(dir=base_directory))
    directory.chmod(0o755)
    site = SiteSensor(directory, 2)
    for gpu, device in zip(site.gpus, devices):
        gpu["nodes"] = [device.node]
    site.write()
    return site


@pytest.fixture
def config(site, sessions, devices):
    return (f"{site.config}[guard]\nmode = deny\nsession-cgroups = {sessions.path}\n"
            f"device-majors = {devices[0].major}\n[lease]\nkill-grace = 1s\n")


@pytest.fixture
def opening(make_daemon, config):
    """A running dibsd that denies, with those GPUs."""
    return make_daemon(sim=None, config=config).start()


def told(daemon, lease, opener):
    """The lines of the journal that say that a process was to let go of a lease's GPU."""
    return [event for event in daemon.lease(lease)["events"]
            if event["kind"] == "revoked" and f"process {opener.pid} " in event["detail"]]


def test_who_let_go_once_is_asked_anew_the_next_time(opening, sessions, alice, devices):
    """A process that closed the device of its first lease is warned again when its second one ends."""
    a = sessions.opener(alice)
    first = opening.reserve("--gpu", "0", user=alice)["id"]
    assert a.ask(f"open {devices[0].path}") == "0" and a.ask("ignore SIGTERM") == "0"
    opening.dibs("release", first, user=alice)
    opening.wait_status(lambda s: len(told(opening, first, a)) == 1)
    assert a.ask("close") == "0"
    opening.wait_status(lambda s: s["gpus"][0]["state"] == "free")
    second = opening.reserve("--gpu", "0", "-d", "2s", user=alice)["id"]
    assert a.ask(f"open {devices[0].path}") == "0"
    wait_exit(a.process)  # it holds on, so after the lease and the grace
    assert [len(told(opening, lease, a)) for lease in (first, second)] == [1, 1]


def test_forking_is_no_way_to_stay(opening, sessions, alice, devices):
    """A new process each half second, and the old one ends: none of them lives for the grace of a second."""
    hold = opening.reserve("--gpu", "0", user=alice)["id"]
    a = sessions.opener(alice)
    assert a.ask(f"open {devices[0].path}") == "0" and a.ask("chain") == "0"
    opening.dibs("release", hold, user=alice)
    opening.wait_status(lambda s: s["gpus"][0]["state"] == "free", deadline=10)


def test_a_daemon_without_root_gives_gpus_back_though_it_is_to_deny(make_daemon, alice):
    """It cannot keep anybody off, and says so; but it must not wait for what it cannot see."""
    daemon = make_daemon(user=alice, config="[guard]\nmode = deny\n").start()
    assert "root" in daemon.status()["guard_problem"]
    hold = daemon.reserve("--gpu", "0", user=alice)["id"]
    daemon.dibs("release", hold, user=alice)
    daemon.wait_status(lambda s: s["gpus"][0]["state"] == "free", deadline=5)


def test_a_gate_that_cannot_be_opened_again_stays_shut(opening, sessions, alice, bob, devices):
    """After a mistake in the configuration, what was in force goes on."""
    opening.reserve("--gpu", "0", user=alice)
    a, b = sessions.opener(alice), sessions.opener(bob)
    text = opening.config.read_text()
    many = ", ".join(f"no-such-{i}" for i in range(65))
    opening.write_config(text.replace("mode = deny\n", f"mode = deny\nmethod = filter\ncontainer-cgroups = {many}\n"))
    opening.restart()
    assert opening.status()["guard_problem"]
    assert a.ask(f"open {devices[0].path}") == "0"
    assert b.ask(f"open {devices[0].path}") == "EPERM"
    opening.write_config(text)
    opening.restart()
    assert opening.status()["guard_problem"] is None


def test_a_change_that_could_not_be_stored_shuts_nobody_out(make_daemon, config, sessions, alice, devices):
    """The gate looks at the cgroups just between a release and its failing commit."""
    daemon = make_daemon(sim=None, config=config)
    with small_disk(daemon.state, 1 << 20):
        daemon.start()
        hold = daemon.reserve("--gpu", "0", user=alice)["id"]
        a = sessions.opener(alice)
        with open(daemon.state / "filler", "wb", buffering=0) as filler, pytest.raises(OSError):
            while True:
                filler.write(b"\0" * 4096)
        with daemon.varlink() as link:
            for number in range(9):
                if "error" in link.call("org.dibs.Drain", {"gpu": "1", "reason": str(number)}):
                    break
            daemon.process.send_signal(signal.SIGSTOP)
            link.send("org.dibs.AdminRelease", {"id": hold, "reason": "x"})
            (sessions.path / "another").mkdir()
            daemon.process.send_signal(signal.SIGCONT)
            assert "disk is full" in str(link.receive())
        assert daemon.lease(hold)["state"] == "active"
        assert a.ask(f"open {devices[0].path}") == "0"
        (daemon.state / "filler").unlink()
        daemon.wait_log("works again")
        assert a.ask(f"open {devices[0].path}") == "0"
        daemon.stop()
        daemon.remove_pins()


def test_a_sample_without_nodes_opens_nothing(opening, sessions, site, alice, devices):
    a = sessions.opener(alice)
    assert a.ask(f"open {devices[0].path}") == "EPERM"
    del site.gpus[0]["nodes"]
    site.tell(0, index=7)  # shows that this sample was taken
    opening.wait_status(lambda s: 7 in [g["index"] for g in s["gpus"]])
    assert a.ask(f"open {devices[0].path}") == "EPERM"
    site.tell(0, nodes=[devices[2].node])
    opening.wait_status(lambda s: [devices[2].node] in [g["nodes"] for g in s["gpus"]])
    assert a.ask(f"open {devices[0].path}") == "0" and a.ask(f"open {devices[2].path}") == "EPERM"


def test_a_gpu_that_is_away_at_a_start_is_still_revoked(opening, sessions, site, alice, bob, devices):
    """Its old user had it open all the time."""
    opening.write_config(opening.config.read_text().replace("kill-grace = 1s", "kill-grace = 1h"))
    opening.restart()
    hold = opening.reserve("--gpu", "0", user=alice)["id"]
    a = sessions.opener(alice)
    assert a.ask(f"open {devices[0].path}") == "0" and a.ask("ignore SIGTERM") == "0"
    opening.dibs("release", hold, user=alice)
    opening.wait_status(lambda s: s["gpus"][0]["state"] == "foreign")
    opening.kill()
    site.write({"gpus": [{**site.gpus[1], "links": ["internal"]}]})
    opening.start()
    site.write()
    opening.wait_status(lambda s: len(s["gpus"]) == 2 and s["gpus"][0]["state"] != "lost")
    opening.dibs("reserve", "--gpu", "0", "--no-wait", user=bob, code=4)
    assert a.ask("close") == "0"
    opening.wait_status(lambda s: s["gpus"][0]["state"] == "free")
    assert a.alive()


def test_looking_for_holders_holds_up_nobody(opening, alice):
    """A look at thousands of processes takes tens of milliseconds; whoever calls meanwhile waits for a step of it."""
    many = subprocess.Popen(["bash", "-c", "for i in {1..2000}; do sleep 1000 & done; echo; wait"],
                            stdout=subprocess.PIPE, start_new_session=True)
    assert many.stdout.readline() == b"\n"
    try:
        waited = []
        with opening.varlink() as link:
            for _ in range(9):
                hold = opening.reserve("--gpu", "0", user=alice)["id"]
                assert "error" not in link.call("org.dibs.AdminRelease", {"id": hold, "reason": "x"})
                began = time.monotonic()
                assert "error" not in link.call("org.dibs.GetStatus")
                answered = time.monotonic()
                opening.wait_status(lambda s: s["gpus"][0]["state"] == "free")
                waited.append((answered - began) / (time.monotonic() - began))
        assert sorted(waited)[4] < 0.5, waited
    finally:
        os.killpg(many.pid, signal.SIGKILL)
        many.wait()
        many.stdout.close()
