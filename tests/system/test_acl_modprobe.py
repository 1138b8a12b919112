# SPDX-License-Identifier: MIT
"""ACLs on device nodes, and what nvidia-modprobe makes of them.

Real nodes, opened by real users. There is no driver behind their number: ENXIO is access, EACCES is none.
nvidia-modprobe is played by tests/fakes/modprobe.c, which follows its rule; priv/acl.h and model/nvreg.h are called
through acl-tool.
"""

import errno
import grp
import itertools
import os
import re
import shutil
import stat
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest
from harness import DEADLINE, demote, uid_of

MAJOR, MINOR = 195, 240
FAKES = Path(os.environ["DIBS_BUILD"]).resolve() / "tests/fakes"
UNIT = Path(__file__).parents[2] / "data/dibsd.service.in"
ACL = "system.posix_acl_access"
NO_ID = 0xFFFFFFFF
TAGS = {1: "u:", 2: "u", 4: "g:", 8: "g", 16: "m:", 32: "o:"}

DEFAULT = "ModifyDeviceFiles: 1\nDeviceFileUID: 0\nDeviceFileGID: 0\nDeviceFileMode: 438\n"
CLOSED = DEFAULT.replace("438", "432")


def run(*arguments, wrapper=()):
    done = subprocess.run([*wrapper, *(str(a) for a in arguments)], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


class Nodes:
    """Device nodes, and the files that the driver would say their permissions in."""

    def __init__(self, directory):
        self.directory = directory
        self.count = 0

    def make(self, minor=MINOR, mode=0o666):
        self.count += 1
        path = self.directory / f"node{self.count}"
        os.mknod(path, stat.S_IFCHR, os.makedev(MAJOR, minor))
        path.chmod(mode)
        return path

    def params(self, text):
        self.count += 1
        path = self.directory / f"params{self.count}"
        path.write_text("ResmanDebugLevel: 4294967295\n" + text + 'RegistryDwords: ""\n')
        return path


# Debian 13 mounts /tmp without devices.
@pytest.fixture(params=["/var/tmp", "/dev"])
def nodes(request):
    directory = Path(tempfile.mkdtemp(prefix="dibs-test-", dir=request.param))
    directory.chmod(0o755)
    yield Nodes(directory)
    shutil.rmtree(directory)


def grant(node, *users, wrapper=()):
    return run(FAKES / "acl-tool", "set", node, MAJOR, MINOR, *map(uid_of, users), wrapper=wrapper)


def modprobe(params, node):
    run(FAKES / "modprobe", params, node, MAJOR, MINOR)


def holds(*params):
    return [line == "yes" for line in run(FAKES / "acl-tool", "holds", *params)]


def opens(path, how):
    try:
        os.close(os.open(path, how))
    except OSError as error:
        assert error.errno in (errno.EACCES, errno.ENXIO), error
        return error.errno == errno.ENXIO
    return True


def may_open(user, paths, ways=(os.O_RDWR,)):
    """For each path, whether the user may open it in one of these ways."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            demote(user)()
            os.write(writer, bytes(any(opens(path, how) for how in ways) for path in paths))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answers = pipe.read()
    os.waitpid(child, 0)
    assert len(answers) == len(paths)
    return [answer == 1 for answer in answers]


def who_opens(node, *users):
    return [user for user in users if may_open(user, [node])[0]]


def acl_of(path):
    """What getfacl would say: ["u::6", "u:1000:6", ...]; None if there is nothing but the mode."""
    try:
        raw = os.getxattr(path, ACL)
    except OSError as error:
        assert error.errno == errno.ENODATA
        return None
    entries = [struct.unpack_from("<HHI", raw, at) for at in range(4, len(raw), 8)]
    return [f"{TAGS[tag]}:{'' if name == NO_ID else f'{name}:'}{allowed}" for tag, allowed, name in entries]


def write_acl(path, *entries):
    os.setxattr(path, ACL, struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries))


def mode_of(path):
    return path.stat().st_mode & 0o777


def entries_of(user, mask=6, other=0):
    return ["u::6", f"u:{uid_of(user)}:6", "g::0", f"m::{mask}", f"o::{other}"]


# What is left of an ACL for alice after the rule was followed, who gets in then, and whether that was foretold.


def test_defaults_open_it_to_everybody(nodes, alice, bob):
    node, params = nodes.make(), nodes.params(DEFAULT)
    grant(node, alice)
    assert who_opens(node, alice, bob) == [alice]
    modprobe(params, node)
    assert acl_of(node) == entries_of(alice, other=6)
    assert who_opens(node, alice, bob) == [alice, bob]
    assert holds(params) == [False]


def test_no_file_of_parameters_is_the_defaults(nodes, alice, bob):
    node = nodes.make()
    grant(node, alice)
    modprobe(nodes.directory / "missing", node)
    assert who_opens(node, alice, bob) == [alice, bob]
    empty = nodes.params("")
    assert holds(empty) == [False]


@pytest.mark.parametrize("mode", [0o666, 0o600, 0o660])
def test_not_to_modify_leaves_it_alone(nodes, alice, bob, mode):
    node, params = nodes.make(), nodes.params(f"ModifyDeviceFiles: 0\nDeviceFileMode: {mode}\n")
    grant(node, alice)
    modprobe(params, node)
    assert acl_of(node) == entries_of(alice)
    assert who_opens(node, alice, bob) == [alice]
    assert holds(params) == [True]


def test_mode_0660_leaves_it_alone(nodes, alice, bob):
    node, params = nodes.make(), nodes.params(CLOSED)
    grant(node, alice)
    before = node.stat().st_ctime_ns
    modprobe(params, node)
    assert node.stat().st_ctime_ns == before
    assert acl_of(node) == entries_of(alice)
    assert who_opens(node, alice, bob) == [alice]
    assert holds(params) == [True]
    assert grant(node, alice) == ["same"]


def test_mode_0600_shuts_out_who_has_a_right(nodes, alice, bob):
    node, params = nodes.make(), nodes.params(DEFAULT.replace("438", "384"))
    grant(node, alice)
    modprobe(params, node)
    assert acl_of(node) == entries_of(alice, mask=0)
    assert who_opens(node, alice, bob) == []
    assert holds(params) == [False]
    assert grant(node, alice) == ["changed"]
    assert who_opens(node, alice, bob) == [alice]


def test_a_list_of_who_may_not_survives_the_defaults_but_does_not_cover_others(nodes, alice, bob, carol):
    """Why dibs does not do it so: who is not in the list gets in."""
    node, params = nodes.make(), nodes.params(DEFAULT)
    write_acl(node, (1, 6, NO_ID), (2, 0, uid_of(bob)), (4, 6, NO_ID), (16, 6, NO_ID), (32, 6, NO_ID))
    before = acl_of(node)
    modprobe(params, node)
    assert acl_of(node) == before
    assert who_opens(node, alice, bob, carol) == [alice, carol]
    assert grant(node, alice) == ["changed"]
    assert who_opens(node, alice, bob, carol) == [alice]


def test_a_mask_that_others_made_smaller_is_made_whole(nodes, alice, bob):
    node, params = nodes.make(), nodes.params(CLOSED)
    write_acl(node, (1, 6, NO_ID), (2, 6, uid_of(alice)), (4, 0, NO_ID), (16, 0, NO_ID), (32, 0, NO_ID))
    assert mode_of(node) == 0o600
    modprobe(params, node)
    assert acl_of(node) == entries_of(alice)
    assert who_opens(node, alice, bob) == [alice]
    assert grant(node, alice) == ["same"]


def test_a_removed_acl_leaves_root_alone(nodes, alice, bob):
    node, params = nodes.make(), nodes.params(CLOSED)
    grant(node, alice)
    os.removexattr(node, ACL)
    node.chmod(0o600)
    modprobe(params, node)
    assert acl_of(node) is None and mode_of(node) == 0o660
    assert who_opens(node, alice, bob) == []
    assert grant(node, alice) == ["changed"]
    assert who_opens(node, alice, bob) == [alice]


@pytest.mark.parametrize("text, closed", [(CLOSED, True), (DEFAULT, False)], ids=["closed", "default"])
def test_a_node_made_anew_has_no_acl(nodes, alice, bob, text, closed):
    node, params = nodes.make(minor=MINOR + 1), nodes.params(text)
    write_acl(node, (1, 6, NO_ID), (2, 6, uid_of(alice)), (4, 0, NO_ID), (16, 6, NO_ID), (32, 0, NO_ID))
    with pytest.raises(AssertionError, match=f"-{errno.ENODEV} .* is not the character device {MAJOR}:{MINOR}"):
        grant(node, alice)
    modprobe(params, node)
    assert node.stat().st_rdev == os.makedev(MAJOR, MINOR)
    assert acl_of(node) is None
    assert who_opens(node, alice, bob) == ([] if closed else [alice, bob])
    assert holds(params) == [closed]
    assert grant(node, alice) == ["changed"]
    assert who_opens(node, alice, bob) == [alice]


def test_an_owner_gets_in_and_loses_it(nodes, alice, bob):
    node, params = nodes.make(), nodes.params(CLOSED.replace("UID: 0", f"UID: {uid_of(bob)}"))
    grant(node, alice)
    modprobe(params, node)
    assert who_opens(node, alice, bob) == [alice, bob]
    assert holds(params) == [False]
    assert grant(node, alice) == ["changed"]
    assert who_opens(node, alice, bob) == [alice]


def test_a_group_gets_in_where_there_is_no_acl_yet(nodes, alice, bob):
    gid = grp.getgrnam(bob).gr_gid
    params = nodes.params(CLOSED.replace("GID: 0", f"GID: {gid}"))
    node, anew = nodes.make(), nodes.directory / "anew"
    grant(node, alice)
    modprobe(params, node)
    modprobe(params, anew)
    assert acl_of(node) == entries_of(alice)
    assert who_opens(node, alice, bob) == [alice]
    assert who_opens(anew, alice, bob) == [bob]
    assert holds(params) == [False]


@pytest.mark.parametrize("nodes", ["/dev"], indirect=True)
def test_what_is_foretold_is_what_happens(nodes, alice, bob, carol):
    """All that decides: rw of the group and of others, a foreign owner and group, and whether anything is modified."""
    group, user = grp.getgrnam(bob).gr_gid, uid_of(carol)
    cases = list(itertools.product((0, 1), (0, user), (0, group), (0, 2, 4, 6, 7), (0, 1, 2, 4, 6)))
    params, kept, anew = [], [], []
    for modify, uid, gid, group_bits, other_bits in cases:
        mode = 0o600 | group_bits << 3 | other_bits
        params.append(nodes.params(f"ModifyDeviceFiles: {modify}\nDeviceFileUID: {uid}\nDeviceFileGID: {gid}\n"
                                   f"DeviceFileMode: {mode}\n"))
        kept.append(nodes.make())
        grant(kept[-1], alice)
        modprobe(params[-1], kept[-1])
        # Not made unless files are modified: as if it were there, and root's.
        anew.append(nodes.directory / f"anew{len(anew)}")
        modprobe(params[-1], anew[-1])
        if not modify:
            os.mknod(anew[-1], stat.S_IFCHR | 0o600, os.makedev(MAJOR, MINOR))

    right = may_open(alice, kept)
    any_way = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR)
    strangers = [any(pair) for pair in zip(*(may_open(user, kept + anew, any_way) for user in (bob, carol)))]
    wrong = [case for case, said, has, gets, gets_anew
             in zip(cases, holds(*params), right, strangers, strangers[len(kept):])
             if said != (has and not gets and not gets_anew)]
    assert wrong == []


def test_as_the_unit_runs_it(nodes, alice, bob):
    """The capabilities that the unit leaves to dibsd are enough, also where the node was given to a user."""
    allowed = re.search(r"^CapabilityBoundingSet=(.*)$", UNIT.read_text(), re.M).group(1).lower().split()
    bounds = ",".join(["-all", *(f"+{name.removeprefix('cap_')}" for name in allowed)])
    node = nodes.make()
    os.chown(node, uid_of(bob), 0)
    assert grant(node, alice, wrapper=["setpriv", "--bounding-set", bounds, "--"]) == ["changed"]
    assert who_opens(node, alice, bob) == [alice]
