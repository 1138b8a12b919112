# SPDX-License-Identifier: MIT
"""What has ended: listed newest first, in pages, and deleted when the site says so."""

import contextlib
import json
import sqlite3

import pytest
from harness import DEADLINE
from test_clock import DAY

SECOND = 1_000_000


def page(daemon, **parameters):
    with daemon.varlink() as link:
        return link.call("org.dibs.History", parameters)


def listed(daemon, *arguments, user=None):
    return [lease["id"] for lease in json.loads(daemon.dibs("history", "--json", *arguments, user=user).stdout)]


def age(daemon, days, *lease_ids):
    """Moves what was into the past, while no daemon runs; all, or these leases."""
    us = days * DAY * SECOND
    which = f"({', '.join(map(str, lease_ids))})"
    with contextlib.closing(sqlite3.connect(daemon.state / "dibs.db")) as db, db:
        db.execute(f"UPDATE lease SET submitted_us = submitted_us - ?1, since_us = since_us - ?1, "
                   f"started_us = started_us - ?1, ended_us = ended_us - ?1 WHERE state = 'ended' AND id IN {which}", (us,))
        db.execute(f"UPDATE event SET at_us = at_us - ?1, wall_us = wall_us - ?1 WHERE lease IN {which} OR lease IS NULL", (us,))
        db.execute(f"UPDATE usage SET from_us = from_us - ?1, to_us = to_us - ?1, filed_us = filed_us - ?1 "
                   f"WHERE lease IN {which}", (us,))


def test_newest_first_and_in_pages(daemon, alice, bob):
    ids = []
    for user in [alice, bob] * 3:
        daemon.dibs("run", "--", "true", user=user)
    daemon.wait_leases(0)
    held = daemon.reserve(user=alice)["id"]
    ids = list(range(held - 1, held - 7, -1))
    assert listed(daemon, "--all") == ids
    assert listed(daemon, "--all", "--limit", "4") == ids[:4]
    assert listed(daemon, user=bob) == ids[::2] and listed(daemon, user=alice) == ids[1::2]
    assert listed(daemon, "--user", bob, user=alice) == ids[::2]
    assert listed(daemon) == [] and "no lease has ended" in daemon.dibs("history").stdout
    assert listed(daemon, "--all", "--since", "1h") == ids
    assert listed(daemon, "--all", "--since", "+1h") == []
    before, seen = None, []
    for last in (False, False, True):
        reply = page(daemon, limit=2, **({"before": before} if before else {}))["parameters"]
        seen += [lease["id"] for lease in reply["leases"]]
        assert reply["more"] is not last
        before = seen[-1]
    assert seen == ids


def test_it_says_how_they_ended(daemon, alice, bob):
    released = daemon.reserve("--gpu", "0", "--note", "for later", user=alice)["id"]
    taken = daemon.reserve("--gpu", "1", user=bob)["id"]
    short = daemon.reserve("--gpu", "2", "--duration", "1s", user=bob)["id"]
    daemon.dibs("release", str(released), user=alice)
    daemon.dibs("admin", "release", str(taken), "--reason", "needed")
    daemon.wait_leases(0)
    text = daemon.dibs("history", "--all", user=alice).stdout.splitlines()
    assert [line.split()[0] for line in text] == ["ID", str(short), str(taken), str(released)]
    assert "time over" in text[1] and "administrator" in text[2] and "given back" in text[3] and "for later" in text[3]
    assert bob in text[1] and alice in text[3]


def test_an_array_ends_as_its_elements_did(jobs, alice):
    number = jobs.submit(alice, "exit $DIBS_ARRAY_INDEX", indices="0-2")
    jobs.wait_one(number)
    lines = jobs.daemon.dibs("history", "--all").stdout.splitlines()
    assert "1 ok, 2 failed" in next(line for line in lines if line.split()[0] == str(number))


@pytest.mark.parametrize("parameters", [{}, {"limit": 0}, {"limit": 1001}, {"limit": 1, "before": 0},
                                        {"limit": 1, "uid": -1}, {"limit": 1, "since": -1}, {"limit": 1, "x": 1}])
def test_nonsense_is_refused(daemon, parameters):
    assert page(daemon, **parameters)["error"] == "org.varlink.service.InvalidParameter"


def test_wrong_usage(daemon, alice):
    for wrong in (["--limit", "0"], ["--limit", "x"], ["--since", "soon"], ["--user", "nobody-there"],
                  ["--all", "--user", alice]):
        assert daemon.dibs("history", *wrong, code=2).stderr.startswith("dibs: "), wrong


def counts(daemon, *lease_ids):
    which = f"({', '.join(map(str, lease_ids))})"
    with daemon.database() as db:
        return [db.execute(f"SELECT COUNT(*) FROM {table} WHERE {column} IN {which}").fetchone()[0]
                for table, column in (("lease", "id"), ("event", "lease"), ("usage", "lease"))]


def test_what_is_too_old_is_deleted_when_told_to(make_daemon, alice):
    daemon = make_daemon().start()
    for _ in range(3):
        daemon.dibs("run", "--", "true", user=alice)
    daemon.wait_leases(0)
    held = daemon.reserve(user=alice)["id"]
    old, young = (held - 3, held - 2), (held - 1, held)
    daemon.stop()
    age(daemon, 3, *old)
    age(daemon, 3, held)  # its journal is old, but it has not ended
    before = counts(daemon, *young)
    daemon.start()
    assert set(listed(daemon, user=alice)) == {*old, held - 1}  # the default keeps everything

    daemon.write_config("[journal]\nkeep = 2d\n")
    daemon.process.send_signal(1)
    daemon.wait_log("was read again", DEADLINE)
    deadline_status = daemon.wait_status(lambda s: listed(daemon, user=alice) == [held - 1])
    assert [lease["id"] for lease in deadline_status["leases"]] == [held]
    daemon.stop()
    assert counts(daemon, *old) == [0, 0, 0]
    after = counts(daemon, *young)
    assert after[0] == before[0] and after[1] >= before[1], (before, after)


def test_at_start_too_and_many(make_daemon, alice):
    daemon = make_daemon().start()
    daemon.dibs("run", "--", "true", user=alice)
    daemon.wait_leases(0)
    daemon.stop()
    with contextlib.closing(sqlite3.connect(daemon.state / "dibs.db")) as db, db:
        newest = db.execute("SELECT MAX(id) FROM lease").fetchone()[0]
        db.execute(
            "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 1000) "
            "INSERT INTO usage (lease, kind, uid, gid, gpu, model, from_us, to_us, used_us, peak_mib, waited_us, filed_us, "
            "reach_us) SELECT -n, 'run', 0, 0, 'GPU-0', 'A', n, n + 1, 0, -1, -1, n + 1, 1 FROM number")
        # The oldest come first, as they would have been written.
        db.execute("UPDATE usage SET id = id + 5000 WHERE lease = ?", (newest,))
    daemon.write_config("[journal]\nkeep = 1d\n")
    daemon.start()

    def left():
        with daemon.database() as db:
            return db.execute("SELECT COUNT(*) FROM usage").fetchone()[0]
    daemon.wait_status(lambda s: left() == 1)
    assert listed(daemon, user=alice) == [newest]
