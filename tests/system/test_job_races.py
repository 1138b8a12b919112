# SPDX-License-Identifier: MIT
"""Jobs at moments that are hard to hit: answers that cross, commits that fail, daemons that die half way."""

import contextlib
import socket

import pytest
from jobs import QUICK, Jobs


@pytest.fixture
def make_jobs(make_daemon):
    made = []

    def make(config=QUICK, **options):
        jobs = Jobs(make_daemon(config=config, **options).start())
        made.append(jobs)
        return jobs

    yield make
    for jobs in made:
        jobs.close()


@pytest.fixture
def jobs(make_jobs):
    return make_jobs()


def ask_together(daemon, asks):
    """Calls of several connections that are handled in one round of the loop; the connections."""
    links = [daemon.varlink() for _ in asks]
    daemon.process.send_signal(19)
    for link, (method, parameters) in zip(links, asks):
        link.send(f"org.dibs.{method}", parameters, more=method == "WaitJobs")
    daemon.process.send_signal(18)
    return links


def answers(link):
    """All of one call."""
    found = []
    while True:
        reply = link.receive()
        assert reply, found
        found.append(reply)
        if not reply.get("continues"):
            return found


# WaitJobs


def test_who_does_not_read_answers_does_no_harm(jobs, alice):
    """Security: the first of several answers to one call finds the connection shut."""
    numbers = [jobs.submit(alice, "true") for _ in range(3)]
    jobs.wait(*numbers)
    for _ in range(3):
        with jobs.daemon.varlink() as link:
            link.socket.shutdown(socket.SHUT_RD)
            link.send("org.dibs.WaitJobs", {"ids": [str(n) for n in numbers]}, more=True)
            jobs.demand(None, "GetStatus")
    jobs.daemon.stop()


def test_answers_come_in_order_and_the_last_is_the_last(jobs, alice):
    """One job has ended, the other ends in the commit that answers."""
    ended = jobs.submit(alice, "true")
    jobs.wait_one(ended)
    for _ in range(10):
        blocker = jobs.demand(None, "Submit", jobs.order(None, "true", held=True))["lease"]["id"]
        links = ask_together(jobs.daemon, [("WaitJobs", {"ids": [str(ended), str(blocker)]}),
                                           ("ControlJobs", {"action": "cancel", "ids": [str(blocker)]})])
        found = answers(links[0])
        assert [r["parameters"]["lease"]["id"] for r in found] == [ended, blocker]
        for link in links:
            link.close()
