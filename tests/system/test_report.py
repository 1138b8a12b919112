# SPDX-License-Identifier: MIT
"""The account: what was held and used, to the microsecond, whatever happens to leases and daemon meanwhile."""

import contextlib
import csv
import io
import json
import sqlite3
import tempfile
import time
from pathlib import Path

import pytest
from harness import DEADLINE, uid_of
from site_sensor import SiteSensor
from test_clock import DAY, Wall
from test_idle import process_of
from test_store import fill, make_room, use_last_block

SECOND = 1_000_000
NEAR = SECOND / 2  # between a change and its commit
ROWS = 300_000


def report(daemon, by="user", since=0, until=None):
    """{key: row}, and the total as row ''."""
    with daemon.varlink() as link:
        reply = link.call("org.dibs.Report", {"since": since, "until": until or wall_us() + DAY * SECOND, "by": by})
    assert "error" not in reply, reply
    found = reply["parameters"]
    for row in [*found["rows"], found["total"]]:
        assert row["held_us"] == row["used_us"] + row["idle_us"] and row["used_us"] >= 0, row
    for figure in ("held_us", "used_us"):
        assert sum(row[figure] for row in found["rows"]) == found["total"][figure], found
    return {row["key"]: row for row in [*found["rows"], found["total"]]}


def wall_us():
    return time.time_ns() // 1000


def raw(daemon, lease_id):
    with daemon.varlink() as link:
        return link.call("org.dibs.Show", {"id": lease_id})["parameters"]["lease"]


def lasted(lease):
    return lease["ended"] - lease["since"]


def end(daemon, *lease_ids, user=None):
    daemon.dibs("release", *map(str, lease_ids), user=user)
    return [raw(daemon, lease_id) for lease_id in lease_ids]


@pytest.fixture
def site(make_daemon, base_directory):
    directory = Path(tempfile.mkdtemp(dir=base_directory))
    directory.chmod(0o755)
    site = SiteSensor(directory, 2)
    site.daemon = make_daemon(sim=None, config=site.config)
    return site


def test_sums_are_exact_and_cut_at_the_window(daemon, alice, bob):
    first = daemon.reserve("-g", "2", user=alice)["id"]
    second = daemon.reserve("-g", "3", user=bob)["id"]
    daemon.dibs("run", "--", "sleep", "0.3", user=bob)
    one, two = end(daemon, first, user=alice) + end(daemon, second, user=bob)
    with daemon.varlink() as link:
        run = next(l for l in link.call("org.dibs.History", {"limit": 9})["parameters"]["leases"] if l["kind"] == "run")
    rows = report(daemon)
    alices, bobs = str(uid_of(alice)), str(uid_of(bob))
    assert rows[alices]["held_us"] == 2 * lasted(one)
    assert rows[bobs]["held_us"] == 3 * lasted(two) + lasted(run)
    assert (rows[alices]["leases"], rows[bobs]["leases"], rows[""]["leases"]) == (1, 2, 3)

    middle = (one["since"] + one["ended"]) // 2
    assert report(daemon, until=middle)[alices]["held_us"] == 2 * (middle - one["since"])
    assert report(daemon, since=middle)[alices]["held_us"] == 2 * (one["ended"] - middle)
    assert report(daemon, since=middle)[alices]["waited_median_us"] is None
    assert report(daemon, since=middle, until=middle + 1000)[alices]["held_us"] == 2000
    assert report(daemon, since=run["ended"] + DAY * SECOND, until=run["ended"] + 2 * DAY * SECOND).keys() == {""}

    kinds = report(daemon, by="kind")
    assert kinds["run"]["held_us"] == lasted(run) and kinds["hold"]["leases"] == 2
    gpus = report(daemon, by="gpu")
    assert sum(row["leases"] for key, row in gpus.items() if key) == 6
    assert report(daemon, by="type")["A100-80G"]["held_us"] == rows[""]["held_us"]
    assert sum(row["leases"] for key, row in report(daemon, by="group").items() if key) == 3


def test_waits(daemon, alice, bob, carol):
    held = daemon.reserve("-g", "8", user=alice)["id"]
    waiting = [daemon.popen("reserve", "-g", "4", user=user) for user in (bob, carol)]
    daemon.wait_leases(2, state="waiting")
    daemon.dibs("release", str(held), user=alice)
    assert [process.wait(DEADLINE) for process in waiting] == [0, 0]
    leases = daemon.wait_leases(2, state="active")
    waits = sorted(lease["since"] - lease["submitted"] for lease in leases)
    for by in ("user", "gpu"):
        total = report(daemon, by=by)[""]
        first = raw(daemon, held)
        assert total["waited_median_us"] == waits[0]
        assert total["waited_95_us"] == waits[1]
        assert first["since"] - first["submitted"] < waits[0]


def test_running_leases_count_up_to_now(daemon, alice):
    lease = daemon.reserve("-g", "2", user=alice)
    before = wall_us()
    held = report(daemon)[str(uid_of(alice))]["held_us"]
    after = wall_us()
    since = raw(daemon, lease["id"])["since"]
    assert 2 * (before - since) - NEAR < held < 2 * (after - since) + NEAR
    time_of_report = since + held // 2
    assert report(daemon, until=time_of_report)[""]["held_us"] == held // 2 * 2


def test_what_is_given_back_or_away_counts_until_then(daemon, alice, bob):
    shrunk = daemon.reserve("--gpu", "0,1", user=alice)["id"]
    given = daemon.reserve("--gpu", "2", user=alice)["id"]
    daemon.dibs("shrink", str(shrunk), "--gpu", "1", user=alice)
    daemon.dibs("give", str(given), bob, user=alice)
    [one], [two] = end(daemon, shrunk, user=alice), end(daemon, given, user=bob)
    at = {event[0]: event[1] for event in daemon.journal("at_us", kinds=("shrunk", "given"))}
    rows = report(daemon)
    alices, bobs = rows[str(uid_of(alice))]["held_us"], rows[str(uid_of(bob))]["held_us"]
    assert abs(bobs - (two["ended"] - at["given"])) < NEAR
    assert abs(alices - lasted(one) - (at["shrunk"] - one["since"]) - (at["given"] - two["since"])) < NEAR
    gpus = [(*row,) for row in lines(daemon, "gpu, SUM(to_us - from_us)", "GROUP BY gpu, lease ORDER BY 2")]
    assert sorted(us for _, us in gpus)[-2:] == sorted([lasted(one), lasted(two)])
    assert rows[""]["leases"] == 2


def lines(daemon, columns, rest=""):
    with daemon.database() as db:
        return db.execute(f"SELECT {columns} FROM usage {rest}").fetchall()


@pytest.mark.parametrize("how", ["restart", "crash_and_restart"])
def test_a_daemon_that_ends_loses_nothing_that_was_held(daemon, alice, how):
    lease = daemon.reserve("-g", "2", user=alice)["id"]
    for _ in range(2):
        getattr(daemon, how)()
    [ended] = end(daemon, lease, user=alice)
    rows = report(daemon)
    assert rows[""]["held_us"] == 2 * lasted(ended)
    assert rows[""]["leases"] == 1
    assert rows[""]["waited_median_us"] == ended["since"] - ended["submitted"]
    assert len(lines(daemon, "id")) == (6 if how == "restart" else 2)


def test_what_expired_while_no_daemon_ran_ended_then(daemon, alice):
    lease = daemon.reserve("--duration", "1s", user=alice)["id"]
    daemon.kill()
    time.sleep(1.5)  # there is nobody who could tell
    daemon.start()
    ended = raw(daemon, lease)
    assert ended["end"] == "expired" and lasted(ended) == SECOND
    assert report(daemon)[""]["held_us"] == SECOND


@pytest.mark.parametrize("offset", [DAY, -DAY])
def test_a_clock_that_is_set_changes_no_sum(make_daemon, tmp_path, alice, offset):
    wall = Wall(tmp_path)
    daemon = make_daemon(environment=wall.environment()).start()
    lease = daemon.reserve(user=alice)["id"]
    wall.set(offset)
    daemon.wait_status(lambda s: abs(s["leases"][0]["since"] - wall_us() - offset * SECOND) < 60 * SECOND)
    [ended] = end(daemon, lease, user=alice)
    total = report(daemon, until=wall_us() + 2 * DAY * SECOND)[""]
    assert total["held_us"] == lasted(ended) < 60 * SECOND
    # Windows are of the clock as it is now.
    near = ended["since"] - 100, ended["ended"] + 100
    assert report(daemon, since=near[0], until=near[1])[""]["held_us"] == lasted(ended)


def test_what_was_used(site, alice):
    daemon = site.daemon
    with process_of(alice) as process:
        site.gpus[0].update(utilization=50, processes=[{"pid": process.pid, "memory_mib": 300}])
        site.gpus[1].update(utilization=None)
        site.write()
        daemon.start()
        lease = daemon.reserve("--force", "--gpu", "0,1", user=alice)["id"]
        deadline = time.monotonic() + DEADLINE
        while report(daemon)[""]["used_us"] < 2 * SECOND:
            assert time.monotonic() < deadline
            daemon.wait_status(lambda s: True)
            time.sleep(0.1)
        daemon.restart()  # what was used is not forgotten
        assert report(daemon)[""]["used_us"] >= 2 * SECOND
        [ended] = end(daemon, lease, user=alice)
    rows = {key: row for key, row in report(daemon, by="gpu").items() if key}
    assert rows["SITE-1"]["used_us"] == 0
    assert rows["SITE-0"]["held_us"] == rows["SITE-1"]["held_us"] == lasted(ended)
    assert 2 * SECOND <= rows["SITE-0"]["used_us"] <= lasted(ended) / 2
    assert lines(daemon, "MAX(peak_mib)") == [(300,)]


def test_a_store_that_fails_neither_loses_nor_doubles(disk_daemon, alice):
    daemon = disk_daemon.start()
    lease = daemon.reserve("-g", "2", user=alice)["id"]
    fill(daemon)
    use_last_block(daemon)
    assert daemon.dibs("release", str(lease), user=alice, code=None).returncode != 0
    assert report(daemon)[""]["leases"] == 1
    make_room(daemon)
    deadline = time.monotonic() + DEADLINE
    while daemon.dibs("release", str(lease), user=alice, code=None).returncode != 0:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert report(daemon)[""]["held_us"] == 2 * lasted(raw(daemon, lease))
    assert len(lines(daemon, "id")) == 2


def fill_account(daemon, n):
    """As many lines, of a second each, that end now; while no daemon runs."""
    with contextlib.closing(sqlite3.connect(daemon.state / "dibs.db")) as db, db:
        db.execute(
            "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?) "
            "INSERT INTO usage (lease, kind, uid, gid, gpu, model, from_us, to_us, used_us, peak_mib, waited_us, filed_us, "
            "reach_us) "
            "SELECT n, 'job', 1000 + n % 50, 100, 'GPU-' || n % 8, 'A100', ? + n, ? + n + 1000000, 500000, -1, "
            "n * 7919 % 1000003, ? + n + 1000000, 1000000 FROM number", (n, *[wall_us() - 3600 * SECOND] * 3))


@pytest.fixture
def filled(daemon):
    daemon.stop()
    fill_account(daemon, ROWS)
    return daemon.start()


def test_a_long_report_keeps_nobody_waiting(filled):
    daemon = filled
    with daemon.varlink() as asks, daemon.varlink() as other:
        asks.send("org.dibs.Report", {"since": 0, "until": wall_us(), "by": "user"})
        asks.socket.setblocking(False)
        longest = n = 0
        while True:
            begin = time.monotonic()
            assert other.call("org.dibs.GetStatus")
            longest, n = max(longest, time.monotonic() - begin), n + 1
            with contextlib.suppress(BlockingIOError):
                asks.buffer += asks.socket.recv(1 << 20)
                break
        asks.socket.settimeout(DEADLINE)
        total = asks.receive()["parameters"]["total"]
    assert total["leases"] == ROWS and total["held_us"] == ROWS * SECOND and total["used_us"] == ROWS * SECOND // 2
    waits = sorted(n * 7919 % 1000003 for n in range(1, ROWS + 1))
    assert total["waited_95_us"] == waits[(ROWS * 95 + 99) // 100 - 1]
    assert total["waited_median_us"] == (waits[ROWS // 2 - 1] + waits[ROWS // 2]) // 2
    assert n > 3 and longest < 1, (n, longest)


def test_reports_are_bounded_and_forgotten_with_their_client(filled, alice):
    daemon = filled
    parameters = {"since": 0, "until": wall_us(), "by": "gpu"}
    with contextlib.ExitStack() as stack:
        links = [stack.enter_context(daemon.varlink()) for _ in range(3)]
        for link in links:
            link.send("org.dibs.Report", parameters)
        refused = links[2].receive()
        assert refused["error"] == "org.dibs.NotFree" and refused["parameters"]["id"] == "limit.reports"
        # Somebody else's limit is their own.
        assert daemon.dibs("report", "--days", "1", "--by", "kind", user=alice, timeout=4 * DEADLINE).stdout
    with daemon.varlink() as link:
        assert link.call("org.dibs.GetStatus")
    assert report(daemon, by="gpu")[""]["leases"] == ROWS


@pytest.mark.parametrize("window, name", [
    ({"since": 5, "until": 5, "by": "user"}, "org.dibs.Invalid"),
    ({"since": 6, "until": 5, "by": "user"}, "org.dibs.Invalid"),
    ({"since": -1, "until": 5, "by": "user"}, "org.varlink.service.InvalidParameter"),
    ({"since": 0, "until": (1 << 63) - 1, "by": "user"}, "org.varlink.service.InvalidParameter"),
    ({"since": 0, "until": 5, "by": "lease"}, "org.varlink.service.InvalidParameter"),
    ({"since": 0, "until": 5}, "org.varlink.service.InvalidParameter"),
])
def test_nonsense_is_refused(daemon, window, name):
    with daemon.varlink() as link:
        assert link.call("org.dibs.Report", window)["error"] == name


def test_the_command(daemon, alice, bob):
    held = daemon.reserve("-g", "2", user=alice)["id"]
    daemon.reserve(user=bob)
    end(daemon, held, user=alice)
    text = daemon.dibs("report", user=bob).stdout
    assert alice in text and bob in text and "total" in text and "8 GPUs, 5760.0 GPU-hours" in text
    assert "top holders of idle GPUs: " in text
    told = json.loads(daemon.dibs("report", "--json", "--since", "1h").stdout)
    assert {row["name"] for row in told["rows"]} == {alice, bob} and told["by"] == "user" and told["gpus"] == 8
    assert told["capacity_us"] == 8 * 3600 * SECOND
    sheet = list(csv.DictReader(io.StringIO(daemon.dibs("report", "--csv", "--by", "gpu").stdout)))
    assert {row["gpu"] for row in sheet} == {"GPU 0", "GPU 1", "GPU 2"}
    for by in ("group", "type", "kind"):
        assert "total" in daemon.dibs("report", "--by", by, "--days", "7").stdout
    for wrong in (["--by", "age"], ["--days", "0"], ["--days", "3", "--since", "1d"], ["--since", "tomorrow"],
                  ["--since", "nonsense"], ["--json", "--csv"], ["--since", "1h", "--until", "2h"]):
        assert daemon.dibs("report", *wrong, code=2).stderr.startswith("dibs: "), wrong


def test_a_job_that_is_queued_anew_waits_in_between(daemon, alice, bob):
    told = daemon.dibs("submit", "--json", "-g", "8", "--chdir", "/tmp", "--output", "/dev/null", "--", "sleep", "1000",
                       user=alice).stdout
    job = json.loads(told)["id"]
    daemon.wait_leases(1, id=job, state="active")
    other = daemon.popen("reserve", user=bob)
    daemon.wait_leases(1, state="waiting")
    daemon.dibs("requeue", str(job), user=alice)
    assert other.wait(DEADLINE) == 0
    daemon.wait_leases(1, id=job, state="waiting")
    held = report(daemon)[str(uid_of(alice))]
    first = raw(daemon, job)["job"]
    assert first["held_us"] == held["held_us"] > 0 and held["leases"] == 1
    daemon.dibs("release", "--all", user=bob)
    daemon.wait_leases(1, id=job, state="active")
    daemon.dibs("cancel", str(job), user=alice)
    daemon.wait_leases(0)
    ended = raw(daemon, job)
    row = report(daemon)[str(uid_of(alice))]
    assert row["held_us"] == held["held_us"] + 8 * lasted(ended) == ended["job"]["held_us"]
    assert row["leases"] == 1 and row["waited_median_us"] == held["waited_median_us"]
