# SPDX-License-Identifier: MIT
"""Containers, as their runtimes lay them out: cgroups that are named after them, and a file of docker's about each."""

import contextlib
import json
import os
import pwd
import secrets
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from harness import DEADLINE, cgroup2_mount, remove_cgroup, wait_exit
from site_sensor import SiteSensor

pytestmark = pytest.mark.skipif(cgroup2_mount() is None, reason="no cgroup v2 here")

DOCKER = Path("/var/lib/docker/containers")


class Containers:
    """Cgroups of containers, and what docker knows of these; nothing is left behind."""

    def __init__(self):
        self.parent = cgroup2_mount() / f"dibs-test-containers-{os.getpid()}-{secrets.token_hex(4)}"
        self.parent.mkdir()
        self.known = []
        self.made = [path for path in (DOCKER.parent, DOCKER) if not path.exists()]

    def docker(self, name, lease=None, parent=None):
        """The cgroup of a new container, labelled with a lease."""
        number = secrets.token_hex(32)
        labels = {"dibs.lease": str(lease)} if lease else {}
        (DOCKER / number).mkdir(mode=0o700, parents=True)
        self.known.append(DOCKER / number)
        (DOCKER / number / "config.v2.json").write_text(json.dumps({"Name": f"/{name}", "Config": {"Labels": labels}}))
        return self.cgroup(f"docker-{number}.scope", parent)

    def cgroup(self, name, parent=None):
        path = (parent or self.parent) / name
        path.mkdir(parents=True)
        return path

    def close(self):
        for path in self.known:
            shutil.rmtree(path)
        for path in reversed(self.made):
            with contextlib.suppress(OSError):  # somebody else has put something there
                path.rmdir()
        remove_cgroup(self.parent)


@pytest.fixture
def containers():
    made = Containers()
    yield made
    made.close()


@pytest.fixture
def site(base_directory, devices):
    """GPUs with a device each."""
    directory = Path(tempfile.mkdtemp(dir=base_directory))
    directory.chmod(0o755)
    made = SiteSensor(directory, len(devices))
    for gpu, device in zip(made.gpus, devices):
        gpu["nodes"] = [device.node]
    made.write()
    return made


@pytest.fixture
def daemon(make_daemon, site, devices, sessions, containers):
    """A running dibsd that denies, to root in containers too."""
    return make_daemon(sim=None, config=f"{site.config}[lease]\nkill-grace = 1s\n[guard]\nmode = deny\n"
                                        f"device-majors = {devices[0].major}\nsession-cgroups = {sessions.path}\n"
                                        f"container-cgroups = {containers.parent}\n").start()


def open_to(opener, devices):
    return [index for index, device in enumerate(devices) if opener.may_open(device.path)]


def wait_open_to(daemon, opener, devices, wanted):
    """Cgroups are told of to the daemon, which sees to that between two calls."""
    end = time.monotonic() + DEADLINE
    while open_to(opener, devices) != wanted:
        assert time.monotonic() < end
        daemon.status()


def shown(daemon, site, gpu, *openers):
    """How these processes are shown on a GPU: [(container, uid, standing, lease)]."""
    pids = [opener.pid for opener in openers]
    site.tell(gpu, processes=[{"pid": pid, "memory_mib": 10} for pid in pids])
    status = daemon.wait_status(lambda s: [p["pid"] for p in s["gpus"][gpu]["processes"]] == pids)
    return [(p["container"], p["uid"], p["standing"], p["lease"]) for p in status["gpus"][gpu]["processes"]]


def test_a_label_gives_the_gpus_of_its_lease_and_no_others(daemon, site, devices, sessions, containers, alice):
    hold = daemon.reserve("--gpu", "1", user=alice)["id"]
    trainer = sessions.opener(None, containers.docker("trainer", hold))
    other = sessions.opener(None, containers.docker("other"))
    missed = sessions.opener(None, containers.docker("missed", hold + 1))
    wait_open_to(daemon, trainer, devices, [1])
    root = sessions.opener(None, sessions.path)
    assert [open_to(o, devices) for o in (trainer, other, missed, root)] == [[1], [], [], [0, 1, 2]]
    assert shown(daemon, site, 1, trainer, other) == [
        ("docker:trainer", 0, "lease", hold), ("docker:other", 0, "anothers", None)]
    assert "in docker:other" in daemon.dibs("status").stdout
    assert shown(daemon, site, 0, trainer) == [("docker:trainer", 0, "no_lease", None)]
    # The right ends with the lease.
    daemon.dibs("release", hold, user=alice)
    assert open_to(trainer, devices) == []
    assert shown(daemon, site, 1, trainer) == [("docker:trainer", 0, "no_lease", None)]


def test_root_in_the_container_of_a_lease_is_ended_with_it(daemon, devices, sessions, containers, alice):
    hold = daemon.reserve("--gpu", "1", user=alice)["id"]
    trainer = sessions.opener(None, containers.docker("trainer", hold))
    root = sessions.opener(None, sessions.path)
    wait_open_to(daemon, trainer, devices, [1])
    assert [o.ask(f"open {devices[1].path}") for o in (trainer, root)] == ["0", "0"]
    daemon.dibs("release", hold, user=alice)
    wait_exit(trainer.process)
    daemon.wait_status(lambda s: s["gpus"][1]["state"] == "free")
    assert root.alive()


@pytest.mark.parametrize("below", ["user.slice/{name}", "{name}"])
def test_a_label_in_the_slice_of_a_user_gives_nothing(daemon, site, devices, sessions, containers, alice, bob, below):
    """Bob calls a cgroup of his own as a container of docker is called that is labelled with alice's lease."""
    hold = daemon.reserve("--gpu", "0", user=alice)["id"]
    number = containers.docker("trainer", hold).name
    cgroup = containers.cgroup(number, sessions.path / below.format(name=sessions.slice(bob).name))
    thief = sessions.opener(bob, cgroup)
    assert open_to(thief, devices) == []
    uid = pwd.getpwnam(bob).pw_uid
    assert shown(daemon, site, 0, thief) == [("docker:trainer", uid, "anothers", None)]


def test_a_service_may_be_anybodys(daemon, site, devices, sessions, containers, alice):
    """Below a service or a scope, cgroups are made by whom it was delegated to."""
    hold = daemon.reserve("--gpu", "0", user=alice)["id"]
    number = containers.docker("trainer", hold).name
    inside = sessions.opener(None, containers.cgroup(number, containers.parent / "build.service"))
    assert open_to(inside, devices) == []
    assert shown(daemon, site, 0, inside) == [("docker:trainer", 0, "anothers", None)]


def test_processes_of_a_rootless_container_are_those_of_its_user(daemon, site, sessions, containers, alice):
    uid = pwd.getpwnam(alice).pw_uid
    first = next(line.split(":")[1] for line in Path("/etc/subuid").read_text().splitlines()
                 if line.split(":")[0] in (alice, str(uid)))
    hold = daemon.reserve("--gpu", "0", user=alice)["id"]
    slices = cgroup2_mount() / "user.slice"
    made = not slices.exists()
    cgroup = containers.cgroup(f"user@{uid}.service/user.slice/libpod-{secrets.token_hex(32)}.scope/container",
                               slices / f"user-{uid}.slice")
    number = cgroup.parent.name.removeprefix("libpod-")[:12]
    try:
        inside = sessions.opener(None, cgroup, wrapper=["setpriv", f"--reuid={first}", "--clear-groups"])
        assert shown(daemon, site, 0, inside) == [(f"podman:{number}", uid, "lease", hold)]
        inside.close()
    finally:
        remove_cgroup(slices / f"user-{uid}.slice")
        if made:
            with contextlib.suppress(OSError):  # another run has a user in there
                slices.rmdir()
