# SPDX-License-Identifier: MIT
"""The module gpu_lock: both generations of its interface, and everything that went wrong with the original."""

import json
import os
import re
import signal
import socket
import tempfile
from pathlib import Path

import pytest
from harness import DEADLINE
from pyscript import PROLOGUE, finish, line, tell
from test_nvml import wait_gpu

LOCK = f"""{PROLOGUE}
import logging, gpu_lock
from gpu_lock import lock_gpu
NAMES = ("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES")
def seen(): return [os.environ.get(n) for n in NAMES]
def fails(call, kind=RuntimeError):
    try: call()
    except kind as error: return str(error)
    raise AssertionError("it did not fail")
"""
LOCKED = "Could not aquire lock. The resource is locked by {}"
BUSY = "Could not aquire lock. All GPUs are busy."


@pytest.fixture
def locks_of(make_scripts):
    """locks_of(daemon) gives programs of its users that have gpu_lock imported."""
    return lambda daemon: make_scripts(daemon, LOCK)


def hold(scripts, arguments, user=None):
    """A program that holds a lock until it is told to go."""
    program = scripts.start(f"with lock_gpu({arguments}) as lock:\n    say(json.dumps(lock.uid))\n    hear()", user)
    program.uid = json.loads(line(program))
    return program


@pytest.fixture
def locks(locks_of, daemon):
    return locks_of(daemon)


@pytest.fixture
def two_gpus(make_daemon, locks_of):
    return locks_of(make_daemon(sim="2xA100-80G").start())


# What programs know it by


def test_the_documented_programs_run(daemon, make_scripts, alice):
    """Every block of both READMEs of gpu_lock; GPU 0 alone, any GPU, three GPUs."""
    blocks = {
        "with lock_gpu(uid=0):\n        pass": "", "with lock_gpu():\n        pass": "",
        'with lock_gpu() as lock:\n        print(f"Locked GPUS {lock.uid}")': "Locked GPUS 0\n",
        'with lock_gpu(n=3) as lock:\n        print(f"Locked GPUS {lock.uid}")': "Locked GPUS [0, 1, 2]\n",
    }
    for block, output in blocks.items():
        program = f'from gpu_lock import lock_gpu\n\nif __name__=="__main__":\n    {block}\n'
        assert make_scripts(daemon, "").run(program, alice) == output
    assert daemon.leases() == []


def test_one_lock_is_a_lease(locks, alice):
    program = locks.start("""
from pathlib import Path
with lock_gpu() as lock:
    assert type(lock).__name__ == "_GPULock" and lock.uid == 0 and lock.pid == os.getpid()
    assert lock.lock_dir == Path("/var/tmp/gpu_lock") and lock.lock == Path("/var/tmp/gpu_lock/gpu_0.json")
    say(lock.user)
    hear()
say("left")
hear()
""", alice)
    assert line(program) == alice
    lease, = locks.daemon.leases()
    assert (lease["user"], lease["kind"], lease["gpus"], lease["note"]) == (alice, "hold", [0], "gpu_lock")
    tell(program)
    assert line(program) == "left"
    assert locks.daemon.leases() == []


def test_several_locks_are_one_lease(locks, alice):
    program = locks.start("""
with lock_gpu(n=3, n_system_gpus=8) as lock:
    assert type(lock).__name__ == "_MultiGPULock" and [one.uid for one in lock.locks] == lock.uid == [0, 1, 2]
    assert seen() == ["PCI_BUS_ID", "0,1,2"]
    say("in")
    hear()
""", alice)
    assert line(program) == "in"
    lease, = locks.daemon.leases()
    assert lease["gpus"] == [0, 1, 2]
    tell(program)
    finish(program)
    assert locks.daemon.leases() == []


MEANT = [
    ("", None, 0), ("None", None, 0), ("uid=5", None, 5), ("uid=None", None, 0), ("n=1", None, 0), ("n=2", None, [0, 1]),
    ("2", None, [0, 1]), ("1", None, 0), ("0", None, 0), ("2, 8", None, [0, 1]), ("1, 1", None, 0), ("2, n_system_gpus=4", None, [0, 1]),
    ("2", "n", [0, 1]), ("2", "uid", 2), ("0", "uid", 0), ("2, 8", "uid", [0, 1]), ("uid=3", "n", 3), ("n=2", "uid", [0, 1]),
    ("n=2, n_system_gpus=100", None, [0, 1]), ("n_system_gpus=1", None, 0),
]


def test_who_is_meant_by_a_number(locks):
    locks.run(f"""
for arguments, setting, uid in {MEANT}:
    os.environ.pop("GPU_LOCK_POSITIONAL", None)
    if setting: os.environ["GPU_LOCK_POSITIONAL"] = setting
    with eval(f"lock_gpu({{arguments}})") as lock:
        assert lock.uid == uid, (arguments, setting, lock.uid)
""")


MEANINGLESS = [
    ("1, 2, 3", "TypeError"), ("1, n=1", "TypeError"), ("1, uid=1", "TypeError"), ("n=1, uid=1", "TypeError"),
    ("uid=1, n_system_gpus=2", "TypeError"), ("1, 2, n_system_gpus=3", "TypeError"), ("n=0", "ValueError"), ("-1", "ValueError"),
    ("uid=99", "RuntimeError"), ("uid=-1", "RuntimeError"), ("n=9", "RuntimeError"), ("n_system_gpus=0", "RuntimeError"),
]


def test_what_cannot_be_meant(locks):
    locks.run(f"""
import dibs
for arguments, kind in {MEANINGLESS}:
    assert fails(lambda: eval(f"lock_gpu({{arguments}})"), eval(kind)), arguments
    assert not dibs.leases(), arguments
""")


def test_a_setting_that_means_nothing(locks):
    assert "GPU_LOCK_POSITIONAL" in locks.run("say(fails(lambda: lock_gpu(1), ValueError))", env={"GPU_LOCK_POSITIONAL": "x"})


def test_names_that_were_there(locks):
    locks.run("""
from gpu_lock.gpu_lock import LOCKDIR, _GPULock, _MultiGPULock, logger
from gpu_lock.version import version
assert (LOCKDIR, version, logger.name) == ("/var/tmp/gpu_lock", "0.2.1", "gpu_locking")
assert issubclass(gpu_lock.LockError, RuntimeError) and issubclass(gpu_lock.LockError, EnvironmentError)
""")


# When there is none


def test_texts_are_those_of_gpu_lock(two_gpus, alice, bob):
    locks = two_gpus
    holder = hold(locks, "", alice)
    assert holder.uid == 0
    other = hold(locks, "uid=1", None)
    locked = [LOCKED.format(alice), LOCKED.format("root")]
    assert locks.says("""
both = (fails(lambda: lock_gpu(uid=0), RuntimeError), fails(lambda: lock_gpu(uid=1), EnvironmentError))
say(json.dumps([*both, fails(lock_gpu), fails(lambda: lock_gpu(n=2)), fails(lambda: lock_gpu(2, 8))]))
""", bob) == [*locked, BUSY, *["Could not acquire at 2 locks. Too many GPUs are busy!"] * 2]
    tell(other)
    finish(other)
    assert locks.says("say(json.dumps([fails(lambda: lock_gpu(n=2)), lock_gpu().uid, fails(lambda: lock_gpu(n_system_gpus=1))]))",
                      bob) == ["Could not acquire at 2 locks. Too many GPUs are busy!", 1, BUSY]


def test_it_logs_as_gpu_lock_does(locks, alice, bob):
    hold(locks, "", alice)
    out = locks.run("""
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(name)s %(levelname)s %(message)s")
with lock_gpu():
    with lock_gpu(uid=1): pass
""", bob)
    pid = re.search(r"for pid (\d+)", out)[1]
    assert out.splitlines() == [
        "gpu_locking INFO Could not aquire lock on GPU 0", "gpu_locking DEBUG Aquired lock on GPU 1",
        f"gpu_locking WARNING Found existing GPU lock for pid {pid}. Please make sure to release resources after finishing your "
        "scripts. Old lock will be renewed.", "gpu_locking DEBUG Released GPU 1 lock"]


def test_availability_is_checked(locks, alice, bob):
    holder = locks.start("""
lock = lock_gpu(uid=2)
lock.check_lock_availability()
with lock: pass
lock.check_lock_availability()
say("free")
hear()
say(fails(lock.check_lock_availability))
""", alice)
    assert line(holder) == "free"
    hold(locks, "uid=2", bob)
    tell(holder)
    assert line(holder) == LOCKED.format(bob)
    finish(holder)


def test_a_pid_is_alive_whosever_it_is(locks, alice):
    """[theirs: EPERM is taken for death]"""
    locks.run(f"""
alive = gpu_lock.gpu_lock._GPULock.check_pid_alive
assert alive(1) and alive(os.getpid()) and alive({os.getpid()})
gone = os.fork()
if not gone: os._exit(0)
os.waitpid(gone, 0)
assert not alive(gone) and not alive(2**40) and not alive(0) and not alive(-1)
""", alice)


def test_without_dibsd(locks, alice):
    locks.daemon.stop()
    said = locks.run("say(fails(lock_gpu)); say(fails(lambda: lock_gpu(uid=1))); say(fails(lambda: lock_gpu(n=2)))", alice)
    assert all(row.startswith("Could not aquire lock. dibsd does not run here") for row in said.splitlines())
    locks.daemon.start()


def test_against_the_rules(make_daemon, locks_of, alice):
    locks = locks_of(make_daemon(config="[limits]\nrequests-per-user = 1\n").start())
    assert "at most 1" in locks.run("""
with lock_gpu(): say(fails(lambda: lock_gpu(uid=3)))
with lock_gpu(): pass
""", alice)


def test_it_never_waits_and_never_overtakes(locks, alice, bob, carol):
    """Somebody waits for all GPUs; what is free is hers when the rest is."""
    hold = locks.daemon.reserve("--gpu", "0", user=alice)
    waiter = locks.daemon.popen("reserve", "-g", "8", user=bob)
    locks.daemon.wait_leases(1, state="waiting")
    assert locks.says("say(json.dumps([fails(lock_gpu), fails(lambda: lock_gpu(n=2)), fails(lambda: lock_gpu(uid=3))]))", carol)[:2] == [
        BUSY, "Could not acquire at 2 locks. Too many GPUs are busy!"]
    locks.daemon.dibs("release", hold["id"], user=alice)
    waiter.wait(DEADLINE)


# The environment


def test_visible_devices_are_as_they_were(locks):
    """[theirs: '' stays behind, then ',0'; the order is that of a hash]"""
    for before in ({}, {"CUDA_VISIBLE_DEVICES": ""}, {"CUDA_VISIBLE_DEVICES": "7,2", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}):
        found = locks.says("""
steps = [seen()]
with lock_gpu(): steps.append(seen())
steps.append(seen())
with lock_gpu(): steps.append(seen())
with lock_gpu(n=4): steps.append(seen())
lock = lock_gpu(); steps.append(seen())
with lock: steps.append(seen())
steps.append(seen())
say(json.dumps(steps))
""", env=before)
        outside, inside = [before.get("CUDA_DEVICE_ORDER"), before.get("CUDA_VISIBLE_DEVICES")], ["PCI_BUS_ID", "0"]
        assert found == [outside, inside, outside, inside, ["PCI_BUS_ID", "0,1,2,3"], outside, inside, outside]


def test_locks_of_one_process_add_up(locks, alice):
    locks.daemon.reserve("--gpu", "0,1", user=alice)
    assert locks.says("""
a, b = lock_gpu(n=2), None
steps = []
with a:
    with lock_gpu(n=3) as b: steps.append([a.uid, b.uid, *seen()])
    steps.append(seen())
    b.__enter__(); a.__exit__(None, None, None); steps.append(seen()); b.__exit__(None, None, None)
steps.append(seen())
say(json.dumps(steps))
""", env={"CUDA_VISIBLE_DEVICES": "x"}) == [
        [[2, 3], [2, 3, 4], "PCI_BUS_ID", "2,3,4"], ["PCI_BUS_ID", "2,3"], ["PCI_BUS_ID", "2,3,4"], [None, "x"]]


def test_the_first_version_leaves_the_environment_alone(locks):
    """Its programs say cuda:2 themselves; were GPU 2 the only one that they see, it would be cuda:0."""
    assert locks.says("with lock_gpu(uid=2) as lock: say(json.dumps([lock.uid, *seen()]))") == [2, None, None]


# Blocks within blocks


def test_the_inner_block_does_not_unlock_the_outer_one(locks, alice, bob):
    """[theirs: it does, and the outer one fails with KeyError]"""
    program = locks.start("""
with lock_gpu() as outer:
    with lock_gpu() as inner: assert inner.uid == outer.uid == 0 and seen()[1] == "0"
    assert seen()[1] == "0"
    with outer.__class__(0): pass
    say("still")
    hear()
say("left")
hear()
""", alice)
    assert line(program) == "still"
    assert locks.says("say(json.dumps(fails(lambda: lock_gpu(uid=0))))", bob) == LOCKED.format(alice)
    tell(program)
    assert line(program) == "left"
    assert locks.says("say(json.dumps(lock_gpu().uid))", bob) == 0


def test_parts_of_several_are_given_back_as_they_are_left(locks, alice):
    program = locks.start("""
with lock_gpu(n=2) as pair:
    inner = lock_gpu(n=3).__enter__()
say("pair left")
hear()
inner.__exit__(None, None, None)
three = lock_gpu(n=3).__enter__()
one = three.locks[1]
one.__enter__()
three.__exit__(None, None, None)
say("one is left")
hear()
one.__exit__(None, None, None)
say("none")
hear()
""", alice)
    assert line(program) == "pair left"
    assert sorted(gpu for lease in locks.daemon.leases() for gpu in lease["gpus"]) == [0, 1, 2]
    tell(program)
    assert line(program) == "one is left"
    assert [lease["gpus"] for lease in locks.daemon.leases()] == [[1]]
    tell(program)
    assert line(program) == "none"
    assert locks.daemon.leases() == []


def test_a_lock_can_be_entered_again(locks, alice, bob):
    program = locks.start("""
lock = lock_gpu(n=2)
for _ in range(3):
    with lock: pass
say("out")
hear()
say(fails(lock.__enter__))
""", alice)
    assert line(program) == "out"
    hold(locks, "uid=1", bob)
    tell(program)
    assert line(program) == LOCKED.format(bob)
    finish(program)


def test_a_lock_that_is_never_entered(locks, alice):
    """It is locked as soon as it is there, and no longer than that."""
    program = locks.start("""
lock = lock_gpu()
say(lock.uid)
hear()
del lock
say("gone")
hear()
""", alice)
    assert line(program) == "0"
    locks.daemon.wait_leases(1)
    tell(program)
    assert line(program) == "gone"
    assert locks.daemon.leases() == []


def test_what_an_administrator_took_is_locked_anew(locks, alice, bob):
    program = locks.start("""
outer = lock_gpu().__enter__()
say(outer.uid)
hear()
with lock_gpu() as lock: say(lock.uid)
outer.__exit__(None, None, None)
say("left")
""", alice)
    assert line(program) == "0"
    lease, = locks.daemon.leases()
    locks.daemon.dibs("admin", "release", lease["id"], "--reason", "repair")
    hold(locks, "", bob)
    tell(program)
    assert [line(program), line(program)] == ["1", "left"]
    finish(program)


def test_what_was_locked_anew_is_not_given_back_with_the_old_lock(locks, alice):
    program = locks.start("""
old = lock_gpu().__enter__()
say("locked")
hear()
new = lock_gpu().__enter__()
old.__exit__(None, None, None)
say(new.uid, seen()[1])
hear()
""", alice)
    assert line(program) == "locked"
    locks.daemon.dibs("release", locks.daemon.leases()[0]["id"], user=alice)
    tell(program)
    assert line(program) == "0 0"
    assert [lease["gpus"] for lease in locks.daemon.leases()] == [[0]]


def test_forked_children_have_locks_of_their_own(locks, alice):
    """And do not give back, or renew, those of their parent."""
    locks.run("""
with lock_gpu() as outer:
    if os.fork() == 0:
        with lock_gpu() as own: assert (own.uid, outer.uid) == (1, 0), own.uid
        with outer: pass
        sys.exit()
    assert os.wait()[1] == 0
    import dibs
    assert [lease.gpus for lease in dibs.leases()] == [(0,)]
assert dibs.leases() == []
""", alice)


# Others


def test_users_do_not_steal_from_each_other(locks, alice, bob, carol):
    """[theirs: os.kill() of another's process fails, so its lock counts as stale]"""
    holders = [hold(locks, "", user) for user in (alice, bob, carol, None)]
    assert [holder.uid for holder in holders] == [0, 1, 2, 3]
    for holder in holders:
        assert holder.poll() is None
    assert len(locks.daemon.leases()) == 4


def test_whoever_comes_first_does_not_keep_others_out(locks, alice, bob):
    """[theirs: the first user's umask makes the directory 0755, and the next one gets PermissionError]"""
    locks.run("os.umask(0o077)\nwith lock_gpu(): pass", alice)
    assert locks.run("with lock_gpu() as lock: say(lock.uid)", bob) == "0\n"


def test_eight_at_once_have_eight_gpus(locks, alice, bob, carol):
    """[theirs: they check, then create; six of eight had GPU 0]"""
    for _ in range(3):
        racers = [locks.start("""
say("ready")
hear()
with lock_gpu() as lock:
    say(lock.uid)
    hear()
""", user) for user in (alice, bob, carol, None) * 2]
        for racer in racers:
            assert line(racer) == "ready"
        for racer in racers:
            tell(racer)
        assert sorted(line(racer) for racer in racers) == list("01234567")
        assert locks.run("say(fails(lock_gpu))") == BUSY + "\n"
        for racer in racers:
            tell(racer)
            finish(racer)


def test_nobody_shares_while_many_lock_and_unlock(locks, alice, bob):
    """Each GPU has a file while somebody has it."""
    directory = locks.daemon.directory / "taken"
    directory.mkdir()
    directory.chmod(0o777)
    racers = [locks.start(f"""
had = 0
for round in range(40):
    try:
        with lock_gpu({arguments}) as lock:
            files = [f"{directory}/{{uid}}" for uid in ([lock.uid] if isinstance(lock.uid, int) else lock.uid)]
            for file in files: os.close(os.open(file, os.O_CREAT | os.O_EXCL))
            for file in files: os.unlink(file)
            had += 1
    except RuntimeError: pass
say(had)
""", user) for user, arguments in ((alice, ""), (bob, ""), (alice, "uid=0"), (bob, "n=2"), (None, "n=3"), (None, "n_system_gpus=2"))]
    for racer in racers:
        assert int(finish(racer)) > 0
    assert locks.daemon.leases() == []


def test_what_is_killed_is_free(locks, alice, bob):
    """[theirs: found stale, unless its pid has been given to somebody else]"""
    holder = hold(locks, "n=8", alice)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    locks.daemon.wait_leases(0)
    assert locks.run("with lock_gpu(n=8): say(seen()[1])", bob) == "0,1,2,3,4,5,6,7\n"


def test_locks_outlive_dibsd(locks, alice, bob):
    holder = hold(locks, "", alice)
    locks.daemon.crash_and_restart()
    assert locks.run("say(fails(lambda: lock_gpu(uid=0)))", bob) == LOCKED.format(alice) + "\n"
    tell(holder)
    finish(holder)
    assert locks.daemon.leases() == []


def test_a_smaller_machine_than_it_was_told(make_daemon, locks_of, alice, bob):
    """[theirs: eight are assumed; with GPU 0 locked, KeyError: 1]"""
    locks = locks_of(make_daemon(sim="1xA100-80G").start())
    hold(locks, "", alice)
    assert locks.run("say(fails(lock_gpu)); say(fails(lambda: lock_gpu(n_system_gpus=8)))", bob) == f"{BUSY}\n{BUSY}\n"


def test_a_larger_machine_than_theirs(make_daemon, locks_of):
    locks = locks_of(make_daemon(sim="12xA100-80G").start())
    assert locks.says("with lock_gpu(n=12) as lock: say(json.dumps(lock.uid))") == list(range(12))


def test_a_gpu_in_use_without_a_lock(make_nvml, locks_of, alice, bob):
    """[theirs: with 95 % of its memory in use, and no load, it is handed out]"""
    nvml, daemon = make_nvml()
    daemon.start()
    locks = locks_of(daemon)
    nvml.gpus[0].values.update(memory="81920 512 77000", util=0)
    nvml.job(nvml.gpus[0], user=alice, memory=77000)
    wait_gpu(daemon, nvml.gpus[0], "foreign")
    assert locks.says("say(json.dumps([fails(lambda: lock_gpu(uid=0)), lock_gpu().uid, fails(lambda: lock_gpu(n=2))]))", bob) == [
        "Lock could have been aquired but the GPU is being used by a rogue user.", 1,
        "Could not acquire at 2 locks. Too many GPUs are busy!"]


def test_a_gpu_that_is_drained(locks, alice):
    locks.daemon.dibs("admin", "drain", "0", "--reason", "fan")
    said, uid = locks.says("say(json.dumps([fails(lambda: lock_gpu(uid=0)), lock_gpu().uid]))", alice)
    assert said.startswith("Could not aquire lock. GPU 0 is draining: ") and "fan" in said and uid == 1


def test_files_do_not_matter(locks, alice):
    """[theirs: an empty or truncated lock file is a JSONDecodeError] The module opens, makes and removes none."""
    assert locks.says("""
touched = []
sys.addaudithook(lambda event, words: touched.append(event) if "/var/tmp" in str(words) else None)
with lock_gpu(), lock_gpu(n=2): lock_gpu(uid=5).check_lock_availability()
say(json.dumps(touched))
""", alice) == []


def test_it_says_who_it_is_not(locks, alice, bob):
    """Its user is that of the kernel, not of the environment."""
    assert locks.run("with lock_gpu() as lock: say(lock.user)", alice, env={"LOGNAME": bob, "USER": bob}) == f"{alice}\n"


def test_a_liar_for_a_daemon(locks, base_directory):
    """An error of any kind is a RuntimeError with a sentence."""
    with tempfile.TemporaryDirectory(dir=base_directory) as directory:
        path = f"{directory}/fake"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            os.chmod(path, 0o666)
            listener.listen()
            program = locks.start("say(fails(lock_gpu))", env={"DIBS_SOCKET": path})
            listener.settimeout(DEADLINE)
            link, _ = listener.accept()
            with link:
                link.recv(1000)
                link.sendall(b"garbage\0")
            assert line(program) == "Could not aquire lock. what answers there does not speak org.dibs; is it dibsd?"


def test_the_page_is_true(locks, alice):
    """What is in backquotes in its table and is a block, runs."""
    page = (Path(__file__).resolve().parents[2] / "docs/coming-from/gpu_lock.md").read_text()
    blocks = re.findall(r"^\|.*", page, re.M)
    blocks = re.findall(r"`(with (?:lock_gpu|dibs\.lease)\([^`]*:)`", "\n".join(blocks))
    assert len(blocks) == 8
    locks.run("import dibs\n" + "\n".join(f"{block} pass" for block in blocks), alice)
