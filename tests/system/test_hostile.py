# SPDX-License-Identifier: MIT
"""What arrives at the socket was written by anybody: broken, endless, or in somebody else's name."""

import contextlib
import json
import os
import random
import socket
import subprocess

import pytest
from harness import DEADLINE, demote

SECOND = 1_000_000
LARGEST = 384 * 1024
ADMIN_GROUP = 54321
SERVICE = "org.varlink.service."


def as_user(user, function, groups=None):
    """What function() returns (JSON) in a process of that user."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            (demote(user) if groups is None else demote_to(user, groups))()
            os.write(write, json.dumps(function()).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    assert data, "the process of the user failed"
    return json.loads(data)


def demote_to(user, groups):
    def become():
        os.setgroups(groups)
        os.setgid(groups[0])
        os.setuid(int(subprocess.check_output(["id", "-u", user])))
    return become


def call(daemon, method, parameters=None):
    with daemon.varlink() as link:
        return link.call(method, parameters)


def check_alive(daemon):
    assert "error" not in call(daemon, "org.dibs.GetStatus")


def answers(daemon, data):
    """All that comes back for data until the daemon hangs up."""
    received = []
    with daemon.varlink() as link:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            link.send_raw(data)
        while (message := link.receive()) is not None:
            received.append(message)
    return received


# Frames

GET_INFO = b'{"method":"org.varlink.service.GetInfo"}'


@pytest.mark.parametrize("data, said", [
    pytest.param(b"x" * LARGEST, "larger", id="too large"),
    pytest.param(b'{"method":"' + b"x" * LARGEST * 4, "larger", id="much too large"),
    pytest.param(random.Random(1).randbytes(5000).replace(b"\0", b"\1") + b"\0", "not JSON", id="binary"),
    pytest.param(b"\xff\xfe{}\0", "not JSON", id="not UTF-8"),
    pytest.param(b'{"method":"org.dibs.GetStatus\xc3"}\0', "not JSON", id="half a character"),
    pytest.param(b"\0" * 50000, "not JSON", id="NULs"),
    pytest.param(b"[" * (LARGEST - 1) + b"\0", "not JSON", id="nested arrays"),
    pytest.param(b'{"a":' * 10000 + b"\0", "not JSON", id="nested objects"),
    pytest.param(b"[" * 2000 + b"]" * 2000 + b"\0", "", id="deep but whole"),
    pytest.param(b"42\0", "not JSON", id="number"),
    pytest.param(b"[]\0", "object", id="array"),
    pytest.param(b"{}\0", "method", id="no method"),
    pytest.param(b'{"method":null}\0', "method", id="null method"),
    pytest.param(b'{"method":"org.dibs.GetStatus\\u0000"}\0', "", id="NUL in a string"),
    pytest.param(b'{"method":"a","method":"b"}\0', "duplicate", id="method twice"),
    pytest.param(b'{"method":"org.dibs.Show","parameters":{"id":1,"id":2}}\0', "duplicate", id="parameter twice"),
    pytest.param(b'{"method":"org.dibs.GetStatus","parameters":[]}\0', "parameters", id="parameters are no object"),
    pytest.param(b'{"method":"org.dibs.GetStatus","more":1}\0', "more", id="more is no boolean"),
    pytest.param(b'{"method":"org.dibs.GetStatus","mroe":true}\0', "mroe", id="unknown member"),
    pytest.param(b'{"method":"org.dibs.GetStatus","upgrade":true}\0', "upgrade", id="upgrade"),
    pytest.param(b'{"method":"org.dibs.GetStatus","more":true,"oneway":true}\0', "oneway", id="more and oneway"),
    pytest.param(b'{"method":"org.dibs.Show","parameters":{"id":99999999999999999999}}\0', "", id="number overflow"),
    pytest.param(b'{"method":"org.dibs.Show","parameters":{"id":1e999}}\0', "", id="real overflow"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\0", "not JSON", id="HTTP"),
])
def test_what_is_not_a_call_is_refused_with_a_sentence_and_a_hangup(daemon, data, said):
    received = answers(daemon, data + GET_INFO)
    assert len(received) == 1 and received[0]["error"] == "org.dibs.Invalid", received
    message = received[0]["parameters"]["message"]
    assert said in message and message.isprintable(), message
    check_alive(daemon)


def test_half_a_message_harms_nobody(daemon):
    with daemon.varlink() as silent, daemon.varlink() as slow:
        silent.send_raw(GET_INFO)
        for byte in GET_INFO + b"\0":
            slow.send_raw(bytes([byte]))
            check_alive(daemon)
        assert slow.receive()["parameters"]["product"] == "dibsd"
    check_alive(daemon)


def test_what_is_sent_after_a_refused_call_is_not_looked_at(daemon):
    reserve = b'{"method":"org.dibs.Request","parameters":{"kind":"hold"}}\0'
    assert len(answers(daemon, b"rubbish\0" + reserve)) == 1
    assert call(daemon, "org.dibs.GetStatus")["parameters"]["leases"] == []


def test_calls_in_one_go_are_answered_in_order(daemon):
    hold = call(daemon, "org.dibs.Request", {"kind": "hold"})["parameters"]["lease"]["id"]
    calls, expected = [], []
    for number in range(1000, 1500):
        calls += [("org.dibs.Show", {"id": number}), ("org.dibs.Extend", {"id": hold, "duration_us": SECOND})]
        expected += [f"#{number}", None]
    with daemon.varlink() as link:
        link.send_raw(b"".join(json.dumps({"method": m, "parameters": p}).encode() + b"\0" for m, p in calls))
        until = 0
        for text in expected:
            reply = link.receive()["parameters"]
            if text:
                assert text in reply["message"]
            else:
                assert reply["lease"]["until"] > until
                until = reply["lease"]["until"]


def test_who_sends_no_more_is_still_answered(daemon):
    """As `echo ... | socat - UNIX-CONNECT:...` does; but who waits so has left the queue."""
    with daemon.varlink() as client:
        client.send("org.dibs.GetStatus")
        client.socket.shutdown(socket.SHUT_WR)
        assert len(client.receive()["parameters"]["gpus"]) == 8
        assert client.receive() is None
    daemon.reserve("-g", "8")
    with daemon.varlink() as client:
        client.send("org.dibs.Request", {"kind": "hold"}, more=True)
        client.socket.shutdown(socket.SHUT_WR)
        daemon.wait_leases(0, state="waiting")


def test_oneway_calls_are_done_and_not_answered(daemon):
    with daemon.varlink() as link:
        link.send("org.dibs.Drain", {"gpu": "3", "reason": "fan"}, oneway=True)
        link.send("org.dibs.Nonsense", oneway=True)
        link.send("org.dibs.Drain", {"gpu": 3}, oneway=True)
        link.send("org.dibs.GetStatus")
        gpus = link.receive()["parameters"]["gpus"]
    assert [gpu["state"] for gpu in gpus].count("draining") == 1 and gpus[3]["reason"] == "fan"


def test_random_bytes_and_random_cuts_harm_nobody(daemon):
    rng = random.Random(7)
    good = json.dumps({"method": "org.dibs.Request", "parameters": {"kind": "hold", "wait_us": 0}}).encode() + b"\0"
    for _ in range(300):
        data = bytearray(good * rng.randint(1, 3))
        for _ in range(rng.randint(0, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with daemon.varlink() as link, contextlib.suppress(ConnectionError):
            link.send_raw(bytes(data[:rng.randint(1, len(data))]))
    check_alive(daemon)


# Methods and parameters


def test_the_service_describes_itself(daemon):
    info = call(daemon, SERVICE + "GetInfo")["parameters"]
    assert info["interfaces"] == ["org.varlink.service", "org.dibs"] and info["product"] == "dibsd"
    for interface in info["interfaces"]:
        text = call(daemon, SERVICE + "GetInterfaceDescription", {"interface": interface})["parameters"]["description"]
        assert f"interface {interface}\n" in text and "method " in text
    reply = call(daemon, SERVICE + "GetInterfaceDescription", {"interface": "org.nobody"})
    assert reply == {"error": SERVICE + "InterfaceNotFound", "parameters": {"interface": "org.nobody"}}
    assert call(daemon, SERVICE + "GetInterfaceDescription", {"interface": 7})["error"] == SERVICE + "InvalidParameter"


@pytest.mark.parametrize("method, error", [
    ("org.dibs.Nonsense", "MethodNotFound"), ("org.dibs.", "MethodNotFound"), ("org.dibs.getStatus", "MethodNotFound"),
    ("org.dibs.Request.More", "InterfaceNotFound"), (SERVICE + "Nonsense", "MethodNotFound"),
    ("org.nobody.Do", "InterfaceNotFound"), ("org.dibsx.GetStatus", "InterfaceNotFound"),
    ("GetStatus", "InterfaceNotFound"), (".", "InterfaceNotFound"),
])
def test_unknown_methods_are_told_apart_from_unknown_interfaces(daemon, method, error):
    assert call(daemon, method)["error"] == SERVICE + error
    check_alive(daemon)


TYPES = {
    "int": ["1", 1.5, True, [], {}, -1, -(1 << 63)],
    "bool": ["true", 1, 0, [], {}],
    "text": [1, True, [], {}, ["x"], "x" * 60000],
    "texts": ["0", 1, True, {}, [1], [""], ["0,1"], [["0"]], [None], ["0"] * 10000],
    "ints": [1, "1", {}, ["1"], [1.5], [0], [-1], [[1]], [None]],
}
METHODS = {
    "Request": ({"kind": "hold"}, {
        "kind": "text", "count": "int", "gpus": "texts", "types": "texts", "min_memory_mib": "int",
        "duration_us": "int", "wait_us": "int", "force": "bool", "note": "text", "command": "text"}, ["kind"]),
    "Resume": ({"id": 1}, {"id": "int"}, ["id"]),
    "Release": ({}, {"ids": "ints", "gpus": "texts", "all": "bool"}, []),
    "Extend": ({"id": 1, "duration_us": 1}, {"id": "int", "duration_us": "int"}, ["id", "duration_us"]),
    "Show": ({"id": 1}, {"id": "int"}, ["id"]),
    "GetStatus": ({}, {}, []),
    "Drain": ({"gpu": "0", "reason": "x"}, {"gpu": "text", "reason": "text"}, ["gpu", "reason"]),
    "Undrain": ({"gpu": "0"}, {"gpu": "text"}, ["gpu"]),
    "AdminRelease": ({"id": 1, "reason": "x"}, {"id": "int", "reason": "text"}, ["id", "reason"]),
    "ControlSensor": ({"action": "resume"}, {"action": "text"}, ["action"]),
}
OUT_OF_RANGE = [
    ("Request", {"kind": "job"}, "kind"), ("Request", {"kind": ""}, "kind"), ("Request", {"kind": "HOLD"}, "kind"),
    ("Request", {"kind": "hold", "count": 0}, "count"), ("Request", {"kind": "hold", "count": 1 << 62}, "count"),
    ("Request", {"kind": "hold", "duration_us": 0}, "duration_us"),
    ("Request", {"kind": "hold", "duration_us": (1 << 63) - 1}, "duration_us"),
    ("Request", {"kind": "hold", "wait_us": (1 << 63) - 1}, "wait_us"),
    ("Request", {"kind": "hold", "min_memory_mib": 0}, "min_memory_mib"),
    ("Request", {"kind": "hold", "min_memory_mib": (1 << 63) - 1}, "min_memory_mib"),
    ("Request", {"kind": "hold", "note": "x" * 501}, "note"),
    ("Extend", {"id": 1, "duration_us": 0}, "duration_us"), ("Extend", {"id": 0, "duration_us": 1}, "id"),
    ("Extend", {"id": 1, "duration_us": (1 << 63) - 1}, "duration_us"), ("Show", {"id": 0}, "id"),
    ("Drain", {"gpu": "0", "reason": ""}, "reason"), ("Drain", {"gpu": "", "reason": "x"}, "gpu"),
    ("ControlSensor", {"action": "explode"}, "action"),
]


def bad_calls():
    for method, (good, fields, required) in METHODS.items():
        yield method, {**good, "surplus": 1}, "surplus"
        yield method, {**good, "uid": 0}, "uid"
        for name in required:
            yield method, {k: v for k, v in good.items() if k != name}, name
            yield method, {**good, name: None}, name
        for name, kind in fields.items():
            for value in TYPES[kind]:
                yield method, {**good, name: value}, name
    yield from OUT_OF_RANGE


def test_every_wrong_parameter_of_every_method_is_refused_by_name(daemon):
    before = call(daemon, "org.dibs.GetStatus")
    with daemon.varlink() as link:
        for method, parameters, name in bad_calls():
            reply = link.call("org.dibs." + method, parameters)
            shown = f"{method} {str(parameters)[:100]}: {reply}"
            assert reply["error"] == SERVICE + "InvalidParameter" and reply["parameters"]["parameter"] == name, shown
            assert name in reply["parameters"]["message"], shown
    after = call(daemon, "org.dibs.GetStatus")
    assert after["parameters"]["leases"] == before["parameters"]["leases"] == []
    assert all(gpu["state"] == "free" for gpu in after["parameters"]["gpus"])


@pytest.mark.parametrize("parameters", [
    {"count": 9}, {"count": 1000000}, {"gpus": ["99"]}, {"gpus": ["1", "1"]}, {"gpus": ["0", "1"], "count": 3},
    {"gpus": ["-1"]}, {"gpus": ["1e0"]}, {"gpus": [" 1"]}, {"gpus": ["18446744073709551617"]}, {"gpus": ["GPU-"]},
    {"gpus": ["x" * 3000]}, {"types": ["H200"]}, {"types": ["%s%n"]}, {"min_memory_mib": 81921},
    {"gpus": []}, {"types": []}, {"gpus": ["0\u001b[2J"]},
])
def test_what_this_machine_can_never_do_is_refused_at_once(daemon, parameters):
    call(daemon, "org.dibs.Request", {"kind": "hold", "count": 8})
    reply = call(daemon, "org.dibs.Request", {"kind": "hold", **parameters})
    assert reply["error"] == "org.dibs.Invalid", reply
    message = reply["parameters"]["message"]
    assert message.isprintable() and len(message) < 1000


# In somebody else's name


@pytest.fixture
def alices(make_daemon, alice):
    """(daemon, a hold of alice on GPUs 0 and 1)"""
    daemon = make_daemon(config=f"[daemon]\nadmin-group = {ADMIN_GROUP}\n").start()
    return daemon, daemon.reserve("--gpu", "0,1", user=alice)


@pytest.mark.parametrize("command", [
    ["release", "{id}"], ["release", "--gpu", "0"], ["release", "--gpu", "0,5"], ["extend", "{id}", "1h"],
    ["admin", "release", "{id}", "--reason", "mine now"], ["admin", "drain", "5", "--reason", "mine now"],
    ["admin", "undrain", "5"], ["admin", "sensor", "pause"], ["admin", "sensor", "resume"],
])
def test_what_is_not_theirs_to_do_is_refused(alices, bob, command):
    daemon, hold = alices
    refused = daemon.dibs(*(word.format(**hold) for word in command), user=bob, code=3)
    assert refused.stderr.startswith("dibs: ") and not refused.stdout, refused
    lease = daemon.lease(hold["id"])
    assert lease["state"] == "active" and lease["until"] == hold["until"]
    assert [gpu["state"] for gpu in daemon.status()["gpus"]] == ["leased"] * 2 + ["free"] * 6


def test_all_or_nothing_is_released(alices, alice, bob):
    daemon, hold = alices
    own = daemon.reserve("--gpu", "5", user=bob)
    daemon.dibs("release", own["id"], hold["id"], user=bob, code=3)
    assert len(daemon.leases(state="active")) == 2
    daemon.dibs("release", "--all", user=bob)
    assert [lease["id"] for lease in daemon.leases()] == [hold["id"]]


def test_root_is_an_administrator_but_not_the_owner(alices):
    daemon, hold = alices
    assert "dibs admin" in daemon.dibs("release", hold["id"], code=3).stderr
    daemon.dibs("admin", "release", hold["id"], "--reason", "maintenance")
    events = daemon.lease(hold["id"])["events"]
    assert (events[-1]["kind"], events[-1]["detail"], events[-1]["uid"]) == ("ended", "maintenance", 0)


@pytest.mark.parametrize("groups, code", [([ADMIN_GROUP], 0), ([1, 2, 3, ADMIN_GROUP], 0), ([1, 2, 3], 3), ([0], 3)])
def test_administrators_are_who_the_kernel_says(alices, carol, groups, code):
    """Membership counts as the kernel has it of the caller, whatever /etc/group says."""
    daemon, hold = alices
    daemon.dibs("admin", "release", hold["id"], "--reason", "x", preexec_fn=demote_to(carol, groups), code=code)
    assert daemon.lease(hold["id"])["state"] == ("ended" if code == 0 else "active")


def test_many_groups_do_not_hide_the_one(alices, carol):
    daemon, hold = alices
    groups = [*range(100000, 103000), ADMIN_GROUP]
    daemon.dibs("admin", "release", hold["id"], "--reason", "x", preexec_fn=demote_to(carol, groups))


@pytest.mark.parametrize("method, parameters", [
    ("Release", {"ids": [1]}), ("Release", {"gpus": ["0"]}), ("Extend", {"id": 1, "duration_us": 1}),
    ("Resume", {"id": 1}), ("AdminRelease", {"id": 1, "reason": "x"}), ("Drain", {"gpu": "0", "reason": "x"}),
    ("Undrain", {"gpu": "0"}), ("ControlSensor", {"action": "pause"}),
])
def test_a_program_of_another_user_is_refused(alices, bob, method, parameters):
    daemon, hold = alices
    assert hold["id"] == 1
    reply = as_user(bob, lambda: call(daemon, "org.dibs." + method, parameters))
    assert reply["error"] == "org.dibs.Refused", reply
    assert daemon.lease(1)["state"] == "active"


def test_only_the_process_that_waits_takes_its_request_up_again(daemon, alice, bob):
    daemon.reserve("-g", "8")
    daemon.popen("reserve", user=alice)
    lease = daemon.wait_leases(1, state="waiting")[0]["id"]
    for user in (alice, bob):
        reply = as_user(user, lambda: call(daemon, "org.dibs.Resume", {"id": lease}))
        assert reply["error"] == "org.dibs.Refused" and f"#{lease}" in reply["parameters"]["message"]
    daemon.crash_and_restart()
    reply = as_user(alice, lambda: call(daemon, "org.dibs.Resume", {"id": lease}))
    assert reply["error"] == "org.dibs.Refused"
    assert len(daemon.leases(id=lease, state="waiting")) == 1


def test_names_in_the_environment_are_not_believed(daemon, alice, bob):
    lie = {"USER": "root", "LOGNAME": alice, "SUDO_UID": "0", "HOME": "/root", "DIBS_USER": "root"}
    lease = json.loads(daemon.dibs("reserve", "--json", user=bob, env=lie).stdout)
    assert lease["user"] == bob
    assert daemon.leases(user=bob, state="active")
    daemon.dibs("admin", "drain", "0", "--reason", "x", user=bob, env=lie, code=3)


# Texts

NOTES = {
    "escape": "\x1b[2J\x1b]0;owned\x07\x1b[31mred", "controls": "".join(map(chr, range(1, 32))) + "\x7f",
    "C1": "\u009b2J\u0085\u0090", "newlines": "one\ntwo\r\nthree", "bidi": "\u202egnp.exe\u2066",
    "SQL": "'); DROP TABLE lease; --", "HTML": "<script>alert(1)</script>&amp;\"'", "format": "%n%n%s%s%1000000d",
    "shell": "$(reboot) `reboot` ; rm -rf /", "json": '{"a":"\\u0000"}', "utf8": "Grüße 東京 👩‍🔬", "blank": "   ",
    "longest": "x" * 500, "longest wide": "ü" * 250,
}
DANGEROUS = [chr(c) for c in [*range(0, 10), *range(11, 32), *range(127, 160)]]


@pytest.mark.parametrize("note", NOTES.values(), ids=NOTES)
def test_notes_are_kept_and_shown_harmlessly(daemon, alice, bob, note):
    hold = daemon.reserve("--note", note, user=alice)
    assert len(note) - 16 <= len(hold["note"]) or note.isspace()
    waiting = daemon.popen("run", "-g", "8", "--note", note, "--", "echo", note, user=bob)
    daemon.wait_leases(1, state="waiting")
    daemon.dibs("admin", "drain", "7", "--reason", note[:90] or "x")
    for listing in (["status"], ["list"], ["queue"], ["show", hold["id"]], ["status", "--json"],
                    ["show", hold["id"], "--json"]):
        shown = daemon.dibs(*listing, env={"LC_ALL": "C.UTF-8"}).stdout
        assert not [c for c in DANGEROUS if c in shown], shown
    waiting.kill()
    daemon.crash_and_restart()
    assert daemon.leases(id=hold["id"])[0]["note"] == hold["note"]
    assert not [c for c in DANGEROUS if c in daemon.drain_log()]


@pytest.mark.parametrize("note", ["x" * 501, "x" * 10000, b"\xff\xfe", b"half \xc3", b"\xed\xa0\x80", b"\xc0\xaf"])
def test_notes_that_cannot_be_kept_are_refused(daemon, alice, note):
    for verb in (["reserve", "--note", note], ["run", "--note", note, "--", "true"]):
        refused = subprocess.run([daemon.programs["dibs"], *verb], capture_output=True, timeout=DEADLINE,
                                 env=daemon.client_environment(), preexec_fn=demote(alice))
        assert refused.returncode == 2 and b"note" in refused.stderr and not refused.stdout, refused
    assert daemon.leases() == []


def test_a_command_of_any_bytes_is_shown_harmlessly(daemon, alice):
    run = daemon.popen("run", "--", "sh", "-c", "exec cat", b"\xff\x1b[2J", "%n", "x" * 50000, user=alice,
                       stdin=subprocess.PIPE)
    lease = daemon.wait_leases(1, state="active")[0]
    assert not [c for c in DANGEROUS if c in lease["command"]] and len(lease["command"]) <= 500
    run.stdin.close()
    run.stdin = None


# Who cannot even connect


def test_no_daemon_is_said_with_status_5(make_daemon, alice):
    daemon = make_daemon()
    for command in (["status"], ["list"], ["reserve"], ["run", "--", "true"], ["release", "1"]):
        said = daemon.dibs(*command, user=alice, code=5).stderr
        assert "dibsd does not run here" in said and str(daemon.socket) in said
    daemon.start()
    daemon.kill()
    assert "nobody listens" in daemon.dibs("status", user=alice, code=5).stderr


def test_a_socket_without_permission_is_said_with_status_5(make_daemon, alice, bob):
    daemon = make_daemon(config=f"[daemon]\nsocket-mode = 0660\nsocket-group = {ADMIN_GROUP}\n").start()
    said = daemon.dibs("status", user=alice, code=5).stderr
    assert "you may not use" in said and str(ADMIN_GROUP) in said
    daemon.dibs("status", preexec_fn=demote_to(bob, [ADMIN_GROUP]))
    daemon.socket.parent.chmod(0o700)
    assert "folder" in daemon.dibs("status", user=alice, code=5).stderr
