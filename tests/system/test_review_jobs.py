# SPDX-License-Identifier: MIT
"""A hostile user who hands in batch jobs: against dibsd, and through it against others."""

import signal

from jobs import QUICK

CANCELLED = "ended", "released"


def test_only_administrators_put_jobs_before_all_others(make_jobs, alice):
    jobs = make_jobs()
    assert jobs.submit_refused(alice, "true", nice=-1) == "limit.nice"
    jobs.wait_one(jobs.submit(alice, "true", nice=0))
    jobs.wait_one(jobs.submit(None, "true", nice=-1))


def test_a_job_that_is_killed_before_its_supervisor_is_known_ends(make_jobs, alice):
    jobs = make_jobs()
    numbers = [jobs.submit(alice, "sleep 1000", duration_us=1, grace_us=0) for _ in range(20)]
    assert {lease["end"] for lease in jobs.wait(*numbers)} == {"limit"}
    jobs.wait_nothing_left()


def test_a_job_that_requeues_itself_waits_between_its_attempts(make_jobs, alice):
    jobs = make_jobs(QUICK.replace("retry-delay = 0s", "retry-delay = 1h"))
    number = jobs.submit(alice, "sleep 1000", duration_us=1, grace_us=0, on_limit="requeue")
    jobs.daemon.wait_status(lambda s: any(l["id"] == number and l["state"] == "waiting" and l["job"]["restarts"] > 0
                                          for l in s["leases"]))
    lease = jobs.lease(number)
    assert lease["job"]["restarts"] == 1 and lease["job"]["begin"]
    jobs.control(alice, "cancel", number)
    jobs.wait_nothing_left()


def test_who_is_named_many_times_is_meant_once(make_jobs, alice):
    jobs = make_jobs()
    number = jobs.submit(alice, "true", held=True)
    assert len(jobs.control(alice, "hold", *[number] * 1000)) == 1
    array = jobs.submit(alice, "sleep 1000", indices="0-3")
    jobs.daemon.wait_status(lambda s: sum(l["job"]["array"] == array and l["state"] == "active" for l in s["leases"]) == 4)
    ids = [array, f"{array}.1", f"{array}.1", array]
    assert len(jobs.control(alice, "signal", *ids, signal=signal.SIGCONT)) == 5
    assert [kind for kind, _ in jobs.events(jobs.lease(array, 1)["id"])].count("signalled") == 1


def test_changes_of_jobs_are_counted_but_for_their_end(make_jobs, alice):
    jobs = make_jobs(QUICK + "[limits]\nchanges-per-hour = 5\n")
    number = jobs.submit(alice, "true", held=True, after=[str(jobs.submit(None, "true", held=True))])
    for action in ("resume", "hold", "resume", "hold"):
        jobs.control(alice, action, number)
    assert jobs.control_refused(alice, "resume", number) == "limit.changes-per-hour"
    jobs.control(alice, "cancel", number)
    lease = jobs.wait_one(number)
    assert (lease["state"], lease["end"]) == CANCELLED
