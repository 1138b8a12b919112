# SPDX-License-Identifier: MIT
"""Batch jobs over raw Varlink: what users hand in, wait for and look at."""

import contextlib
import os
import pwd
import select
import time
from pathlib import Path

from harness import DEADLINE, Varlink, read_line

SECOND = 1_000_000
QUICK = "[jobs]\npam-service = none\nretry-delay = 0s\n[lease]\nkill-grace = 1s\n"


@contextlib.contextmanager
def acting_as(user):
    """For the kernel we are user meanwhile: who connects, who makes a file."""
    if user is None:
        yield
        return
    entry = pwd.getpwnam(user)
    os.setegid(entry.pw_gid)
    os.seteuid(entry.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


class Fifo:
    """Jobs write lines into it; or they wait at it ("read x <PATH", ": <PATH") until it is opened."""

    def __init__(self, path, user):
        self.path, self.file = path, None
        os.mkfifo(path)
        path.chmod(0o666)

    def open(self):
        self.file = self.file or open(self.path, "r+b", buffering=0)
        return self

    def line(self, deadline=DEADLINE):
        return read_line(self.file, deadline).rstrip("\n")

    def is_silent(self):
        return not select.select([self.file], [], [], 0)[0]

    def close(self):
        if self.file:
            self.file.close()


class Jobs:
    """The jobs of some users of one daemon, each with a directory of its own. Lives longer than the daemon does."""

    def __init__(self, daemon):
        self.daemon, self.links, self.homes, self.fifos = daemon, {}, {}, []

    def link(self, user):
        """A connection of that user, made anew if the daemon went away."""
        if user not in self.links:
            with acting_as(user):
                self.links[user] = Varlink(self.daemon.socket)
        return self.links[user]

    def hang_up(self):
        for link in self.links.values():
            link.close()
        self.links = {}

    def call(self, user, method, parameters=None):
        """A reply, also if it is an error."""
        try:
            reply = self.link(user).call(f"org.dibs.{method}", parameters)
        except (BrokenPipeError, ConnectionResetError):
            reply = None
        if reply is None:  # that daemon is gone
            self.links.pop(user).close()
            reply = self.link(user).call(f"org.dibs.{method}", parameters)
        assert reply, f"dibsd hung up on {method}"
        return reply

    def demand(self, user, method, parameters=None):
        """What was asked for, or a failed test."""
        reply = self.call(user, method, parameters)
        assert "error" not in reply, reply
        return reply["parameters"]

    def refusal(self, user, method, parameters=None):
        """The stable id of the refusal."""
        reply = self.call(user, method, parameters)
        assert "error" in reply, reply
        return reply["parameters"]["id"]

    def home(self, user):
        """Where the jobs of that user start."""
        if user not in self.homes:
            path = self.daemon.directory / f"home-{user}"
            path.mkdir()
            entry = pwd.getpwnam(user or "root")
            os.chown(path, entry.pw_uid, entry.pw_gid)
            self.homes[user] = path
        return self.homes[user]

    def order(self, user, command, **parameters):
        """The parameters of Submit."""
        arguments = ["/bin/sh", "-c", command] if isinstance(command, str) else [str(c) for c in command]
        return {"arguments": arguments, "directory": str(self.home(user)), "environment": ["PATH=/usr/bin:/bin"],
                "venv": "", **parameters}

    def submit(self, user, command, **parameters):
        """The number of the job."""
        return self.demand(user, "Submit", self.order(user, command, **parameters))["lease"]["id"]

    def submit_refused(self, user, command, **parameters):
        return self.refusal(user, "Submit", self.order(user, command, **parameters))

    def control(self, user, action, *ids, **parameters):
        ids = [str(i) for i in ids]
        return self.demand(user, "ControlJobs", {"action": action, "ids": ids, **parameters})["leases"]

    def control_refused(self, user, action, *ids, **parameters):
        return self.refusal(user, "ControlJobs", {"action": action, "ids": [str(i) for i in ids], **parameters})

    def wait(self, *ids, deadline=DEADLINE):
        """The leases of these when they have ended, in the order of ids ("42", "42.7")."""
        found = {}
        with Varlink(self.daemon.socket, timeout=deadline) as link:
            link.send("org.dibs.WaitJobs", {"ids": [str(i) for i in ids]}, more=True)
            while True:
                reply = link.receive()
                assert reply and "error" not in reply, reply
                lease = reply["parameters"]["lease"]
                found[str(lease["id"])] = lease
                if lease["job"] and lease["job"]["array"] is not None:
                    found[f"{lease['job']['array']}.{lease['job']['index']}"] = lease
                if not reply.get("continues"):
                    break
        return [found[str(i)] for i in ids]

    def wait_one(self, number, deadline=DEADLINE):
        return self.wait(number, deadline=deadline)[0]

    def run(self, user, command, deadline=DEADLINE, **parameters):
        """Submits and waits: the ended lease."""
        return self.wait_one(self.submit(user, command, **parameters), deadline)

    def show(self, number, index=None):
        parameters = {"id": number} if index is None else {"id": number, "index": index}
        return self.demand(None, "Show", parameters)

    def lease(self, number, index=None):
        return self.show(number, index)["lease"]

    def events(self, number):
        return [(event["kind"], event["detail"]) for event in self.show(number)["events"]]

    def wait_state(self, number, state):
        return self.daemon.wait_leases(1, id=number, state=state)[0]

    def fifo(self, user, name):
        path = self.home(user) / name
        fifo = Fifo(path, user)
        self.fifos.append(fifo)
        return fifo

    def up(self, user, name="up"):
        """A FIFO that jobs can write lines to at once."""
        return self.fifo(user, name).open()

    def lines(self, user, name):
        path = self.home(user) / name
        return path.read_text().splitlines() if path.exists() else []

    def started(self, user):
        """DIBS_JOB of what was granted, in the order of the journal: the first attempt of each job of that user."""
        with self.daemon.database() as db:
            rows = db.execute("SELECT e.lease FROM event e JOIN lease l ON l.id = e.lease WHERE e.kind = 'granted'"
                              " AND l.uid = ? ORDER BY e.id", (pwd.getpwnam(user).pw_uid,)).fetchall()
        return list(dict.fromkeys(row[0] for row in rows))

    # What is left behind

    def records(self):
        return sorted(path.name for path in (self.daemon.state / "jobs").iterdir())

    def cgroups(self):
        root = self.daemon.cgroup_root
        return sorted(path.name for path in root.glob("lease-*")) if root else []

    def zombies(self):
        """Children of the daemon that it has not reaped."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rsplit(")", 1)[1].split()
                if fields[0] == "Z" and int(fields[1]) == self.daemon.process.pid:
                    found.append(int(path.parent.name))
        return found

    def left_behind(self):
        with self.daemon.database() as db:
            specs = [row[0] for row in db.execute("SELECT lease FROM spec")]
            holders = db.execute("SELECT * FROM holder").fetchall()
        return {k: v for k, v in {"records": self.records(), "cgroups": self.cgroups(), "specs": specs,
                                  "holders": holders, "zombies": self.zombies()}.items() if v}

    def wait_nothing_left(self, deadline=DEADLINE):
        """The daemon is asked again and again, which lets it see to its events."""
        end = time.monotonic() + deadline
        while left := self.left_behind():
            assert time.monotonic() < end, f"left behind: {left}"
            self.demand(None, "GetStatus")

    def close(self):
        self.hang_up()
        for fifo in self.fifos:
            fifo.close()
