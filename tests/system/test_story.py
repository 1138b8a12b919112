# SPDX-License-Identifier: MIT
"""The story of README.md, section "Jobs", played as it is told: the same commands, the same answers."""

import re
import shlex
import subprocess
import time
from pathlib import Path

from harness import DEADLINE, demote

README = Path(__file__).parents[2] / "README.md"


def story():
    """(arguments of dibsd, [(user, command, answer)...])"""
    section = re.search(r"^## Jobs\n(.*?)^## ", README.read_text(), re.M | re.S)[1]
    lines = [line[4:] for line in section.split("**Play it**")[1].splitlines() if line.startswith("    ")]
    steps = []
    for line in lines:
        said = re.match(r"(alice|bob)\$ (.*)", line)
        if said:
            steps.append([said[1], said[2], ""])
        elif steps:
            steps[-1][2] += line + "\n"
    start = next(line for line in lines if line.startswith("# dibsd "))
    return shlex.split(start.removeprefix("# ").removesuffix(" &")), steps


def alike(text, names):
    """Without what differs from one time to the next: who, when, for how long, and so how wide columns are."""
    for name, told in names.items():
        text = text.replace(name, told)
    text = re.sub(r"\b\d\d:\d\d\b", "TIME", text)
    text = re.sub(r"\b(\d+[dhms])+\b(?= |$)", "SPAN", text, flags=re.M)
    return [" ".join(line.split()) for line in text.splitlines()]


def is_executed(daemon, lease):
    """Has the present attempt of that job come as far as its command?"""
    record = daemon.state / "jobs" / f"{lease['id']}.{lease['job']['restarts']}"
    try:
        return "\nrunning " in record.read_text()
    except FileNotFoundError:
        return False


def wait_begun(daemon):
    """Until nothing is on its way between grant and command: people are slower than that."""
    end = time.monotonic() + DEADLINE
    with daemon.varlink() as link:
        while True:
            leases = link.call("org.dibs.GetStatus")["parameters"]["leases"]
            if all(is_executed(daemon, lease) for lease in leases if lease["state"] == "active" and lease["gpus"]):
                return
            assert time.monotonic() < end, leases


def test_the_story_of_the_readme(make_daemon, alice, bob):
    command, steps = story()
    users = {"alice": alice, "bob": bob}
    names = {alice: "alice", bob: "bob"}
    daemon = make_daemon(sim=command[command.index("--sim") + 1]).start()
    homes = {}
    for told, user in users.items():
        homes[told] = daemon.directory / told
        homes[told].mkdir(mode=0o700)
        subprocess.run(["chown", f"{user}:", homes[told]], check=True)
    path = f"{daemon.programs['dibs'].parent}:/usr/bin:/bin"
    assert len(steps) > 10
    for told, line, answer in steps:
        wait_begun(daemon)
        done = subprocess.run(["bash", "-c", line], cwd=homes[told], preexec_fn=demote(users[told]), timeout=DEADLINE,
                              env=daemon.client_environment({"PATH": path, "HOME": str(homes[told])}), text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert alike(done.stdout, names) == alike(answer, names), line
    assert not daemon.leases()
