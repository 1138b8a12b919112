# SPDX-License-Identifier: MIT
"""The gate where there are no device filters: ACLs on the nodes."""

import subprocess

import pytest
from test_guard import check_gate, open_to


@pytest.fixture
def guarded(make_daemon):
    daemon = make_daemon(sim="4xA100-80G", config="[guard]\nmode = deny\nmethod = acl\n[lease]\nkill-grace = 1s\n")
    daemon.start()
    return daemon


def test_before_during_and_after_a_lease(guarded, sessions, alice, bob):
    a, b, root = sessions.opener(alice), sessions.opener(bob), sessions.opener(None, sessions.path)
    assert guarded.status()["guard_method"] == "acl"
    assert open_to(a, guarded) == [] and open_to(root, guarded) == [0, 1, 2, 3]
    hold = guarded.reserve("--gpu", "1,2", user=alice)
    assert open_to(a, guarded) == [1, 2] and open_to(b, guarded) == []
    guarded.dibs("release", hold["id"], user=alice)
    assert open_to(a, guarded) == []


def test_what_others_change_is_put_back(guarded, sessions, alice, bob):
    """Whatever does it (udev, nvidia-modprobe, an administrator): with the next change of a lease, or on the timer."""
    guarded.reserve("--gpu", "0", user=alice)
    a, b = sessions.opener(alice), sessions.opener(bob)
    subprocess.run(["chmod", "0666", guarded.nodes()[0]], check=True)
    assert b.may_open(guarded.nodes()[0])
    guarded.wait_log("somebody else had changed the permissions")
    assert open_to(a, guarded) == [0] and open_to(b, guarded) == []


def test_the_death_of_the_daemon_opens_and_shuts_nothing(guarded, sessions, alice, bob):
    guarded.reserve("--gpu", "0", user=alice)
    openers = {alice: sessions.opener(alice), bob: sessions.opener(bob)}
    paths = guarded.nodes()
    guarded.kill()
    check_gate(openers, paths, {0: alice})
    guarded.start()
    check_gate(openers, paths, {0: alice})


def test_off_opens_also_after_a_crash_and_by_configuration(guarded, sessions, alice):
    a = sessions.opener(alice)
    guarded.dibs("admin", "guard", "off")
    assert open_to(a, guarded) == [0, 1, 2, 3]
    guarded.dibs("admin", "guard", "deny")
    assert open_to(a, guarded) == []
    guarded.dibs("admin", "guard", "configured")
    guarded.kill()
    guarded.write_config("[guard]\nmode = watch\n")
    guarded.start()
    assert open_to(a, guarded) == [0, 1, 2, 3]


def test_from_one_method_to_the_other(guarded, sessions, alice, bob):
    guarded.reserve("--gpu", "0", user=alice)
    openers = {alice: sessions.opener(alice), bob: sessions.opener(bob)}
    paths = guarded.nodes()
    for method in ("filter", "acl", "filter"):
        guarded.kill()
        guarded.write_config(f"[guard]\nmode = deny\nmethod = {method}\nsession-cgroups = {sessions.path}\n")
        guarded.start()
        assert guarded.status()["guard_method"] == method
        check_gate(openers, paths, {0: alice})
        assert guarded.pins().exists() == (method == "filter")
        assert (paths[0].stat().st_mode & 0o777 == 0o666) == (method == "filter")
