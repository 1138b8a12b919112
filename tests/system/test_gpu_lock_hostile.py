# SPDX-License-Identifier: MIT
"""Users who make anything out of lock files, in the directory that is a bridge to gpu_lock."""

import grp
import json
import os
import pwd
import stat
import subprocess
import sys
import time

import pytest
from harness import DEADLINE, demote, read_line, uid_of, wait_exit
from jobs import acting_as
from stuck_fs import StuckFs


@pytest.fixture
def site(lock_site):
    return lock_site


def place_lock(site, user, gpu, text, when=None):
    """A lock file of user that is there at once, as rename(2) makes it; when: its time."""
    path = site.directory / f"{user}-{gpu}"
    with acting_as(user):
        path.write_text(text)
        if when is not None:
            os.utime(path, (when, when))
        path.rename(site.directory / f"gpu_{gpu}.json")


def test_a_time_that_no_clock_reaches(site, alice, bob):
    """ext4 goes to 2446, which is more nanoseconds than 64 bits have."""
    old = site.old(alice)
    place_lock(site, alice, 0, json.dumps({"owner": old.process.pid}), when=2**62)
    place_lock(site, alice, 1, "", when=2**62)
    place_lock(site, alice, 2, json.dumps({"owner": old.process.pid}), when=-2**31)
    site.daemon.wait_leases(2, with_process=old.process.pid)
    assert site.hold(bob, gpus=["1"])["parameters"]["lease"]["gpus"] == [1]


def test_locks_count_among_the_changes_of_an_hour(make_lock_site, alice, bob):
    """Each leaves lines in the journal, so there is an end to them; others have theirs."""
    site = make_lock_site(config="[limits]\nchanges-per-hour = 6\n")
    site.daemon.start()
    old, other = site.old(alice), site.old(bob)
    for number in range(20):
        place_lock(site, alice, 0, json.dumps({"owner": old.process.pid}))
        if number < 6:
            site.daemon.wait_leases(1)
            (site.directory / "gpu_0.json").unlink()
            site.daemon.wait_leases(0)
        else:
            end = time.monotonic() + DEADLINE
            while site.lock(0):
                assert site.daemon.status() and time.monotonic() < end
    assert len(site.daemon.journal("lease", kinds=("granted",))) == 6
    assert site.daemon.drain_log().count("more than 6 changes") == 1
    assert other.ask("lock 0") == "locked 0"
    site.daemon.wait_leases(1, with_process=other.process.pid)


def test_a_lock_file_does_not_get_a_gpu_that_is_not_to_be_had(make_lock_site, alice, bob):
    """Locked before the bridge was there: it waits until the GPU is let go."""
    site = make_lock_site()
    config = f"[gpu-lock]\ndirectory = {site.directory}\n"
    site.daemon.write_config("")
    site.daemon.start()
    site.daemon.dibs("admin", "drain", "3", "--reason", "fan")
    site.daemon.stop()
    site.directory.mkdir()
    site.directory.chmod(0o1777)
    old = site.old(alice)
    place_lock(site, alice, 3, json.dumps({"owner": old.process.pid}))
    site.daemon.write_config(config)
    site.daemon.start()
    assert site.daemon.leases() == []
    (site.directory / "gpu_3.json").touch()
    assert site.hold(bob, count=7)["parameters"]["lease"]["gpus"] == [0, 1, 2, 4, 5, 6, 7]
    assert site.daemon.leases(uid=uid_of(alice)) == []
    site.daemon.dibs("admin", "undrain", "3")
    site.daemon.wait_leases(1, with_process=old.process.pid)


def test_who_may_not_use_dibs_may_not_lock(make_lock_site, alice, bob):
    """A lock is a hold, which may open device nodes: the directory is for those for whom the socket is."""
    group = grp.getgrgid(pwd.getpwnam(bob).pw_gid).gr_name
    site = make_lock_site(config=f"[daemon]\nsocket-mode = 0660\nsocket-group = {group}\n")
    site.daemon.start()
    mode = site.directory.stat()
    assert stat.S_IMODE(mode.st_mode) == 0o1770 and mode.st_gid == pwd.getpwnam(bob).pw_gid
    assert site.old(alice).ask("lock 0").startswith("error")
    assert site.old(bob).ask("lock 0") == "locked 0"
    assert site.daemon.wait_leases(1)[0]["uid"] == uid_of(bob)


def test_a_file_lease_in_the_way_is_told_once(site, alice, bob):
    """Who opens that file waits until its lease is given up; dibsd does not, and does not fill its log."""
    name = site.directory / "gpu_0.json"
    holder = subprocess.Popen([sys.executable, "-c", f"""if True:
        import fcntl, os, signal
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        fd = os.open({str(name)!r}, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        print("up", flush=True)
        signal.pause()"""], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=demote(alice), bufsize=0)
    try:
        assert read_line(holder.stdout) == "up\n"
        for _ in range(20):
            with acting_as(alice):
                name.rename(site.directory / "gpu_1.json")
                (site.directory / "gpu_1.json").rename(name)
            assert site.hold(bob, gpus=["2"])["parameters"]["lease"]["gpus"] == [2]
            site.daemon.dibs("release", user=bob)
    finally:
        holder.kill()
        wait_exit(holder)
        holder.stdout.close()
    assert 1 <= site.daemon.drain_log().count("Resource temporarily unavailable") <= 2


def test_a_file_system_in_the_way_does_not_hold_dibsd(site, alice, bob):
    """Users can mount one of their own on what is theirs; it need not answer root."""
    entry = pwd.getpwnam(alice)
    with acting_as(alice):
        (site.directory / "gpu_0.json").mkdir()
    try:
        served = StuckFs(site.directory / "gpu_0.json", entry.pw_uid, entry.pw_gid, "allow_other")
    except OSError as e:
        pytest.skip(f"FUSE cannot be used here: {e}")
    try:
        assert site.hold(bob, gpus=["0"])["parameters"]["lease"]["gpus"] == [0]
        assert site.hold(bob, gpus=["1"])["parameters"]["lease"]["gpus"] == [1]
        site.daemon.dibs("release", user=bob)
        assert not served.kept
    finally:
        served.close()


def test_the_other_name_that_is_not_ours_is_told(make_daemon, base_directory, tmp_path, alice):
    parent = base_directory / f"taken-{tmp_path.name}"
    parent.mkdir()
    parent.chmod(0o1777)
    with acting_as(alice):
        (parent / "gpu_locks").mkdir()
        (parent / "gpu_locks/mine").touch()
    daemon = make_daemon(config=f"[gpu-lock]\ndirectory = {parent}/gpu_lock\n").start()
    assert "gpu_locks is no link" in daemon.drain_log()
