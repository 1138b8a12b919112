# SPDX-License-Identifier: MIT
"""What else NVML knows: instances of MIG cards, programs that draw, GPUs without memory, what needs repair."""

import pytest
from fake_nvml import Instance

CAPABILITIES = """config 1
monitor 2
gpu7/gi9/access 30
gpu7/gi9/ci0/access 31
gpu7/gi11/access 33
gpu7/gi11/ci0/access 34
"""


@pytest.fixture
def mig(make_nvml):
    """A card with two instances, number 1 being a hole, another card, and a daemon that is not started yet."""
    nvml, daemon = make_nvml()
    nvml.gpus[0].values["mig"] = 7
    nvml.gpus[0].instances = [Instance(0, 9), Instance(2, 11)]
    nvml.write()
    nvml.tree("proc/devices", "Character devices:\n195 nvidia\n236 nvidia-caps\n\nBlock devices:\n  7 loop\n")
    nvml.tree("proc/driver/nvidia-caps/mig-minors", CAPABILITIES)
    nvml.tree("sys/bus/pci/devices/0000:01:00.0/drm/card3/dev", "226:3\n")
    nvml.tree("sys/bus/pci/devices/0000:01:00.0/drm/renderD131/dev", "226:131\n")
    return nvml, daemon


def test_the_sensor_tells_instances_with_their_nodes(mig):
    nvml, _ = mig
    gpus = nvml.sample()["gpus"]
    assert [(g["index"], g["uuid"], g["memory_mib"]) for g in gpus] == [
        (100, nvml.gpus[0].instances[0].uuid, 9728), (102, nvml.gpus[0].instances[1].uuid, 9728),
        (1, nvml.gpus[1].uuid, 81920)]
    assert [g["nodes"] for g in gpus] == [
        ["195:7", "236:30", "236:31", "226:3", "226:131"], ["195:7", "236:33", "236:34", "226:3", "226:131"], ["195:6"]]
    assert [g["links"][0] for g in gpus] == ["internal", "internal", "system"]
    assert gpus[0]["model"] == "NVIDIA A100-SXM4-80GB MIG 1g.10gb" and gpus[0]["pci"] == gpus[1]["pci"]


def test_instances_are_leased_one_by_one(mig, alice, bob):
    nvml, daemon = mig
    daemon.start()
    shown = {g["index"]: g for g in daemon.status()["gpus"]}
    assert sorted(shown) == [1, 100, 102]
    assert daemon.reserve("--gpu", "1", user=bob)["gpus"]
    first = daemon.reserve("-g", "1", user=alice)
    run = ("run", "--no-wait", "--", "/bin/sh", "-c", "echo $CUDA_VISIBLE_DEVICES $DIBS_GPUS")
    second = daemon.dibs(*run, user=bob).stdout.split()
    instances = {str(100 + n): gpu.uuid for n, gpu in zip((0, 2), nvml.gpus[0].instances)}
    assert instances[second[1]] == second[0]
    held = next(index for index in instances if index != second[1])
    assert [g["index"] for g in daemon.status()["gpus"] if first["id"] in g["leases"]] == [int(held)]
    daemon.reserve("--gpu", second[1], user=alice)
    daemon.dibs(*run, user=bob, code=4)


def test_a_process_is_on_its_instance_alone(mig, alice):
    nvml, daemon = mig
    daemon.start()
    job = nvml.job(nvml.gpus[0].instances[1], user=alice, memory=700)

    def on(status):
        return {g["index"]: [(p["pid"], p["memory_mib"]) for p in g["processes"]] for g in status["gpus"]}

    status = daemon.wait_status(lambda s: on(s)[102])
    assert on(status) == {100: [], 102: [(job.gpu_pid, 700)], 1: []}


def test_a_card_that_enters_mig_mode_is_no_gpu_any_more(make_nvml):
    nvml, daemon = make_nvml()
    daemon.start()
    nvml.gpus[0].values["mig"] = 7
    nvml.gpus[0].instances = [Instance(0, 9)]
    nvml.write()
    status = daemon.wait_status(lambda s: len(s["gpus"]) == 3)
    states = {g["uuid"]: g["state"] for g in status["gpus"]}
    assert states == {nvml.gpus[0].uuid: "lost", nvml.gpus[0].instances[0].uuid: "free", nvml.gpus[1].uuid: "free"}


def test_a_program_that_draws_is_on_the_gpu(make_nvml, alice):
    nvml, daemon = make_nvml()
    daemon.start()
    job = nvml.job(nvml.gpus[0], "--graphics", user=alice, memory=300)
    status = daemon.wait_status(lambda s: s["gpus"][0]["processes"])
    assert [(p["pid"], p["memory_mib"]) for p in status["gpus"][0]["processes"]] == [(job.gpu_pid, 300)]


def test_a_gpu_without_memory_uses_that_of_the_machine(make_nvml):
    nvml, daemon = make_nvml(gpus=1)
    nvml.gpus[0].values["memory"] = None
    nvml.write()
    nvml.tree("proc/meminfo", "MemTotal:       125829120 kB\nMemAvailable:   83886080 kB\n")
    gpu = daemon.start().status()["gpus"][0]
    assert (gpu["memory_mib"], gpu["memory_used_mib"]) == (122880, 40960)


@pytest.mark.parametrize("values, words", [
    ({"ecc": 2}, "2 uncorrectable memory errors"),
    ({"rows": "1 0"}, "reset the GPU to remap rows"),
    ({"rows": "0 1"}, "could not be remapped"),
    ({"recovery": 2}, "the driver asks to reboot the machine"),
])
def test_the_sensor_tells_what_needs_repair(make_nvml, values, words):
    nvml, _ = make_nvml()
    nvml.gpus[1].values.update(values)
    nvml.write()
    sound, broken = nvml.sample()["gpus"]
    assert words in broken["defect"] and "fault" not in broken and "defect" not in sound


def test_processes_that_are_not_listed_are_unknown(make_nvml):
    nvml, _ = make_nvml(gpus=1)
    for version in ("", "_v2", "_v3"):
        nvml.rule("return", f"nvmlDeviceGetComputeRunningProcesses{version}", 3)
    assert nvml.sample()["gpus"][0]["processes"] is None
