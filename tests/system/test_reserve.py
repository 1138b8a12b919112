# SPDX-License-Identifier: MIT
"""Holds, and what is done with leases: reserve, extend, release, list, show, status, admin."""

import grp
import json
import os
import pwd
import re
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from harness import DEADLINE, demote, read_line, wait_exit

MIXED = "4xH100-80G,4xV100-32G"
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d$")


def is_time(value):
    return isinstance(value, str) and RFC3339.match(value) is not None


def is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def is_text(value):
    return isinstance(value, str)


def is_null(value):
    return value is None


def either(*checks):
    return lambda value: any(check(value) for check in checks)


def list_of(check):
    return lambda value: isinstance(value, list) and all(check(member) for member in value)


def shape(**fields):
    """Just these fields, each as its check says."""
    def check(value):
        assert isinstance(value, dict) and sorted(value) == sorted(fields), value
        for name, field in fields.items():
            assert field(value[name]), (name, value[name])
        return True
    return check


def one_of(*values):
    return lambda value: value in values


LEASE_FIELDS = {
    "id": is_int, "kind": one_of("run", "hold", "job", "booking"),
    "state": one_of("waiting", "booked", "active", "grace"),
    "uid": is_int, "user": is_text, "gpus": list_of(is_int), "count": is_int,
    "share_mib": either(is_int, is_null), "since": either(is_time, is_null),
    "until": either(is_time, is_null), "command": either(is_text, is_null), "note": either(is_text, is_null),
    "position": either(is_int, is_null), "idle_since": either(is_time, is_null),
    "idle_release": either(is_time, is_null), "job": is_null,
}
LEASE = shape(**LEASE_FIELDS)
PROCESS = shape(pid=is_int, uid=either(is_int, is_null), user=either(is_text, is_null), command=is_text,
                memory_mib=either(is_int, is_null), lease=either(is_int, is_null),
                standing=one_of("lease", "ignored", "no_lease", "wrong_gpu", "anothers", "outside"),
                container=either(is_text, is_null))
GPU = shape(index=is_int, uuid=is_text, model=is_text, vendor=one_of("nvidia", "amd", "intel"),
            memory_mib=is_int, memory_used_mib=is_int, utilization=is_int, temperature_c=is_int,
            power_w=is_int, state=one_of("free", "leased", "foreign", "draining", "lost"),
            reason=either(is_text, is_null), leases=list_of(is_int), processes=list_of(PROCESS),
            free_since=either(is_time, is_null), nodes=list_of(is_text))
STATUS = shape(host=is_text, version=is_text, guard=one_of("off"), guard_method=is_null, guard_problem=is_null,
               gpus=list_of(GPU), leases=list_of(LEASE))
EVENT = shape(id=is_int, time=is_time, kind=is_text, lease=is_int, uid=either(is_int, is_null),
              user=either(is_text, is_null), gpu=either(is_text, is_null), detail=is_text)
SHOWN = shape(**LEASE_FIELDS | {"state": is_text, "submitted": is_time, "events": list_of(EVENT),
                                "ended": either(is_time, is_null), "end": either(is_text, is_null)})


def raw_lease(daemon, lease_id):
    """With times in microseconds."""
    with daemon.varlink() as link:
        return link.call("org.dibs.Show", {"id": lease_id})["parameters"]["lease"]


# What is printed


def test_reserve_prints_hold_gpus_expiry_and_a_line_to_paste(daemon, alice):
    first, second, *rest = daemon.dibs("reserve", "-g", "2", "-d", "1h30m", user=alice).stdout.splitlines()
    assert re.fullmatch(r"hold 1: GPU 0,1 until (\w{3} )?\d\d:\d\d \(1h30m\)", first)
    uuids = ",".join(gpu["uuid"] for gpu in daemon.status()["gpus"][:2])
    assert second == f"export CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES={uuids} NVIDIA_VISIBLE_DEVICES={uuids}"
    assert rest == []


def test_export_line_does_what_it_says_when_pasted(daemon, alice):
    out = daemon.shell('eval "$(dibs reserve -g 2 | grep ^export)"; echo $CUDA_VISIBLE_DEVICES', user=alice)
    assert out.strip() == ",".join(gpu["uuid"] for gpu in daemon.status()["gpus"][:2])


def test_reserve_json_is_the_lease_with_its_environment(daemon, alice):
    hold = daemon.reserve("-g", "2", "--note", "für Bob", user=alice)
    environment = hold.pop("environment")
    assert LEASE(hold)
    assert hold == daemon.leases()[0]
    assert (hold["user"], hold["gpus"], hold["note"], hold["command"]) == (alice, [0, 1], "für Bob", None)
    assert environment["DIBS_GPUS"] == "0,1" and environment["DIBS_LEASE"] == str(hold["id"])


def test_short_is_nothing_but_the_indices_even_after_waiting(daemon, alice, bob):
    hold = daemon.reserve("-g", "8", user=alice)
    process = daemon.popen("reserve", "--short", "-g", "2", user=bob)
    daemon.wait_leases(1, state="waiting")
    daemon.dibs("release", hold["id"], user=alice)
    out, err = process.communicate(timeout=DEADLINE)
    assert (out, process.returncode) == (b"0,1\n", 0)
    assert b"waiting for 2 GPUs" in err
    assert daemon.shell("x=$(dibs reserve --short --gpu 4); echo \"<$x>\"", user=bob) == "<4>\n"


def test_status_json_has_the_documented_fields(daemon, alice, bob):
    daemon.reserve("-g", "8", user=alice)
    waiting = daemon.popen("run", "--note", "hm", "--", "sleep", "1000", user=bob)
    daemon.wait_leases(1, state="waiting")
    status = daemon.status()
    assert STATUS(status)
    assert [gpu["index"] for gpu in status["gpus"]] == list(range(8))
    assert {(*gpu["leases"], gpu["state"], gpu["free_since"]) for gpu in status["gpus"]} == {(1, "leased", None)}
    hold, run = status["leases"]
    assert (hold["kind"], hold["state"], hold["position"]) == ("hold", "active", None)
    assert (run["kind"], run["state"], run["position"], run["gpus"], run["since"]) == ("run", "waiting", 1, [], None)
    assert (run["command"], run["note"], run["uid"]) == ("sleep 1000", "hm", pwd.getpwnam(bob).pw_uid)
    waiting.kill()


def test_list_queue_and_show_json_are_the_same_lease_object(daemon, alice, bob):
    daemon.reserve("-g", "8", user=alice)
    waiting = daemon.popen("run", "--", "true", user=bob)
    daemon.wait_leases(1, state="waiting")
    hold, run = daemon.status()["leases"]
    assert json.loads(daemon.dibs("list", "--json", user=alice).stdout) == [hold]
    assert json.loads(daemon.dibs("list", "--all", "--json", user=alice).stdout) == [hold, run]
    assert json.loads(daemon.dibs("queue", "--json", user=alice).stdout) == [run]
    shown = daemon.lease(hold["id"])
    assert SHOWN(shown)
    assert {name: shown[name] for name in hold} == hold
    assert [event["kind"] for event in shown["events"]] == ["granted"]
    waiting.kill()


def test_tables_in_a_pipe_are_plain_and_complete(daemon, alice, bob):
    daemon.reserve("-g", "7", "--note", "long " * 30, user=alice)
    waiting = daemon.popen("run", "-g", "2", "--", "sleep", "7", user=bob)
    daemon.wait_leases(1, state="waiting")
    status = daemon.dibs().stdout
    assert "\x1b" not in status
    lines = status.splitlines()
    assert lines[0].endswith(": 8 × A100-80G, 1 free, 7 leased, 1 waiting")
    assert re.match(r"GPU +MODEL +MEMORY +UTIL +TEMP +STATE +LEASE +USER +FOR +UNTIL +WHAT RUNS THERE", lines[2])
    assert re.match(rf" *0 +A100-80G .* leased +#1 +{alice} ", lines[3])
    assert re.match(r" *7 +A100-80G .* free ", lines[10])
    assert f"{bob}" in status and "sleep 7" in status
    table = daemon.dibs("list", user=alice).stdout
    assert ("long " * 30).strip() in table
    assert table.splitlines()[0].split() == ["LEASE", "KIND", "STATE", "GPU", "FOR", "UNTIL", "COMMAND"]
    assert re.match(rf" *1 +#2 +{bob} +any 2 +waiting +\d+s +sleep 7$", daemon.dibs("queue").stdout.splitlines()[1])
    waiting.kill()


def test_empty_listings_say_so(daemon, alice):
    assert daemon.dibs("list", user=alice).stdout == "you have no lease; 'dibs list --all' shows all\n"
    assert daemon.dibs("list", "--all", user=alice).stdout == "nobody has a lease\n"
    assert daemon.dibs("queue", user=alice).stdout == "nobody waits\n"
    assert daemon.dibs("list", "--json", user=alice).stdout == "[]\n"
    assert daemon.dibs("queue", "--json", user=alice).stdout == "[]\n"


@pytest.mark.parametrize("options, env, colored", [
    ([], {}, False), (["--color", "always"], {}, True), (["--color", "never"], {}, False),
    (["--color", "always"], {"NO_COLOR": "1"}, True), (["--color", "auto"], {"TERM": "xterm"}, False),
])
def test_color_in_a_pipe(daemon, options, env, colored):
    assert ("\x1b[" in daemon.dibs("status", *options, env=env).stdout) == colored


def test_color_takes_three_words(daemon):
    assert "auto, always or never" in daemon.dibs("--color", "sometimes", code=2).stderr


def test_watch_in_a_pipe_prints_a_table_for_each_change(daemon, alice):
    watch = daemon.popen("status", "--watch", user=alice)

    def lines_until(text):
        while text not in (line := read_line(watch.stdout)):
            assert line and "\x1b" not in line
        return line

    lines_until("A100-80G, 8 free")
    hold = daemon.reserve("-g", "3", user=alice)
    lines_until("A100-80G, 5 free, 3 leased")
    daemon.dibs("release", hold["id"], user=alice)
    lines_until("A100-80G, 8 free")
    watch.send_signal(signal.SIGTERM)
    assert wait_exit(watch) == 0


def test_watch_json_is_one_document_for_each_change(daemon, alice):
    watch = daemon.popen("status", "--watch", "--json", user=alice)

    def document():
        text = ""
        while not text.endswith("\n}\n"):
            text += read_line(watch.stdout)
        return json.loads(text)

    assert STATUS(document())
    daemon.reserve(user=alice)
    while not (status := document())["leases"]:
        pass
    assert STATUS(status) and status["leases"][0]["kind"] == "hold"
    watch.kill()


def test_watch_ends_when_its_reader_does(daemon, alice):
    watch = daemon.popen("status", "--watch", user=alice)
    read_line(watch.stdout)
    watch.stdout.close()
    daemon.reserve(user=alice)
    assert wait_exit(watch) != 0
    watch.stdout = None


COMPLETIONS = Path(__file__).parents[2] / "data/completions"


@pytest.mark.parametrize("shell, file", [("bash", "dibs.bash"), ("zsh", "_dibs"), ("fish", "dibs.fish")])
def test_completion_is_understood_by_its_shell(shell, file):
    if not shutil.which(shell):
        pytest.skip(f"no {shell}: not needed to be root")
    subprocess.run([shell, "-n", COMPLETIONS / file], check=True)


def test_bash_completes_verbs_options_and_leases(daemon, alice):
    hold = daemon.reserve(user=alice)["id"]

    def complete(*words):
        array = " ".join(f"'{word}'" for word in words)
        return daemon.shell(f"source {COMPLETIONS}/dibs.bash; COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; "
                            'COMP_LINE="${COMP_WORDS[*]}"; _dibs; echo "${COMPREPLY[@]}"', user=alice).split()

    assert set(complete("dibs", "re")) == {"reserve", "release", "resume", "requeue", "report"}
    assert complete("dibs", "reserve", "--sh") == ["--short"]
    assert complete("dibs", "release", "") == [str(hold)]
    assert complete("dibs", "admin", "un") == ["undrain"]


# Time


def test_hold_expires_on_time_and_who_waits_gets_the_gpu(daemon, alice, bob):
    first = daemon.reserve("-g", "8", "-d", "1s", user=alice)["id"]
    second = daemon.reserve("--gpu", "3", user=bob)["id"]
    ended, started = raw_lease(daemon, first), raw_lease(daemon, second)
    assert (ended["state"], ended["end"]) == ("ended", "expired")
    assert ended["ended"] == ended["until"] == ended["since"] + 1_000_000
    assert 0 <= started["since"] - ended["ended"] < 200_000


def test_default_and_maximum_of_a_hold_come_from_the_configuration(make_daemon, alice):
    daemon = make_daemon(config="[lease]\ndefault-hold = 20m\nmax-hold = 2h\n").start()
    lease = raw_lease(daemon, daemon.reserve(user=alice)["id"])
    assert lease["until"] - lease["since"] == 20 * 60_000_000
    assert daemon.dibs("reserve", "-d", "2h1m", user=alice, code=3).stderr == (
        "dibs: a hold of 2h1m asked for, at most 2h is allowed here; it can be extended later\n")
    daemon.dibs("reserve", "-d", "2h", user=alice)


def test_extend_adds_to_what_is_left_within_the_maximum(make_daemon, alice):
    daemon = make_daemon(config="[lease]\ndefault-hold = 1h\nmax-hold = 2h\n").start()
    hold = daemon.reserve("-d", "30m", user=alice)["id"]
    before = raw_lease(daemon, hold)
    assert re.fullmatch(r"hold 1: GPU 0 until (\w{3} )?\d\d:\d\d \(1h30m\)\n",
                        daemon.dibs("extend", hold, "1h", user=alice).stdout)
    assert raw_lease(daemon, hold)["until"] == before["until"] + 3600_000_000
    assert daemon.dibs("extend", hold, "1h", user=alice, code=3).stderr == (
        "dibs: hold #1 would end in 2h29m; at most 2h from now is allowed here\n")
    assert raw_lease(daemon, hold)["until"] == before["until"] + 3600_000_000
    assert [event["kind"] for event in daemon.lease(hold)["events"]] == ["granted", "extended"]


@pytest.mark.parametrize("duration", ["0", "", "-1h", "1e3s", "99999999999999999999h", "11y", "1h1h", "5"])
def test_extend_takes_durations_only(daemon, alice, duration):
    hold = daemon.reserve(user=alice)["id"]
    assert daemon.dibs("extend", hold, duration, user=alice, code=2).stderr.startswith("dibs: ")
    assert daemon.leases()[0]["id"] == hold


def test_a_run_without_limit_and_a_wish_cannot_be_extended(daemon, alice):
    run = daemon.popen("run", "-g", "8", "--", "sleep", "1000", user=alice)
    daemon.wait_leases(1, state="active")
    waiting = daemon.popen("reserve", user=alice)
    daemon.wait_leases(1, state="waiting")
    assert "has no time limit" in daemon.dibs("extend", 1, "1h", user=alice, code=3).stderr
    assert "is waiting, only one that holds GPUs can be extended" in daemon.dibs(
        "extend", 2, "1h", user=alice, code=3).stderr
    run.kill()
    wait_exit(waiting)


# Giving back


def test_release_by_id_by_gpu_and_all(daemon, alice):
    a, b, c, d = [daemon.reserve("-g", "2", user=alice)["id"] for _ in range(4)]
    assert daemon.dibs("release", a, f"#{b}", user=alice).stdout == (
        f"hold {a}: GPU 0,1 released\nhold {b}: GPU 2,3 released\n")
    assert daemon.dibs("release", "--gpu", "4", user=alice).stdout == f"hold {c}: GPU 4,5 released\n"
    run = daemon.popen("run", "--", "sleep", "1000", user=alice)
    daemon.wait_leases(1, kind="run", state="active")
    waiting = daemon.popen("reserve", "-g", "8", user=alice)
    daemon.wait_leases(1, state="waiting")
    out = daemon.dibs("release", "--all", user=alice).stdout.splitlines()
    assert out[0] == f"hold {d}: GPU 6,7 released"
    assert "its processes on GPU" in out[1] and out[2].endswith("left the queue")
    assert wait_exit(run) == -signal.SIGTERM
    assert wait_exit(waiting) == 3
    daemon.wait_leases(0)


def test_release_is_all_or_nothing(daemon, alice, bob):
    mine = daemon.reserve(user=alice)["id"]
    theirs = daemon.reserve(user=bob)["id"]
    before = daemon.leases()
    daemon.dibs("release", mine, theirs, user=alice, code=3)
    daemon.dibs("release", mine, "99", user=alice, code=2)
    daemon.dibs("release", "--gpu", "0,1", user=alice, code=3)
    daemon.dibs("release", "--gpu", "0,5", user=alice, code=2)
    assert daemon.leases() == before


@pytest.mark.parametrize("arguments, code, sentence", [
    (["99"], 2, "there is no lease #99, or it has ended; see 'dibs list'"),
    (["first"], 2, "'first' is not the number of a lease; 'dibs list' shows yours"),
    (["-1"], 2, "there is no option '-1'; see 'dibs release --help'"),
    (["0"], 2, "'0' is not the number of a lease; 'dibs list' shows yours"),
    (["99999999999999999999"], 2, "'99999999999999999999' is not the number of a lease; 'dibs list' shows yours"),
    (["--gpu", "5"], 2, "GPU 5 is not leased"),
    (["--gpu", "88"], 2, "GPU 88 does not exist; this machine has 0-7"),
    (["1", "--all"], 2, "give either IDs, or --gpu, or --all"),
    (["1"], 3, "hold #1 belongs to {bob}, only they can release it; ask them, or an administrator"),
    (["--gpu", "0"], 3, "hold #1 belongs to {bob}, only they can release it; ask them, or an administrator"),
])
def test_release_says_what_it_cannot(daemon, alice, bob, arguments, code, sentence):
    hold = daemon.reserve(user=bob)["id"]
    assert daemon.dibs("release", *arguments, user=alice, code=code).stderr == f"dibs: {sentence.format(bob=bob)}\n"
    assert [lease["id"] for lease in daemon.leases()] == [hold]


def test_what_is_anothers_is_not_extended(daemon, alice, bob):
    daemon.reserve(user=bob)
    assert daemon.dibs("extend", 1, "1h", user=alice, code=3).stderr == (
        f"dibs: hold #1 belongs to {bob}, only they can extend it; ask them, or an administrator\n")
    assert "administrators use 'dibs admin'" in daemon.dibs("release", 1, code=3).stderr


# What can be asked for

IMPOSSIBLE = [
    (["-g", "9"], "9 GPUs asked for, but this machine has 8"),
    (["--type", "A100"], "no GPU of type 'A100' here; there are H100-80G and V100-32G"),
    (["--type", "V100", "-g", "5"], "5 GPUs of type 'V100' asked for, but this machine has 4"),
    (["--type", "V100", "--gpu", "0"], "GPU 0 is listed, but is of type H100-80G, not 'V100'"),
    (["--gpu", "99"], "GPU 99 does not exist; this machine has 0-7"),
    (["--gpu", "-1"], "GPU -1 does not exist; this machine has 0-7"),
    (["--gpu", "GPU-nope"], "GPU GPU-nope does not exist; this machine has 0-7"),
    (["--gpu", "1,1"], "GPU 1 is listed twice"),
    (["--gpu", "0,1", "-g", "3"], "3 GPUs asked for, but 2 are listed"),
    (["--gpu", "GPU-"], "'GPU-' is the beginning of 8 GPUs; type more of it"),
    (["--min-memory", "81G"], "1 GPU with at least 82944 MiB of memory asked for, but this machine has 0"),
    (["--min-memory", "40G", "-g", "5"], "5 GPUs with at least 40960 MiB of memory asked for, but this machine has 4"),
    (["--min-memory", "40G", "--gpu", "5"], "GPU 5 is listed, but is not known to have the 40960 MiB asked for"),
    (["-g", "0"], "-g/--gpus takes a whole number from 1 to 256, not '0'"),
    (["-g", "-1"], "-g/--gpus takes a whole number from 1 to 256, not '-1'"),
    (["-g", "1e9"], "-g/--gpus takes a whole number from 1 to 256, not '1e9'"),
    (["-g", ""], "-g/--gpus takes a whole number from 1 to 256, not ''"),
    (["-g", "99999999999999999999"], "-g/--gpus takes a whole number from 1 to 256, not '99999999999999999999'"),
    (["--gpu", ""], "--gpu takes names separated by single commas, not ''"),
    (["--gpu", "0,"], "--gpu takes names separated by single commas, not '0,'"),
    (["--type", ","], "--type takes names separated by single commas, not ','"),
    (["--wait", "1h", "--no-wait"], "--wait and --no-wait contradict each other; give one"),
    (["--wait", "soon"], "--wait takes a duration as 90s, 30m, 4h, 2d, 1w or 1h30m, not 'soon'"),
    (["--min-memory", "8"], "--min-memory takes a size with its unit as 24G or 8192M, not '8'"),
    (["--min-memory", "99999999999999999999G"], "--min-memory: '99999999999999999999G' is out of range"),
    (["--note", "x" * 10_000], None),
    (["--note", b"\xff\xfe"], "the note is not valid UTF-8"),
    (["--no-such-option"], None),
    (["--gpus"], None),
]


@pytest.mark.parametrize("verb", ["reserve", "run"])
def test_impossible_and_wrong_requests_are_refused_at_once(make_daemon, alice, bob, verb):
    daemon = make_daemon(sim=MIXED).start()
    daemon.reserve("-g", "8", user=alice)  # nobody should wait for what can never be
    for options, sentence in IMPOSSIBLE:
        options = [option if isinstance(option, str) else os.fsdecode(option) for option in options]
        result = daemon.dibs(verb, *options, *(["--", "true"] if verb == "run" else []), user=bob, code=2)
        assert result.stdout == "" and result.stderr.startswith("dibs: ") and result.stderr.count("\n") == 1
        assert sentence is None or result.stderr == f"dibs: {sentence}\n"
    assert len(daemon.leases()) == 1


@pytest.mark.parametrize("duration", ["0", "", "-1h", "1e3s", "99999999999999999999h", "11y", "1h1h", "5"])
def test_hold_takes_durations_only(daemon, alice, duration):
    assert daemon.dibs("reserve", "-d", duration, user=alice, code=2).stderr.startswith("dibs: --duration")
    assert daemon.leases() == []


def test_gpus_can_be_listed_by_index_uuid_and_beginning_of_uuid(daemon, alice):
    uuids = [gpu["uuid"] for gpu in daemon.status()["gpus"]]
    assert daemon.reserve("--gpu", f"6,{uuids[2]},{uuids[4][:10].upper()}", user=alice)["gpus"] == [2, 4, 6]
    assert daemon.reserve("--gpu", "1,3", "-g", "2", user=alice)["gpus"] == [1, 3]


def test_types_are_parts_of_the_name_and_several_are_alternatives(make_daemon, alice):
    daemon = make_daemon(sim="2xH100-80G,2xV100-32G,2xA100-40G").start()
    assert daemon.reserve("--type", "v100", user=alice)["gpus"] == [2]
    assert daemon.reserve("--type", "a1,H100", "-g", "4", user=alice)["gpus"] == [0, 1, 4, 5]
    daemon.dibs("reserve", "--type", "v100", "-g", "2", "--no-wait", user=alice, code=4)


def test_min_memory_is_of_the_card(make_daemon, alice):
    daemon = make_daemon(sim="2xV100-32G,2xH100-80G").start()
    assert daemon.reserve("--min-memory", "33G", user=alice)["gpus"] == [2]
    assert daemon.reserve("--min-memory", "32768M", "-g", "3", user=alice)["gpus"] == [0, 1, 3]


@pytest.mark.parametrize("note, shown", [
    ("%n%s%d", "%n%s%d"), ("'; DROP TABLE leases; --", "'; DROP TABLE leases; --"), ("<b>&amp;", "<b>&amp;"),
    ("día ☕", "día ☕"), ("a\x1b[2Jb\nc\td\x07", "a?[2Jb?c?d?"), ("\u202eevil", None),
])
def test_note_is_text_and_nothing_else(daemon, alice, note, shown):
    daemon.reserve("--note", note, user=alice)
    kept = daemon.leases()[0]["note"]
    assert kept == shown or (shown is None and kept)
    table = daemon.dibs("list", user=alice).stdout
    assert kept in table
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", table + daemon.dibs("show", 1).stdout + daemon.dibs().stdout)


def test_no_wait_and_wait_that_elapses_say_who_has_the_gpus(daemon, alice, bob):
    daemon.reserve("-g", "8", user=alice)
    now = daemon.dibs("reserve", "--gpu", "0", "--no-wait", user=bob, code=4)
    assert re.fullmatch(rf"dibs: GPU 0 is leased by {alice} until [-0-9: ]+ \(hold #1\)\n", now.stderr)
    began = time.monotonic()
    later = daemon.dibs("reserve", "--gpu", "0", "--wait", "1s", user=bob, code=4)
    assert 0.9 < time.monotonic() - began < 3
    assert later.stderr.splitlines()[-1].startswith(f"dibs: still not free: GPU 0 is leased by {alice} until ")
    assert now.stdout == later.stdout == ""
    assert len(daemon.leases()) == 1


# Administrators


def drain_all(daemon, user, **options):
    return [daemon.dibs("admin", "drain", "0", "--reason", "fan", user=user, **options),
            daemon.dibs("admin", "undrain", "0", user=user, **options),
            daemon.dibs("admin", "release", "1", "--reason", "reboot", user=user, **options),
            daemon.dibs("admin", "sensor", "pause", user=user, **options)]


def test_administration_is_refused_to_others(daemon, alice, bob):
    daemon.reserve(user=bob)
    sentence = f"dibs: only administrators can do this; you are {alice}: ask one of them, or use sudo\n"
    for result in drain_all(daemon, alice, code=3):
        assert result.stderr == sentence
    assert daemon.status()["gpus"][0]["state"] == "leased" and len(daemon.leases()) == 1


def test_root_drains_undrains_and_releases(daemon, alice):
    daemon.reserve(user=alice)
    drain, undrain, release, _ = drain_all(daemon, None)
    assert drain.stdout == "GPU 0 is draining: fan\n"
    assert undrain.stdout == "GPU 0 is leased\n"
    assert release.stdout == "hold 1: GPU 0 released\n"
    shown = daemon.lease(1)
    assert (shown["end"], shown["events"][-1]["detail"], shown["events"][-1]["user"]) == ("admin", "reboot", "root")
    daemon.dibs("admin", "sensor", "resume")


@pytest.mark.parametrize("how", ["primary group", "supplementary group"])
def test_members_of_the_admin_group_administer(make_daemon, alice, bob, carol, how):
    daemon = make_daemon(config=f"[daemon]\nadmin-group = {bob}\n").start()
    daemon.reserve(user=alice)
    become = demote(carol)

    def member():
        gid = grp.getgrnam(bob).gr_gid
        entry = pwd.getpwnam(carol)
        os.setgroups([gid] if how == "supplementary group" else [])
        os.setgid(entry.pw_gid if how == "supplementary group" else gid)
        os.setuid(entry.pw_uid)

    for result in drain_all(daemon, None, preexec_fn=member):
        assert result.returncode == 0
    for result in drain_all(daemon, None, preexec_fn=become, code=3):
        assert "only administrators" in result.stderr


def test_drained_gpu_is_handed_out_no_more_but_its_lease_goes_on(daemon, alice, bob):
    hold = daemon.reserve("--gpu", "3", user=alice)["id"]
    daemon.dibs("admin", "drain", "3", "--reason", "fan <3")
    gpu = daemon.status()["gpus"][3]
    assert (gpu["state"], gpu["reason"], gpu["leases"]) == ("draining", "fan <3", [hold])
    daemon.dibs("release", hold, user=alice)
    assert daemon.dibs("reserve", "--gpu", "3", "--no-wait", user=bob, code=4).stderr.startswith("dibs: GPU 3 is ")
    assert 3 not in daemon.reserve("-g", "7", user=bob)["gpus"]
    waiting = daemon.popen("reserve", "--short", user=alice)
    daemon.wait_leases(1, state="waiting")
    daemon.dibs("admin", "undrain", "3")
    assert waiting.communicate(timeout=DEADLINE)[0] == b"3\n"


def test_admin_needs_a_reason_and_one_gpu_or_lease(daemon):
    assert "--reason TEXT is missing" in daemon.dibs("admin", "drain", "0", code=2).stderr
    assert "--reason TEXT is missing" in daemon.dibs("admin", "release", "1", "--reason", "", code=2).stderr
    assert daemon.dibs("admin", "drain", "0,1", "--reason", "x", code=2).stderr == "dibs: name one GPU, not '0,1'\n"
    assert "there is no lease #7" in daemon.dibs("admin", "release", "7", "--reason", "x", code=2).stderr
    assert "does not exist" in daemon.dibs("admin", "undrain", "8", code=2).stderr
    assert daemon.dibs("admin", code=2).stdout == ""


def test_admin_release_of_a_run_and_of_a_wish(daemon, alice, bob):
    run = daemon.popen("run", "-g", "8", "--", "sleep", "1000", user=alice)
    daemon.wait_leases(1, state="active")
    waiting = daemon.popen("run", "--", "true", user=bob)
    daemon.wait_leases(1, state="waiting")
    daemon.dibs("admin", "release", 2, "--reason", "no")
    assert wait_exit(waiting) == 3
    assert "taken out of the queue by an administrator" in waiting.stderr.read().decode()
    daemon.dibs("admin", "release", 1, "--reason", "no")
    assert wait_exit(run) == -signal.SIGTERM
    daemon.wait_leases(0)


def test_no_lease_starts_while_the_sensor_is_paused(daemon, alice):
    daemon.dibs("admin", "sensor", "pause")
    assert "paused by an administrator" in daemon.dibs("reserve", "--no-wait", user=alice, code=4).stderr
    waiting = daemon.popen("reserve", "--short", user=alice)
    daemon.wait_leases(1, state="waiting")
    assert not select.select([waiting.stdout], [], [], 0)[0]
    daemon.dibs("admin", "sensor", "resume")
    assert waiting.communicate(timeout=DEADLINE)[0] == b"0\n"
