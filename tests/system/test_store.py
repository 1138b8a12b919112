# SPDX-License-Identifier: MIT
"""A database that cannot be written, has no room, or is damaged: nothing is promised, nothing is lost."""

import os
import subprocess
import time

import pytest
from harness import DEADLINE, read_line, wait_exit

SECOND = 1_000_000


def fill(daemon):
    with open(daemon.state / "filler", "wb", buffering=0) as file:
        with pytest.raises(OSError):
            while True:
                file.write(b"\0" * 4096)


def use_last_block(daemon):
    """Small commits still fit into the last block of the daemon's file."""
    with daemon.varlink() as link:
        for number in range(9):
            reply = link.call("org.dibs.Drain", {"gpu": "7", "reason": str(number)})
            if "error" in reply:
                return
    raise AssertionError("the disk is not full")


def make_room(daemon):
    (daemon.state / "filler").unlink()


def refuses_to_start(daemon, code=1):
    """Returns what it says about that."""
    daemon.spawn()
    _, log = daemon.process.communicate(timeout=DEADLINE)
    assert daemon.process.returncode == code, log
    assert "Sanitizer" not in log.decode(), log
    return log.decode()


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file() and path.name != "lock"}


def short_hold(daemon, seconds):
    with daemon.varlink() as link:
        reply = link.call("org.dibs.Request", {"kind": "hold", "duration_us": int(seconds * SECOND)})
    return reply["parameters"]["lease"]


def test_with_a_full_disk_nothing_is_granted_or_changed_but_all_can_be_seen(disk_daemon, alice, bob):
    daemon = disk_daemon.start()
    kept = daemon.reserve("-g", "2", user=alice)
    daemon.dibs("admin", "drain", "7", "--reason", "first")
    fill(daemon)
    use_last_block(daemon)
    for command in (["reserve", "--no-wait"], ["reserve"], ["run", "--", "true"], ["release", kept["id"]],
                    ["extend", kept["id"], "1h"]):
        said = daemon.dibs(*command, user=alice, code=1).stderr
        assert "disk is full" in said and str(daemon.state) in said, said
    assert "disk is full" in daemon.dibs("admin", "drain", "7", "--reason", "x", code=1).stderr

    status = daemon.status()
    assert [lease["id"] for lease in status["leases"]] == [kept["id"]]
    assert status["leases"][0]["until"] == kept["until"]
    assert [gpu["state"] for gpu in status["gpus"]].count("free") == 5

    make_room(daemon)
    assert daemon.reserve("--no-wait", user=bob)["id"] > kept["id"]
    daemon.dibs("release", kept["id"], user=alice)
    daemon.crash_and_restart()
    assert [lease["user"] for lease in daemon.status()["leases"]] == [bob]


@pytest.mark.parametrize("found_by", ["the daemon", "a request"])
def test_what_happened_while_the_disk_was_full_is_recorded_when_there_is_room(disk_daemon, alice, bob, found_by):
    daemon = disk_daemon.start()
    run = daemon.popen("run", "-g", "1", "--", "sh", "-c", "echo $DIBS_LEASE; exec cat", user=alice, stdin=-1)
    number = int(read_line(run.stdout))
    blocker = daemon.reserve("-g", "6")
    patient = daemon.popen("reserve", "-g", "7", user=bob)
    impatient = daemon.popen("reserve", "-g", "7", user=bob)
    daemon.wait_leases(2, state="waiting")
    hold = short_hold(daemon, 0.3)
    fill(daemon)
    run.stdin.close()
    run.stdin = None
    wait_exit(run)
    impatient.kill()
    daemon.wait_log("disk is full")
    time.sleep(max(0, hold["until"] / SECOND - time.time()))
    assert {lease["id"] for lease in daemon.status()["leases"]} >= {number, hold["id"], blocker["id"]}

    make_room(daemon)
    if found_by == "a request":
        daemon.dibs("admin", "undrain", "0")
    daemon.wait_leases(0, id=number)
    daemon.wait_leases(0, id=hold["id"])
    daemon.wait_leases(1, state="waiting")
    assert daemon.lease(number)["events"][-1]["detail"] == "exited"
    with daemon.varlink() as link:
        ended = link.call("org.dibs.Show", {"id": hold["id"]})["parameters"]["lease"]
    assert ended["end"] == "expired" and abs(ended["ended"] - hold["until"]) < SECOND / 10
    daemon.dibs("release", blocker["id"])
    assert "export" in read_line(patient.stdout) + read_line(patient.stdout)
    assert len(daemon.wait_leases(1, state="active")[0]["gpus"]) == 7


def test_a_full_disk_at_start_leaves_everything_as_it_is(disk_daemon, alice):
    daemon = disk_daemon.start()
    kept = daemon.reserve("-g", "2", user=alice)
    daemon.kill()
    fill(daemon)
    daemon.start()
    for _ in range(9):  # what it notes at a start may still fit into the last block of its file
        daemon.status()
        if "disk is full" in daemon.drain_log():
            break
        daemon.crash_and_restart()
    assert "disk is full" in "".join(daemon.log)
    assert [lease["id"] for lease in daemon.status()["leases"]] == [kept["id"]]
    daemon.dibs("reserve", "--no-wait", user=alice, code=1)
    daemon.kill()
    make_room(daemon)
    daemon.start()
    assert [lease["id"] for lease in daemon.status()["leases"]] == [kept["id"]]
    daemon.reserve("-g", "6", "--no-wait", user=alice)


def test_a_read_only_disk_is_refused_at_start(disk_daemon):
    daemon = disk_daemon.start()
    kept = daemon.reserve("-g", "2")
    daemon.stop()
    subprocess.run(["mount", "-o", "remount,ro", daemon.state], check=True)
    said = refuses_to_start(daemon)
    assert "Read-only file system" in said and str(daemon.state) in said, said
    subprocess.run(["mount", "-o", "remount,rw", daemon.state], check=True)
    daemon.start()
    assert [lease["id"] for lease in daemon.status()["leases"]] == [kept["id"]]


def test_a_database_that_the_daemon_may_not_write_is_refused_at_start(make_daemon, carol):
    daemon = make_daemon(user=carol).start()
    daemon.stop()
    (daemon.state / "dibs.db").chmod(0o400)
    said = refuses_to_start(daemon)
    assert "dibs.db" in said and "Permission denied" in said, said


def overwrite(offset, data):
    def damage(path):
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(data)
    return damage


@pytest.mark.parametrize("damage", [
    pytest.param(overwrite(0, b"not a database at all"), id="header"),
    pytest.param(overwrite(4096, os.urandom(4096)), id="page"),
    pytest.param(lambda path: os.truncate(path, 0), id="empty"),
    pytest.param(lambda path: os.truncate(path, 5000), id="short"),
    pytest.param(lambda path: path.write_bytes(b"\0" * 40960), id="zeroes"),
    pytest.param(lambda path: (path.unlink(), path.mkdir()), id="directory"),
])
def test_a_damaged_database_is_refused_named_and_kept(make_daemon, damage):
    daemon = make_daemon().start()
    daemon.reserve("-g", "2")
    daemon.stop()
    database = daemon.state / "dibs.db"
    damage(database)
    if database.is_dir():
        assert str(database) in refuses_to_start(daemon) and list(database.iterdir()) == []
        return
    before = contents(daemon.state)
    for _ in range(2):
        said = refuses_to_start(daemon)
        assert str(database) in said, said
        # SQLite may make an empty -wal file where it looks for one.
        assert {"dibs.db-wal": b""} | contents(daemon.state) == {"dibs.db-wal": b""} | before


def test_a_damaged_database_with_a_journal_of_a_crash_is_kept(make_daemon):
    daemon = make_daemon().start()
    daemon.reserve("-g", "2")
    daemon.kill()
    assert (daemon.state / "dibs.db-wal").stat().st_size > 0
    overwrite(0, b"not a database at all")(daemon.state / "dibs.db")
    before = contents(daemon.state)
    assert str(daemon.state / "dibs.db") in refuses_to_start(daemon)
    assert contents(daemon.state) == before


def test_a_journal_without_its_database_is_refused_and_kept(make_daemon):
    daemon = make_daemon().start()
    daemon.reserve("-g", "2")
    daemon.kill()
    (daemon.state / "dibs.db").unlink()
    before = contents(daemon.state)
    assert "dibs.db-wal" in refuses_to_start(daemon)
    assert contents(daemon.state) == before
