# SPDX-License-Identifier: MIT
"""Who gets which GPUs, and when: the queue, those who may overtake, and the choice of GPUs.

The rules themselves are tested in tests/unit/policy and tests/sim; here several users meet them.
"""

import select

from harness import DEADLINE, read_line, wait_exit


def wish(daemon, user, *options):
    """A hold that waits in the background; its number and process."""
    n = len(daemon.leases(state="waiting"))
    process = daemon.popen("reserve", "--short", *options, user=user)
    leases = daemon.wait_leases(n + 1, state="waiting")
    return max(lease["id"] for lease in leases), process


def granted(process):
    """The GPUs of a wish that was fulfilled."""
    out, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    return [int(index) for index in out.split(b",")]


def hold(daemon, user, *options):
    lease = daemon.reserve(*options, user=user)
    return lease["id"], lease["gpus"]


def release(daemon, user, lease_id):
    daemon.dibs("release", lease_id, user=user)


def queue(daemon):
    waiting = daemon.leases(state="waiting")
    return [lease["id"] for lease in sorted(waiting, key=lambda lease: lease["position"])]


# Turns


def test_first_come_first_served_among_several_users(daemon, alice, bob, carol):
    holds = [hold(daemon, alice)[0] for _ in range(8)]
    wishes = [wish(daemon, user) for user in (bob, carol, alice, carol, bob)]
    assert queue(daemon) == [number for number, _ in wishes]
    for i, (number, process) in enumerate(wishes):
        assert [lease["position"] for lease in daemon.leases(state="waiting")] == list(range(1, len(wishes) - i + 1))
        release(daemon, alice, holds[i])
        assert granted(process) == [i]
        assert [w for _, p in wishes[i + 1:] if (w := p.poll()) is not None] == []


def test_who_leaves_makes_the_others_move_up_and_they_are_told(daemon, alice, bob, carol):
    first, _ = hold(daemon, alice, "-g", "8")
    left, process = wish(daemon, bob, "-g", "8")
    with daemon.varlink() as link:
        link.send("org.dibs.Request", {"kind": "hold"}, more=True)
        assert link.receive()["parameters"]["lease"]["position"] == 2
        process.kill()
        message = link.receive()
        assert message["continues"] and message["parameters"]["lease"]["position"] == 1
    daemon.wait_leases(0, state="waiting")
    assert daemon.lease(left)["end"] == "gone"


def test_who_waits_holds_nothing(daemon, alice, bob, carol):
    hold(daemon, alice, "-g", "6", "-d", "1h")
    wish(daemon, bob, "-g", "8")
    status = daemon.status()
    assert [gpu["state"] for gpu in status["gpus"]].count("free") == 2
    assert [lease["gpus"] for lease in status["leases"] if lease["state"] == "waiting"] == [[]]


def test_shorter_work_may_overtake_if_nobody_ahead_is_delayed(daemon, alice, bob, carol):
    until_then, _ = hold(daemon, alice, "-g", "6", "-d", "1h")
    large, process = wish(daemon, bob, "-g", "8", "-d", "1h")
    assert len(hold(daemon, carol, "-d", "30m")[1]) == 1
    assert queue(daemon) == [large]
    late, late_process = wish(daemon, carol, "-d", "2h")
    assert queue(daemon) == [large, late]
    refused = daemon.dibs("reserve", "-d", "2h", "--no-wait", user=carol, code=4).stderr
    assert f"#{large}" in refused
    daemon.dibs("release", "--all", user=carol)
    late_process.wait(DEADLINE)
    release(daemon, alice, until_then)
    assert granted(process) == list(range(8))


def test_who_could_never_compete_is_not_held_up(make_daemon, alice, bob, carol):
    daemon = make_daemon(sim="4xH100-80G,4xV100-32G").start()
    hold(daemon, alice, "--type", "H100")
    wish(daemon, bob, "--type", "H100", "-g", "4")
    assert hold(daemon, carol, "--type", "V100", "-g", "4", "-d", "7d")[1] == [4, 5, 6, 7]


def test_run_without_limit_does_not_overtake(daemon, alice, bob, carol):
    first, _ = hold(daemon, alice, "-g", "7", "-d", "1h")
    large, process = wish(daemon, bob, "-g", "8")
    run = daemon.popen("run", "--", "echo", "started", user=carol)
    daemon.wait_leases(2, state="waiting")
    assert not select.select([run.stdout], [], [], 0)[0]
    release(daemon, alice, first)
    assert granted(process) == list(range(8))
    release(daemon, bob, large)
    assert read_line(run.stdout) == "started\n"
    assert wait_exit(run) == 0


def test_run_with_a_short_limit_overtakes(daemon, alice, bob, carol):
    hold(daemon, alice, "-g", "7", "-d", "1h")
    wish(daemon, bob, "-g", "8")
    assert daemon.dibs("run", "-t", "10m", "--", "echo", "started", user=carol).stdout == "started\n"


def test_many_who_come_at_once_each_get_their_own_gpus(daemon, alice, bob, carol):
    processes = [daemon.popen("reserve", "--short", "--no-wait", user=(alice, bob, carol)[i % 3]) for i in range(20)]
    results = [(process.communicate(timeout=DEADLINE)[0], process.returncode) for process in processes]
    assert sorted(out for out, code in results if code == 0) == [b"%d\n" % i for i in range(8)]
    assert [code for out, code in results if out == b""] == [4] * 12


def test_many_who_wait_at_once_all_get_their_turn(daemon, alice, bob, carol):
    """Each run adds a line to a file of its GPU, and would notice another one there."""
    directory = daemon.directory / "gpus"
    directory.mkdir()
    directory.chmod(0o777)
    script = f'mkdir {directory}/$DIBS_GPUS && sleep 0.02 && rmdir {directory}/$DIBS_GPUS'
    processes = [daemon.popen("run", "--", "sh", "-c", script, user=(alice, bob, carol)[i % 3]) for i in range(40)]
    assert [process.wait(DEADLINE) for process in processes] == [0] * 40
    daemon.wait_leases(0)


# Which ones


def test_own_most_recent_gpus_come_first(daemon, alice, bob):
    for options in (["--gpu", "5"], ["--gpu", "2"], ["--gpu", "7"]):
        release(daemon, alice, hold(daemon, alice, *options)[0])
    release(daemon, bob, hold(daemon, bob, "--gpu", "6")[0])
    assert hold(daemon, alice)[1] == [7]
    assert hold(daemon, alice)[1] == [2]
    assert hold(daemon, alice)[1] == [5]
    assert hold(daemon, bob)[1] == [6]


def test_what_was_free_for_longest_comes_before_what_others_just_left(daemon, alice, bob):
    first, gpus = hold(daemon, alice)
    assert gpus == [0]
    release(daemon, alice, first)
    assert hold(daemon, bob)[1] == [1]


def test_well_connected_sets_come_before_scattered_ones(daemon, alice, bob):
    """In the simulator 0-3 and 4-7 are linked by NVLink."""
    hold(daemon, bob, "--gpu", "0")
    assert hold(daemon, alice, "-g", "4")[1] == [4, 5, 6, 7]
    assert hold(daemon, alice, "-g", "2")[1] == [1, 2]


def test_a_pair_is_never_split_if_it_need_not_be(daemon, alice, bob):
    hold(daemon, bob, "--gpu", "0,1,2,4,5")
    assert hold(daemon, alice, "-g", "2")[1] == [6, 7]


def test_drained_gpus_are_passed_over(daemon, alice):
    for index in (0, 1, 2):
        daemon.dibs("admin", "drain", index, "--reason", "fan")
    assert hold(daemon, alice, "-g", "4")[1] == [4, 5, 6, 7]


def test_list_of_gpus_is_kept_to_the_letter(daemon, alice, bob):
    first, _ = hold(daemon, alice, "--gpu", "3")
    number, process = wish(daemon, bob, "--gpu", "3,4")
    release(daemon, alice, first)
    assert granted(process) == [3, 4]
