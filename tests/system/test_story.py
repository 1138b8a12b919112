# SPDX-License-Identifier: MIT
"""The story of README.md, section "Jobs", played as it is told: the same commands, the same answers."""

import re
import shlex
import subprocess
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


def has_begun(status):
    """Nothing is on its way between the grant and the command: people are slower than that."""
    return all(lease["job"]["log"] for lease in status["leases"] if lease["state"] == "active" and lease["gpus"])


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
        daemon.wait_status(has_begun)
        done = subprocess.run(["bash", "-c", line], cwd=homes[told], preexec_fn=demote(users[told]), timeout=DEADLINE,
                              env=daemon.client_environment({"PATH": path, "HOME": str(homes[told])}), text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert alike(done.stdout, names) == alike(answer, names), line
    assert not daemon.leases()
