# SPDX-License-Identifier: MIT
"""What users type about guards and leases that change hands: gpus, give, shrink, reserve --adopt, admin guard."""

import csv
import json

import pytest


def uuids(daemon, *indices):
    gpus = {g["index"]: g["uuid"] for g in daemon.status()["gpus"]}
    return [gpus[i] for i in indices]


def test_gpus_of_the_only_lease(daemon, alice, bob):
    daemon.reserve("--gpu", "2,5", user=alice)
    daemon.reserve("--gpu", "1", user=bob)
    assert daemon.dibs("gpus", "--index", user=alice).stdout == "2,5\n"
    assert daemon.dibs("gpus", "--uuid", user=alice).stdout == ",".join(uuids(daemon, 2, 5)) + "\n"
    shown = json.loads(daemon.dibs("gpus", "--json", user=alice).stdout)
    assert [g["index"] for g in shown["gpus"]] == [2, 5]
    assert uuids(daemon, 5)[0] in daemon.dibs("gpus", user=alice).stdout


def test_gpus_of_which_lease(daemon, alice, bob, carol):
    first = daemon.reserve("--gpu", "0", user=alice)["id"]
    second = daemon.reserve("--gpu", "1", user=alice)["id"]
    result = daemon.dibs("gpus", "--index", user=alice, code=2)
    assert f"{first} (GPU 0), {second} (GPU 1)" in result.stderr and not result.stdout
    assert daemon.dibs("gpus", f"#{second}", "--index", user=alice).stdout == "1\n"
    assert daemon.dibs("gpus", "--index", user=alice, env={"DIBS_LEASE": str(first)}).stdout == "0\n"
    # A lease that has ended is not replaced by another one.
    daemon.dibs("release", str(first), user=alice)
    assert not daemon.dibs("gpus", "--index", user=alice, env={"DIBS_LEASE": str(first)}, code=2).stdout
    daemon.dibs("gpus", second, user=bob, code=3)
    daemon.dibs("gpus", user=carol, code=2)
    assert daemon.dibs("gpus", second, "--index").stdout == "1\n"  # root
    daemon.dibs("gpus", "--uuid", "--index", user=alice, code=2)


def test_gpus_within_a_run(daemon, alice):
    daemon.reserve("--gpu", "0", user=alice)
    out = daemon.shell("dibs run --gpu 3 -- sh -c 'dibs gpus --index'", user=alice)
    assert out == "3\n"


@pytest.mark.parametrize("gpus", [[4], [2, 5]])
def test_words_for_docker_survive_the_shell(daemon, alice, gpus):
    lease = daemon.reserve("--gpu", ",".join(map(str, gpus)), user=alice)["id"]
    words = daemon.shell("printf '%s\\n' $(dibs gpus --docker)", user=alice).splitlines()
    assert words[0] == "--gpus" and words[2:] == ["--label", f"dibs.lease={lease}"]
    # docker reads the value as a line of CSV, each field as KEY=VALUE, and splits devices at commas.
    fields = next(csv.reader([words[1]]))
    assert len(fields) == 1 and fields[0].startswith("device=")
    assert fields[0].removeprefix("device=").split(",") == uuids(daemon, *gpus)
    words = daemon.shell("printf '%s\\n' $(dibs gpus --cdi)", user=alice).splitlines()
    expected = [w for uuid in uuids(daemon, *gpus) for w in ("--device", f"nvidia.com/gpu={uuid}")]
    assert words == [*expected, "--label", f"dibs.lease={lease}"]


def test_give(daemon, alice, bob):
    lease = daemon.reserve("--gpu", "2", user=alice)["id"]
    daemon.dibs("give", lease, bob, user=bob, code=3)
    daemon.dibs("give", lease, "nobody-of-that-name", user=alice, code=2)
    assert f"now of {bob}" in daemon.dibs("give", lease, bob, user=alice).stdout
    assert [l["user"] for l in daemon.leases(id=lease)] == [bob]
    assert daemon.dibs("gpus", "--index", user=bob).stdout == "2\n"
    assert "handed over" in daemon.dibs("show", lease).stdout
    daemon.dibs("release", lease, user=alice, code=3)
    daemon.dibs("release", lease, user=bob)


def test_shrink(daemon, alice, bob):
    lease = daemon.reserve("--gpu", "2,3,4", user=alice)["id"]
    daemon.dibs("shrink", lease, user=alice, code=2)
    daemon.dibs("shrink", lease, "--gpu", "3", user=bob, code=3)
    assert "GPU 2,4 " in daemon.dibs("shrink", lease, "--gpu", "3", user=alice).stdout
    assert daemon.leases(id=lease)[0]["gpus"] == [2, 4]
    assert daemon.reserve("--gpu", "3", "--no-wait", user=bob)["gpus"] == [3]


def test_adopt(make_nvml, alice, bob):
    nvml, daemon = make_nvml(gpus=2)
    daemon.start()
    jobs = [nvml.job(gpu, user=alice) for gpu in nvml.gpus]
    pids = sorted(job.gpu_pid for job in jobs)
    daemon.wait_status(lambda s: sorted(p["pid"] for g in s["gpus"] for p in g["processes"]) == pids)
    shown = daemon.dibs("status").stdout
    assert f"{alice} runs " in shown and "without a lease" in shown
    daemon.dibs("reserve", "--adopt", *pids, "--no-wait", user=bob, code=3)
    lease = daemon.reserve("--adopt", pids[0], pids[1], user=alice)
    assert sorted(lease["gpus"]) == [0, 1]
    daemon.wait_status(lambda s: all(p["standing"] == "lease" for g in s["gpus"] for p in g["processes"]))
    assert "without a lease" not in daemon.dibs("status").stdout


def test_admin_guard(daemon, alice):
    assert daemon.dibs("admin", "guard", user=alice).stdout == "guard: off\n"
    daemon.dibs("admin", "guard", "watch", user=alice, code=3)
    daemon.dibs("admin", "guard", "never", code=2)
    assert daemon.dibs("admin", "guard", "watch").stdout == "guard: watch\n"
    assert "guard watch" in daemon.dibs("status").stdout.splitlines()[0]
    assert daemon.status()["guard"] == "watch"
    daemon.restart()
    assert daemon.dibs("admin", "guard").stdout == "guard: watch\n"
    assert daemon.dibs("admin", "guard", "configured").stdout == "guard: off\n"


def test_doctor_tells_of_the_guard(daemon):
    findings = {f["check"]: f for f in json.loads(daemon.dibs("doctor", "--json", code=None).stdout)}
    assert findings["guard"]["health"] == "ok" and "guard off" in findings["guard"]["what"]
    assert {"database", "nodes", "nvreg", "bpf", "filter", "docker", "unit-settings"} <= findings.keys()
    for finding in findings.values():
        assert (finding["health"] in ("note", "problem")) == bool(finding["why"] and finding["fix"]), finding
