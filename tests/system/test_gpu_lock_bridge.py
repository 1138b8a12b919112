# SPDX-License-Identifier: MIT
"""Users of the package gpu_lock and users of dibs on one machine: each respects what the other has."""

import contextlib
import json
import os
import random
import select
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest
from harness import read_line, small_disk, uid_of, wait_exit
from jobs import acting_as
from site_sensor import SiteSensor
from test_store import fill, make_room, use_last_block

ROUNDS = int(os.environ.get("DIBS_TEST_LOCK_ROUNDS", "1000"))
CRASHES = int(os.environ.get("DIBS_TEST_LOCK_CRASHES", "20"))
GENERATIONS = ["first", "second"]


@pytest.fixture
def site(lock_site):
    return lock_site


# What dibs gives


def test_the_directory_is_made_for_all(site):
    mode = site.directory.stat()
    assert stat.S_IMODE(mode.st_mode) == 0o1777 and mode.st_uid == 0


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_lease_is_a_lock_to_others(site, alice, bob, generation):
    """And to its own user: their process is not the one that has it."""
    number = site.hold(alice, gpus=["2"])["parameters"]["lease"]["id"]
    lock = site.lock(2)
    assert (lock["user"], lock["uid"], lock["id"], lock["dibs"]) == (alice, 2, 2, number)
    assert isinstance(lock["time"], int) and lock["version"].startswith("dibs ")
    assert site.old(bob, generation).ask("lock 2") == \
        f"refused Could not aquire lock. The resource is locked by {alice}"
    assert not site.old(alice, generation).ask("lock 2").startswith("locked")
    assert site.old(bob, generation).ask("lock any") == "locked 0"


def test_a_lock_goes_with_its_lease(site, alice, bob):
    site.hold(alice, count=8)
    assert all(site.lock(gpu) for gpu in range(8))
    site.daemon.dibs("release", user=alice)
    assert not any(site.lock(gpu) for gpu in range(8))
    assert site.others() == []
    assert site.old(bob).ask("lock 3") == "locked 3"


def test_runs_and_jobs_lock_too(site, alice):
    with site.daemon.popen("run", "--gpu", "5", "--", "sh", "-c", "echo up; read x", user=alice,
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert read_line(run.stdout) == "up\n"
        assert site.lock(5)["user"] == alice
        run.communicate()
    site.daemon.wait_leases(0)
    assert site.lock(5) is None


def test_a_drained_gpu_is_locked(site, alice):
    site.daemon.dibs("admin", "drain", "4", "--reason", "fan")
    assert site.lock(4)["user"] == "root"
    assert site.old(alice).ask("lock 4").startswith("refused")
    site.daemon.dibs("admin", "undrain", "4")
    assert site.lock(4) is None


# What they lock


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_lock_is_a_hold(site, alice, bob, generation):
    old = site.old(alice, generation)
    assert old.ask("lock 3") == "locked 3"
    lease = site.daemon.wait_leases(1)[0]
    assert (lease["kind"], lease["uid"], lease["gpus"], lease["state"]) == ("hold", uid_of(alice), [3], "active")
    assert lease["until"] is None
    refused = site.hold(bob, gpus=["3"])
    assert refused["error"] == "org.dibs.NotFree", refused
    assert site.hold(bob, count=7)["parameters"]["lease"]["gpus"] == [0, 1, 2, 4, 5, 6, 7]
    assert old.ask("unlock") == "unlocked"
    site.daemon.wait_leases(1)
    assert site.hold(bob, gpus=["3"])["parameters"]["lease"]["gpus"] == [3]


def test_a_lock_ends_with_its_process(site, alice, bob):
    """Also for those who could not tell that it ended, since it was somebody else's."""
    old = site.old(alice)
    old.ask("lock 0")
    number = site.daemon.wait_leases(1)[0]["id"]
    old.close()
    site.daemon.wait_leases(0)
    assert site.daemon.lease(number)["end"] == "exited"
    site.daemon.wait_status(lambda _: site.lock(0) is None)
    assert site.old(bob).ask("lock 0") == "locked 0"


def test_who_waits_gets_what_they_unlock(make_lock_site, alice, bob):
    site = make_lock_site(sim="1xA100-80G")
    site.daemon.start()
    old = site.old(alice)
    old.ask("lock 0")
    with acting_as(bob), site.daemon.varlink() as link:
        link.send("org.dibs.Request", {"kind": "hold"}, more=True)
        waiting = link.receive()["parameters"]
        assert waiting["lease"]["state"] == "waiting" and waiting["blockers"][0]["uid"] == uid_of(alice)
        old.ask("unlock")
        assert link.receive()["parameters"]["lease"]["gpus"] == [0]
    assert site.lock(0)["user"] == bob
    assert old.ask("lock 0").startswith("refused")


def test_dead_empty_and_foreign_files_lock_nothing(site, alice, bob):
    """Somebody else's process has got the number of the one that ended, for instance."""
    ended = subprocess.Popen(["true"])
    wait_exit(ended)
    with acting_as(alice):
        for gpu, text in enumerate([
                json.dumps({"user": alice, "time": 1, "uid": 0, "owner": ended.pid}),
                json.dumps({"user": alice, "time": 1, "uid": 1, "owner": 1}), "", '{"user": "al', "[]",
                json.dumps({"user": alice, "owner": -1}), "x" * 100000]):
            (site.directory / f"gpu_{gpu}.json").write_text(text)
        (site.directory / "gpu_7.json").symlink_to("/etc/passwd")
        os.utime(site.directory / "gpu_1.json", (1, 1))
    # One that is empty may be about to be written, for two seconds.
    assert site.hold(bob, count=8, wait_us=None)["parameters"]["lease"]["gpus"] == list(range(8))
    assert all(site.lock(gpu)["user"] == bob for gpu in range(8))
    assert Path("/etc/passwd").exists()


def test_who_writes_over_a_lock_of_others_is_known(site, alice, bob, carol):
    """They can, as the package makes its files writable for all; the process counts, not whose the file is."""
    first, second = site.old(alice), site.old(carol)
    with acting_as(alice):
        (site.directory / "gpu_0.json").write_text(json.dumps({"owner": first.process.pid}))
    (site.directory / "gpu_0.json").chmod(0o777)
    site.daemon.wait_leases(1)
    (site.directory / "gpu_0.json").write_text(json.dumps({"owner": second.process.pid}))
    site.daemon.wait_leases(1, with_process=second.process.pid)
    assert site.hold(bob, gpus=["0"])["error"] == "org.dibs.NotFree"
    second.close()
    site.daemon.wait_leases(0)


def test_a_directory_in_the_way_does_not_stay(site, alice, bob):
    with acting_as(alice):
        (site.directory / "gpu_0.json").mkdir()
        os.mkfifo(site.directory / "gpu_1.json")
    assert site.hold(bob, count=8)["parameters"]["lease"]["gpus"] == list(range(8))
    assert site.lock(0)["user"] == bob and site.lock(1)["user"] == bob


def test_who_is_about_to_write_has_it(site, alice, bob):
    """Between opening and writing its file: that process believes that the lock is its own."""
    with acting_as(alice):
        file = open(site.directory / "gpu_0.json", "w")
    with file:
        refused = site.hold(bob, gpus=["0"])
        assert refused["error"] == "org.dibs.NotFree", refused
        json.dump({"user": alice, "uid": 0, "time": 1}, file)
    site.daemon.wait_leases(0)
    old = site.old(alice)
    with acting_as(alice):
        file = open(site.directory / "gpu_0.json", "w")
    with file:
        os.utime(file.fileno(), (1, 1))  # it takes its time: that it is open counts, not that it is new
        assert site.hold(bob, gpus=["0"])["error"] == "org.dibs.NotFree"
        json.dump({"user": alice, "uid": 0, "time": 1, "owner": old.process.pid}, file)
    lease = site.daemon.wait_leases(1, with_process=old.process.pid)[0]
    assert lease["uid"] == uid_of(alice)
    old.close()
    site.daemon.wait_leases(0)


def test_a_claim_takes_another_gpu_at_once(make_lock_site, alice, bob):
    """Locked a moment ago, before dibsd could look: a request that does not wait is not refused for it."""
    site = make_lock_site(sim="2xA100-80G")
    site.daemon.start()
    old = site.old(alice)
    with acting_as(bob), site.daemon.varlink() as link:
        site.daemon.process.send_signal(signal.SIGSTOP)
        link.send("org.dibs.Request", {"kind": "hold", "wait_us": 0})
        assert old.ask("lock 0") == "locked 0"
        site.daemon.process.send_signal(signal.SIGCONT)
        assert link.receive()["parameters"]["lease"]["gpus"] == [1]


def test_their_hold_can_be_taken_back(site, alice):
    old = site.old(alice)
    old.ask("lock 6")
    number = site.daemon.wait_leases(1)[0]["id"]
    site.daemon.dibs("admin", "release", str(number), "--reason", "mine")
    site.daemon.wait_leases(0)
    assert site.lock(6) is None and old.process.poll() is None


# Crashes and restarts


def test_a_crash_forgets_nothing(site, alice, bob):
    kept, ended, unlocked = site.old(alice), site.old(alice), site.old(alice)
    for gpu, old in enumerate((kept, ended, unlocked)):
        assert old.ask(f"lock {gpu}") == f"locked {gpu}"
    number = site.daemon.wait_leases(3)[0]["id"]
    site.hold(bob, gpus=["5"])
    site.daemon.process.kill()
    wait_exit(site.daemon.process)
    ended.close()
    unlocked.ask("unlock")
    new = site.old(alice)
    assert new.ask("lock 4") == "locked 4"
    (site.directory / "gpu_7.json").write_text(json.dumps(
        {**site.lock(5), "dibs": 99}))  # as one that the crash has left
    site.daemon.start()
    leases = {lease["gpus"][0]: lease for lease in site.daemon.wait_leases(3)}
    assert sorted(leases) == [0, 4, 5] and leases[0]["id"] == number
    assert site.lock(5)["user"] == bob and site.lock(7) is None and site.lock(1) is None


def test_a_crash_at_any_moment_leaves_each_gpu_to_one(make_lock_site, alice, bob, carol):
    """kill -9 while both sides lock and unlock; who had locked a GPU has it afterwards, and so has who had leased it."""
    site = make_lock_site(sim="3xA100-80G", config="[limits]\nchanges-per-hour = 100000\n")
    rng = random.Random(5)
    olds = [site.old(user, generation, 3) for user, generation in ((alice, "second"), (carol, "first"))]
    site.daemon.start()
    for _ in range(CRASHES):
        mine = None
        with acting_as(bob):
            link = site.daemon.varlink()
        with link:
            link.call("org.dibs.Release", {"all": True})
            for old in olds:
                old.send("lock any")
            link.send("org.dibs.Request", {"kind": "hold", "wait_us": 0})
            if rng.random() < 0.5:
                mine = link.receive()
            select.select([], [], [], rng.random() * 0.004)
            site.daemon.kill()
        locked = {int(answer.split()[1]): old for old, answer in zip(olds, [old.answer() for old in olds])
                  if answer.startswith("locked")}
        site.daemon.start()
        leases = {lease["gpus"][0]: lease for lease in site.daemon.wait_status(lambda _: True)["leases"]}
        assert {gpu for gpu, lease in leases.items() if lease["with_process"]} == set(locked), (locked, leases)
        if mine and "error" not in mine:
            assert leases[mine["parameters"]["lease"]["gpus"][0]]["id"] == mine["parameters"]["lease"]["id"]
        for gpu in range(3):
            lock = site.lock(gpu)
            assert bool(lock) == (gpu in leases), (gpu, lock, leases)
            assert not lock or (lock["user"] == bob) == (gpu not in locked)
        for old in locked.values():
            assert old.ask("unlock") == "unlocked"
        site.daemon.wait_leases(0, command="gpu_lock")


def test_without_the_bridge_their_holds_end(site, alice):
    site.old(alice).ask("lock 0")
    site.daemon.wait_leases(1)
    site.daemon.stop()
    site.daemon.write_config("")
    site.daemon.start()
    site.daemon.wait_leases(0)


def test_what_was_leased_before_the_bridge_is_locked_at_its_start(make_lock_site, alice, bob):
    site = make_lock_site()
    config = f"[gpu-lock]\ndirectory = {site.directory}\n"
    site.daemon.write_config("")
    site.daemon.start()
    site.hold(alice, gpus=["1"])
    site.daemon.stop()
    site.daemon.write_config(config)
    site.directory.mkdir(mode=0o755)
    os.chown(site.directory, uid_of(bob), 0)
    site.daemon.start()
    assert site.lock(1)["user"] == alice and site.directory.stat().st_uid == 0


def test_a_share_of_what_is_leased_and_locked_is_just_another_share(make_lock_site, alice, bob, carol):
    """The bridge was made while a job had the GPU that somebody had locked."""
    config = "[share]\nenabled = yes\n[jobs]\npam-service = none\n"
    site = make_lock_site(sim="1xA100-80G", config=config)
    site.daemon.write_config(config)
    site.daemon.start()
    site.daemon.dibs("submit", "--output", "/dev/null", "--mem", "1G", "--", "sleep", "600", user=bob)
    site.daemon.wait_leases(1, state="active")
    site.daemon.stop()
    site.directory.mkdir(mode=0o777)
    site.directory.chmod(0o777)
    assert site.old(alice).ask("lock 0") == "locked 0"
    site.daemon.write_config(f"[gpu-lock]\ndirectory = {site.directory}\n{config}")
    site.daemon.start()
    site.daemon.dibs("submit", "--output", "/dev/null", "--mem", "1G", "--", "sleep", "600", user=carol)
    site.daemon.wait_leases(2, state="active")


def test_a_full_disk_takes_nobody_their_lock(make_lock_site, alice, bob, tmp_path):
    if subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("mounting is not allowed here")
    site = make_lock_site()
    with small_disk(site.daemon.state, 1 << 20):
        site.daemon.start()
        gone, kept, new = site.old(alice), site.old(alice), site.old(alice)
        assert gone.ask("lock 1") == "locked 1" and kept.ask("lock 2") == "locked 2"
        number = site.daemon.wait_leases(2)[1]["id"]
        fill(site.daemon)
        use_last_block(site.daemon)
        assert new.ask("lock 0") == "locked 0" and gone.ask("unlock") == "unlocked"
        site.daemon.wait_log("disk is full")
        assert [lease["gpus"] for lease in site.daemon.leases()] == [[1], [2]]
        assert site.lock(0) and site.lock(2)
        assert "disk is full" in site.daemon.dibs("reserve", "-g", "1", "--no-wait", user=bob, code=1).stderr
        make_room(site.daemon)
        leases = site.daemon.wait_leases(1, with_process=new.process.pid)
        assert leases[0]["gpus"] == [0]
        site.daemon.wait_status(lambda status: [l["gpus"] for l in status["leases"]] == [[2], [0]])
        assert site.daemon.leases()[0]["id"] == number and not site.lock(1)
        site.daemon.stop()


@pytest.mark.parametrize("how", ["removed", "renamed"])
def test_a_directory_that_was_taken_away_is_made_again(site, alice, bob, how):
    old = site.old(alice)
    site.hold(bob, gpus=["1"])
    assert old.ask("lock 2") == "locked 2"
    site.daemon.wait_leases(2)
    if how == "renamed":
        site.directory.rename(site.directory.with_name("elsewhere"))
    else:
        site.daemon.process.send_signal(signal.SIGSTOP)
        shutil.rmtree(site.directory)
        site.daemon.process.send_signal(signal.SIGCONT)
    site.daemon.wait_leases(1)  # their lock is not there any more
    site.daemon.wait_status(lambda _: site.lock(1))  # at the next sample
    assert site.lock(1)["user"] == bob and stat.S_IMODE(site.directory.stat().st_mode) == 0o1777
    site.hold(bob, gpus=["3"])
    assert site.lock(3)["user"] == bob
    assert old.ask("lock 4") == "locked 4"
    site.daemon.wait_leases(1, with_process=old.process.pid)


def test_a_directory_that_was_taken_away_while_it_was_empty(site, alice, bob):
    """Nothing tells of that; it is there again before anything is leased."""
    site.directory.rmdir()
    site.directory.mkdir(mode=0o777)
    site.directory.chmod(0o777)
    old = site.old(alice)
    assert old.ask("lock 0") == "locked 0"
    assert site.hold(bob)["parameters"]["lease"]["gpus"] == [1]
    assert site.lock(1)["user"] == bob and site.directory.stat().st_mode & stat.S_ISVTX


def test_a_gpu_that_changes_its_number_keeps_its_lock(make_lock_site, base_directory, tmp_path, alice, bob):
    directory = base_directory / f"sensor-{tmp_path.name}"
    directory.mkdir(mode=0o755)
    sensor = SiteSensor(directory, 3)
    site = make_lock_site(sim=None, config=sensor.config)
    site.daemon.start()
    site.hold(bob, gpus=["1"])
    site.hold(alice, gpus=["2"])
    old = site.old(alice)
    sensor.gpus.pop(0)
    for number, gpu in enumerate(sensor.gpus):
        gpu.update(index=number, links=gpu["links"][1:])
    sensor.write()
    site.daemon.wait_status(lambda status: {gpu["index"] for gpu in status["gpus"] if gpu["state"] != "lost"} == {0, 1})
    assert (site.lock(0)["user"], site.lock(1)["user"], site.lock(2)) == (bob, alice, None)
    assert old.ask("lock 2") == "locked 2"


def test_a_gpu_that_comes_is_looked_at(make_lock_site, base_directory, tmp_path, alice):
    directory = base_directory / f"sensor-{tmp_path.name}"
    directory.mkdir(mode=0o755)
    sensor = SiteSensor(directory, 2)
    site = make_lock_site(sim=None, config=sensor.config)
    site.daemon.start()
    first, old = site.old(alice), site.old(alice)
    assert first.ask("lock 1") == "locked 1"
    site.daemon.wait_leases(1)
    sensor.write({"gpus": [{**sensor.gpus[0], "links": ["internal"]}]})
    site.daemon.wait_status(lambda status: status["gpus"][1]["state"] == "lost")
    assert first.ask("unlock") == "unlocked" and old.ask("lock 1") == "locked 1"
    sensor.write({"gpus": sensor.gpus})
    site.daemon.wait_leases(1, with_process=old.process.pid)
    site.daemon.wait_leases(1)


def test_both_names_are_one_directory(make_daemon, base_directory, tmp_path):
    parent = base_directory / f"names-{tmp_path.name}"
    parent.mkdir(mode=0o755)
    (parent / "gpu_locks").mkdir()
    daemon = make_daemon(config=f"[gpu-lock]\ndirectory = {parent}/gpu_lock\n").start()
    daemon.reserve("--gpu", "0")
    assert os.readlink(parent / "gpu_locks") == "gpu_lock" and (parent / "gpu_locks/gpu_0.json").exists()


def test_a_directory_that_is_none_is_told(make_daemon, base_directory, tmp_path):
    path = base_directory / f"none-{tmp_path.name}"
    path.symlink_to("/tmp")
    daemon = make_daemon(config=f"[gpu-lock]\ndirectory = {path}\n").start()
    daemon.reserve("--gpu", "0")
    assert any("cannot bridge to gpu_lock" in line for line in daemon.log)
    assert Path("/tmp").stat().st_uid == 0 and not Path("/tmp/gpu_0.json").exists()


# Races


@pytest.mark.parametrize("generation", GENERATIONS)
def test_both_sides_respect_each_other(make_lock_site, alice, bob, generation):
    """Both want the same GPU at the same moment, again and again: never do both have it, and somebody does mostly."""
    site = make_lock_site(sim="1xA100-80G", config="[limits]\nchanges-per-hour = 100000\n")
    site.daemon.start()
    old = site.old(alice, generation, 1)
    won = {"old": 0, "dibs": 0, "none": 0}
    with acting_as(bob):
        link = site.daemon.varlink()
    with link:
        for number in range(ROUNDS):
            if number % 2:
                old.send("lock any")
                link.send("org.dibs.Request", {"kind": "hold", "wait_us": 0})
            else:
                link.send("org.dibs.Request", {"kind": "hold", "wait_us": 0})
                old.send("lock any")
            reply, answer = link.receive(), old.answer()
            has_old, has_dibs = answer.startswith("locked"), "error" not in reply
            assert not (has_old and has_dibs), (number, answer, reply)
            won["old" if has_old else "dibs" if has_dibs else "none"] += 1
            if has_old:
                assert site.lock(0)["user"] == alice
                assert old.ask("unlock") == "unlocked"
            if has_dibs:
                assert site.lock(0)["user"] == bob
                assert "error" not in link.call("org.dibs.Release", {"all": True})
    assert won["old"] > 0 and won["dibs"] > 0 and won["none"] < ROUNDS / 4, won


def test_many_on_both_sides(make_lock_site, alice, bob, carol):
    """Two of the old package, two of dibs, two GPUs; who has one writes so to a file of that GPU, and finds nobody."""
    site = make_lock_site(sim="2xA100-80G", config="[limits]\nchanges-per-hour = 100000\n")
    site.daemon.start()
    olds = [site.old(user, generation, 2) for user, generation in ((alice, "second"), (carol, "first"))]
    links = []
    for user in (bob, carol):
        with acting_as(user):
            links.append(site.daemon.varlink())
    with contextlib.ExitStack() as stack:
        for link in links:
            stack.enter_context(link)
        for number in range(ROUNDS // 4):
            for old in olds:
                old.send("lock any")
            for link in links:
                link.send("org.dibs.Request", {"kind": "hold", "wait_us": 0})
            replies, answers = [link.receive() for link in links], [old.answer() for old in olds]
            held = [reply["parameters"]["lease"]["gpus"][0] for reply in replies if "error" not in reply]
            locked = [int(answer.split()[1]) for answer in answers if answer.startswith("locked")]
            assert len(set(held)) == len(held) and not set(held) & set(locked), (number, replies, answers)
            for old, answer in zip(olds, answers):
                if answer.startswith("locked"):
                    old.ask("unlock")
            for link, reply in zip(links, replies):
                if "error" not in reply:
                    link.call("org.dibs.Release", {"all": True})
