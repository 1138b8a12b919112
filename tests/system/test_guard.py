# SPDX-License-Identifier: MIT
"""The gate: who has no lease cannot open the device nodes of a GPU, whatever they try."""

import json
import pwd
import random
import select
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from harness import DEADLINE, cgroup2_mount, read_line, wait_exit
from sessions import OPENER
from site_sensor import SiteSensor

pytestmark = pytest.mark.skipif(cgroup2_mount() is None, reason="no cgroup v2 here")


@pytest.fixture
def guarded(make_daemon, sessions):
    """A running dibsd that denies, and the nodes of its GPUs by index."""
    daemon = make_daemon(sim="4xA100-80G", config=f"[guard]\nmode = deny\nsession-cgroups = {sessions.path}\n"
                                                  "[lease]\nkill-grace = 1s\n")
    daemon.start()
    return daemon


@pytest.fixture
def exec_sensor(base_directory, devices):
    """A sensor program that says that those are GPUs."""
    directory = Path(tempfile.mkdtemp(dir=base_directory))
    directory.chmod(0o755)
    sensor = SiteSensor(directory, 3)
    for gpu, device in zip(sensor.gpus, devices):
        gpu["nodes"] = [device.node]
    sensor.write()
    return sensor.program


@pytest.fixture
def opening(make_daemon, sessions, exec_sensor, devices):
    """A running dibsd that denies, with those GPUs."""
    daemon = make_daemon(sim=None, config=f"[sensor]\nexec = {exec_sensor}\n"
                                          f"[guard]\nmode = deny\nsession-cgroups = {sessions.path}\n"
                                          f"device-majors = {devices[0].major}\n"
                                          "[lease]\nkill-grace = 1s\n")
    daemon.start()
    return daemon


def open_to(opener, daemon):
    """Indices of the GPUs that a process can open."""
    return [index for index, path in enumerate(daemon.nodes()) if opener.may_open(path)]


def test_status_says_what_is_in_force(guarded):
    status = guarded.status()
    assert (status["guard"], status["guard_method"], status["guard_problem"]) == ("deny", "filter", None)


def test_before_during_and_after_a_lease(guarded, sessions, alice, bob):
    a, b, root = sessions.opener(alice), sessions.opener(bob), sessions.opener(None, sessions.path)
    assert open_to(a, guarded) == [] and open_to(b, guarded) == []
    hold = guarded.reserve("--gpu", "1,2", user=alice)
    assert open_to(a, guarded) == [1, 2]
    assert open_to(b, guarded) == []
    assert open_to(root, guarded) == [0, 1, 2, 3]
    guarded.dibs("release", hold["id"], user=alice)
    assert open_to(a, guarded) == []


def test_a_run_sees_its_gpus_and_not_those_of_another_lease(guarded, sessions, alice):
    guarded.reserve("--gpu", "0", user=alice)
    inside = guarded.popen("run", "--gpu", "3", "--", "/usr/bin/python3", "-c", OPENER, user=alice,
                           stdin=subprocess.PIPE)
    outside = sessions.opener(alice)
    for index, path in enumerate(guarded.nodes()):
        inside.stdin.write(f"open {path}\n".encode())
        assert read_line(inside.stdout).strip() == ("ENXIO" if index == 3 else "EPERM")
    assert open_to(outside, guarded) == [0, 3]
    inside.stdin.close()
    inside.wait(DEADLINE)
    guarded.wait_leases(1)
    assert open_to(outside, guarded) == [0]


def test_a_run_within_a_run_has_its_own(guarded, alice):
    script = ("import subprocess, sys\n"
              "def may(n):\n"
              "    try: open(sys.argv[n], 'rb')\n"
              "    except OSError as e: return e.errno == 6\n"
              "    return True\n"
              "print(may(1), may(2), flush=True)\n"
              "if sys.argv[3]: subprocess.run([sys.argv[3], 'run', '--gpu', '1', '--', sys.executable, '-c', sys.argv[4],"
              " sys.argv[1], sys.argv[2], '', ''], check=True)\n")
    dibs = guarded.programs["dibs"]
    out = guarded.dibs("run", "--gpu", "0", "--", "/usr/bin/python3", "-c", script, *guarded.nodes()[:2],
                       dibs, script, user=alice).stdout
    assert out == "True False\nFalse True\n"


def test_another_user_namespace_is_no_way_in(guarded, sessions, alice, bob):
    guarded.reserve("--gpu", "0", user=alice)
    a, b = sessions.opener(alice), sessions.opener(bob)
    assert a.ask("unshare") == "0" and b.ask("unshare") == "0"
    assert open_to(a, guarded) == [0]
    assert open_to(b, guarded) == []


def test_uids_of_rootless_containers_count_as_their_user(guarded, sessions, alice, bob):
    """Subordinate uids are nobody's by number, but live in the slice of their user."""
    guarded.reserve("--gpu", "0", user=alice)
    inside = sessions.opener(None, sessions.slice(alice), wrapper=["setpriv", "--reuid=231072", "--clear-groups"])
    outside = sessions.opener(None, sessions.slice(bob), wrapper=["setpriv", "--reuid=231072", "--clear-groups"])
    assert open_to(inside, guarded) == [0]
    assert open_to(outside, guarded) == []


def test_a_slice_that_is_made_later_is_known(guarded, sessions, alice):
    guarded.reserve("--gpu", "0", user=alice)
    inside = sessions.opener(None, sessions.slice(alice), wrapper=["setpriv", "--reuid=231072", "--clear-groups"])
    end = time.monotonic() + DEADLINE
    while open_to(inside, guarded) != [0]:  # each round asks the daemon, which lets it see to its inotify
        assert time.monotonic() < end


def test_a_daemon_is_found_by_what_it_has_open(opening, sessions, alice, devices):
    """setsid and a double fork leave terminal and parent behind, but not the descriptor."""
    hold = opening.reserve("--gpu", "0", user=alice)
    a = sessions.opener(alice)
    assert a.ask(f"open {devices[0].path}") == "0"
    daemonized = int(a.ask("fork"))
    assert a.ask("close") == "0"
    opening.dibs("release", hold["id"], user=alice)
    wait_exit(daemonized)
    opening.wait_status(lambda s: s["gpus"][0]["state"] == "free")
    assert a.alive()
    journal = [e["kind"] for e in opening.lease(hold["id"])["events"]]
    assert "revoked" in journal


def test_a_descriptor_that_was_kept_is_ended(opening, sessions, alice, bob, devices):
    hold = opening.reserve("--gpu", "0", user=alice)
    a = sessions.opener(alice)
    assert a.ask(f"open {devices[0].path}") == "0" and a.ask("ignore SIGTERM") == "0"
    opening.dibs("release", hold["id"], user=alice)
    gpu = opening.status()["gpus"][0]
    assert gpu["state"] == "foreign" and str(hold["id"]) in gpu["reason"]
    assert a.alive()
    # Nobody gets it meanwhile.
    opening.dibs("reserve", "--gpu", "0", "--no-wait", user=bob, code=4)
    b = opening.popen("reserve", "--gpu", "0", "--json", user=bob)
    wait_exit(a.process)  # after the grace of a second
    assert json.loads(b.communicate(timeout=DEADLINE)[0])["gpus"] == [0]


def test_who_lets_go_lives(opening, sessions, alice, devices):
    hold = opening.reserve("--gpu", "0", user=alice)
    a = sessions.opener(alice)
    assert a.ask(f"open {devices[0].path}") == "0" and a.ask("ignore SIGTERM") == "0"
    opening.dibs("release", hold["id"], user=alice)
    assert a.ask("close") == "0"
    opening.wait_status(lambda s: s["gpus"][0]["state"] == "free")
    assert a.alive()
    assert a.ask(f"open {devices[0].path}") == "EPERM"


def test_a_descriptor_in_other_hands_is_found(opening, sessions, alice, bob, tmp_path, devices):
    """Alice hands bob, who has no lease, what she opened."""
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents:
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(parent.stat().st_mode | 0o055)
    hold = opening.reserve("--gpu", "0", user=alice)
    a, b = sessions.opener(alice), sessions.opener(bob)
    assert a.ask(f"open {devices[0].path}") == "0"
    b.tell(f"receive {tmp_path}/socket")
    assert b.hear() == "listening"
    assert a.ask(f"send {tmp_path}/socket") == "0" and b.hear() == "0"
    assert a.ask("close") == "0"
    opening.dibs("release", hold["id"], user=alice)
    wait_exit(b.process)
    assert a.alive()
    opening.wait_status(lambda s: s["gpus"][0]["state"] == "free")


def test_only_those_whose_right_ended(opening, sessions, alice, bob, devices):
    """Alice has two GPUs, bob one; only what has the released one open ends."""
    first, second = (opening.reserve("--gpu", str(i), user=alice)["id"] for i in (0, 1))
    opening.reserve("--gpu", "2", user=bob)
    a0, a1, b2 = sessions.opener(alice), sessions.opener(alice), sessions.opener(bob)
    assert [a0.ask(f"open {devices[0].path}"), a1.ask(f"open {devices[1].path}"), b2.ask(f"open {devices[2].path}")] == ["0"] * 3
    opening.dibs("release", first, user=alice)
    wait_exit(a0.process)
    opening.wait_status(lambda s: s["gpus"][0]["state"] == "free")
    assert a1.alive() and b2.alive()
    assert opening.lease(second)["state"] == "active"


def test_a_lease_does_not_shrink_under_a_program_that_has_it_open(opening, sessions, alice, devices):
    """CUDA opens all GPUs that it sees when it starts; giving one back would end the program."""
    hold = opening.reserve("--gpu", "0,1", user=alice)["id"]
    a = sessions.opener(alice)
    assert a.ask(f"open {devices[0].path}") == "0"
    error = opening.dibs("shrink", hold, "--gpu", "0", user=alice, code=3).stderr
    assert str(a.pid) in error and "GPU 0" in error
    assert opening.lease(hold)["gpus"] == [0, 1]
    opening.dibs("shrink", hold, "--gpu", "1", user=alice)
    assert a.ask("close") == "0"
    assert a.ask(f"open {devices[1].path}") == "EPERM" and a.ask(f"open {devices[0].path}") == "0"


def test_a_gift_is_open_to_one_at_a_time(opening, sessions, alice, bob, devices):
    hold = opening.reserve("--gpu", "0", user=alice)["id"]
    a, b = sessions.opener(alice), sessions.opener(bob)
    assert a.ask(f"open {devices[0].path}") == "0" and a.ask("ignore SIGTERM") == "0"
    opening.dibs("give", hold, bob, user=alice)
    assert b.ask(f"open {devices[0].path}") == "EPERM"
    wait_exit(a.process)
    opening.wait_status(lambda s: s["gpus"][0]["state"] == "leased" and b.ask(f"open {devices[0].path}") == "0")


def test_a_crash_between_release_and_end_forgets_nothing(opening, sessions, alice, devices):
    hold = opening.reserve("--gpu", "0", user=alice)
    a = sessions.opener(alice)
    assert a.ask(f"open {devices[0].path}") == "0" and a.ask("ignore SIGTERM") == "0"
    opening.dibs("release", hold["id"], user=alice)
    opening.crash_and_restart()
    assert a.ask(f"open {devices[0].path}") == "EPERM"
    wait_exit(a.process)
    opening.wait_status(lambda s: s["gpus"][0]["state"] == "free")


def test_the_death_of_the_daemon_opens_and_shuts_nothing(guarded, sessions, alice, bob):
    guarded.reserve("--gpu", "0", user=alice)
    a, b = sessions.opener(alice), sessions.opener(bob)
    paths = guarded.nodes()
    guarded.kill()
    assert [a.may_open(p) for p in paths] == [True, False, False, False]
    assert not any(b.may_open(p) for p in paths)
    guarded.start()
    assert open_to(a, guarded) == [0] and open_to(b, guarded) == []


def test_a_mode_set_at_run_time_outlives_the_daemon(guarded, sessions, alice):
    a = sessions.opener(alice)
    guarded.dibs("admin", "guard", "off")
    assert open_to(a, guarded) == [0, 1, 2, 3]
    assert not guarded.pins().exists()
    guarded.crash_and_restart()
    assert guarded.status()["guard"] == "off"
    guarded.dibs("admin", "guard", "configured")
    assert guarded.status()["guard"] == "deny" and open_to(a, guarded) == []
    guarded.crash_and_restart()
    assert guarded.status()["guard"] == "deny" and open_to(a, guarded) == []


def test_only_administrators_change_the_mode(guarded, alice):
    assert guarded.dibs("admin", "guard", "off", user=alice, code=3).stderr
    assert guarded.status()["guard"] == "deny"


def test_sessions_that_do_not_exist_are_a_problem_until_they_do(make_daemon, sessions, alice):
    missing = sessions.path / "later"
    daemon = make_daemon(config=f"[guard]\nmode = deny\nsession-cgroups = {missing}\n").start()
    assert str(missing) in daemon.status()["guard_problem"]
    missing.mkdir()
    daemon.wait_status(lambda s: s["guard_problem"] is None)
    assert open_to(sessions.opener(alice, missing), daemon) == []


def test_the_sensor_cannot_shut_what_is_no_gpu(make_daemon, sessions, alice, exec_sensor, devices):
    """A sensor names nodes; a terminal is not to be one of them unless the site says so."""
    daemon = make_daemon(sim=None, config=f"[sensor]\nexec = {exec_sensor}\n"
                                          f"[guard]\nmode = deny\nsession-cgroups = {sessions.path}\n").start()
    assert [g["nodes"] for g in daemon.status()["gpus"]] == [[], [], []]
    assert sessions.opener(alice).ask(f"open {devices[0].path}") == "0"


def check_gate(openers, paths, holders):
    """Nobody but its holder opens a GPU."""
    for user, opener in openers.items():
        for index, path in enumerate(paths):
            assert opener.may_open(path) == (holders.get(index) == user), (user, index, holders)


def test_crashes_at_any_moment(guarded, sessions, alice, bob, carol):
    """kill -9 of the daemon during grants and releases: never a GPU open to two, never a holder locked out."""
    users = [alice, bob, carol]
    openers = {user: sessions.opener(user) for user in users}
    paths = guarded.nodes()
    random.seed(20)
    for _ in range(150):
        clients = [guarded.popen("reserve", "-g", str(random.randint(1, 2)), "--no-wait", user=user) for user in users]
        clients += [guarded.popen("release", "--all", user=random.choice(users)) for _ in range(2)]
        select.select([], [], [], random.uniform(0, 0.02))  # the moment of the crash
        guarded.kill()
        # Whatever was answered or not: at no time two.
        for path in paths:
            assert sum(opener.may_open(path) for opener in openers.values()) <= 1, path
        for client in clients:
            client.communicate(timeout=DEADLINE)
        guarded.clients.clear()
        guarded.start()
        status = guarded.wait_status(lambda s: all(g["state"] in ("free", "leased") for g in s["gpus"]))
        names = {pwd.getpwnam(user).pw_uid: user for user in users}
        holders = {gpu: names[lease["uid"]] for lease in status["leases"] for gpu in lease["gpus"]
                   if lease["state"] == "active"}
        check_gate(openers, paths, holders)


def test_switching_under_load(guarded, sessions, alice, bob):
    """The mode changes while leases come and go; in the end the gate says what the leases say."""
    users = {alice: sessions.opener(alice), bob: sessions.opener(bob)}
    paths = guarded.nodes()
    for round in range(20):
        clients = [guarded.popen("reserve", "--no-wait", user=user) for user in users]
        guarded.dibs("admin", "guard", ["off", "watch", "deny"][round % 3])
        clients += [guarded.popen("release", "--all", user=user) for user in users]
        for client in clients:
            client.communicate(timeout=DEADLINE)
    guarded.dibs("admin", "guard", "deny")
    hold = guarded.reserve(user=alice)
    guarded.wait_status(lambda s: all(g["state"] in ("free", "leased") for g in s["gpus"]))
    holders = {gpu: l["user"] for l in guarded.status()["leases"] for gpu in l["gpus"]}
    assert holders[hold["gpus"][0]] == alice
    check_gate(users, paths, holders)
