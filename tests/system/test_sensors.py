# SPDX-License-Identifier: MIT
"""The sensor on captured trees of every maker's GPUs, and a daemon that asks a program of the site."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from harness import demote, read_line, wait_exit

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
NO_LIBRARY = "no GPU found: none of AMD or Intel, and "


@pytest.fixture
def run_sensor(programs, tmp_path):
    """run_sensor("--sysroot", ...) starts a sensor that finds no library of NVIDIA's, whatever this machine has."""
    (tmp_path / "libnvidia-ml.so.1").write_text("")
    started = []

    def run(*arguments, **options):
        process = subprocess.Popen(
            [programs["sensor"], *map(str, arguments)], stdout=subprocess.PIPE, bufsize=0,
            env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}, **options)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def gpu(index, uuid, model, pci, vendor, minor, nodes, links, processes, **metrics):
    """One GPU of a line; metrics that are not given are unknown."""
    names = ["memory_mib", "memory_used_mib", "utilization", "temperature_c", "power_w"]
    assert set(metrics) <= set(names)
    found = {"uuid": uuid, "model": model, "pci": pci, "vendor": vendor, "index": index, "minor": minor,
             **{name: metrics.get(name) for name in names}, "nodes": nodes, "links": links, "processes": processes}
    if not nodes:
        del found["nodes"]
    return found


def process(pid, memory_mib, command=""):
    return {"pid": pid, "memory_mib": memory_mib, "command": command}


MI250 = "AMD INSTINCT MI250 (MCM) OAM AC MBA"

EXPECTED = {
    "amd-mi250": [
        gpu(0, "GPU-3cb6a1c1d5a7f301", MI250, "0000:29:00.0", "amd", 128, ["226:128", "226:1"], ["internal", "nvlink"],
            [process(4711, 2048, "python train.py --epochs 90"), process(4712, 5)],
            memory_mib=65520, memory_used_mib=2059, utilization=87, temperature_c=41, power_w=213),
        gpu(1, "GPU-a0d2b1c8e4f93377", MI250, "0000:2c:00.0", "amd", 129, ["226:129", "226:2"], ["nvlink", "internal"],
            [process(4712, 0)],
            memory_mib=65520, memory_used_mib=11, utilization=0, temperature_c=36, power_w=0),
    ],
    "amd-without-kfd": [
        gpu(0, "PCI-0000:03:00.0", "Radeon RX 7900 XTX", "0000:03:00.0", "amd", 128, ["226:128", "226:0"], ["internal"],
            None, memory_mib=24560, memory_used_mib=1024, utilization=3, temperature_c=52, power_w=31),
    ],
    "intel-xe": [
        gpu(0, "PCI-0000:03:00.0", "Arc B580", "0000:03:00.0", "intel", 128, ["226:128", "226:0"], ["internal", "node"],
            [process(2100, 512, "python serve.py"), process(2101, 256, "worker 1")],
            memory_mib=12288, memory_used_mib=768, temperature_c=45),
        gpu(1, "PCI-0000:0a:00.0", "Arc B580", "0000:0a:00.0", "intel", 129, ["226:129", "226:1"], ["node", "internal"],
            [process(2100, 64, "python serve.py")],
            memory_mib=12288, memory_used_mib=64, temperature_c=39),
    ],
    "intel-hidden": [
        gpu(0, "PCI-0000:03:00.0", "xe 8086:56c0", "0000:03:00.0", "intel", 128, ["226:128", "226:0"], ["internal"],
            None, memory_mib=16384, temperature_c=45),
    ],
    "intel-i915": [
        gpu(0, "PCI-0000:00:02.0", "i915 8086:4680", "0000:00:02.0", "intel", 128, ["226:128", "226:0"], ["internal"],
            [process(900, None, "glxgears"), process(901, None)]),
    ],
    "mixed": [
        gpu(3, "GPU-5a1c8e02-77aa-4c11-9c3d-0123456789ab", "NVIDIA A100-SXM4-40GB", "00000000:0b:00.0", "nvidia", 1,
            ["195:1"], ["internal", "system", "system", "system"], [process(4711, 1024)],
            memory_mib=40960, memory_used_mib=1234, utilization=97, temperature_c=61, power_w=287),
        gpu(5, "GPU-6b2d9f13-88bb-4d22-8d4e-123456789abc", "NVIDIA GB10, early", "00000000:8a:00.0", "nvidia", None,
            [], ["system", "internal", "system", "system"], [process(4712, None)]),
        gpu(7, "GPU-00b1f2e3d4c5a697", "AMD INSTINCT MI210", "0000:86:00.0", "amd", 130, ["226:130", "226:2"],
            ["system", "system", "internal", "system"], None, memory_mib=65536, memory_used_mib=0, utilization=0),
        gpu(6, "PCI-0000:18:00.0", "xe 8086:0bda", "0000:18:00.0", "intel", 131, ["226:131", "226:3"],
            ["system", "system", "system", "internal"], None),
    ],
    "hostile": [
        gpu(0, "PCI-0000:01:00.0", "?[31mred??xxxxxxxxxxxxxxxxxxxx", "0000:01:00.0", "amd", 128, ["226:128", "226:0"],
            ["internal", "system", "system", "system"], []),
        gpu(1, "PCI-0000:02:00.0", "amdgpu 1002:740c", "0000:02:00.0", "amd", 129, ["226:129", "226:1"],
            ["system", "internal", "system", "system"], [process(78, None, "evil?]0;title? ?")]),
        gpu(2, "PCI-0000:03:00.0", "amdgpu 1002:740c", "0000:03:00.0", "amd", 130, ["226:130", "226:2"],
            ["system", "system", "internal", "system"], []),
        gpu(3, "PCI-0000:07:00.0", "xe 8086:e20b", "0000:07:00.0", "intel", 134, ["226:134", "226:6"],
            ["system", "system", "system", "internal"], [process(52, 3)], memory_used_mib=3),
    ],
}


@pytest.mark.parametrize("tree", EXPECTED)
def test_a_tree(run_sensor, tree):
    sensor = run_sensor("--sysroot", FIXTURES / tree, "--interval-ms", 60000)
    assert json.loads(read_line(sensor.stdout)) == {"gpus": EXPECTED[tree]}


@pytest.mark.parametrize("sysroot", [FIXTURES / "display-only", "/nonexistent"])
def test_no_gpu(run_sensor, sysroot):
    line = json.loads(read_line(run_sensor("--sysroot", sysroot, "--interval-ms", 60000).stdout))
    assert list(line) == ["error"]
    assert line["error"].startswith(NO_LIBRARY)
    assert "libnvidia-ml.so.1" in line["error"]


def test_processes_that_may_not_be_read_are_unknown(run_sensor, base_directory, alice):
    """As an ordinary user the same tree tells the same, except who uses it."""
    tree = base_directory / "intel-xe"
    subprocess.run(["cp", "-a", FIXTURES / "intel-xe", tree], check=True)
    (tree / "proc/2101/fdinfo").chmod(0o700)
    line = json.loads(read_line(run_sensor("--sysroot", tree, preexec_fn=demote(alice)).stdout))
    assert [(found["uuid"], found["processes"], found["memory_used_mib"]) for found in line["gpus"]] == [
        ("PCI-0000:03:00.0", None, None), ("PCI-0000:0a:00.0", None, None)]


# Programs of the site

LINE = json.dumps({"gpus": [gpu(0, "SITE-0", "Abacus", "", "amd", None, [], ["internal"], None, memory_mib=1024)]})


def site_program(directory, script):
    path = directory / "site-sensor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_program_is_told_on_and_ends_with_the_sensor(run_sensor, tmp_path):
    program = site_program(tmp_path, f"echo \"pid $$\" >&2\nprintf '%s\\n' '{LINE}'\nexec sleep 1000")
    sensor = run_sensor("--exec", program, stderr=subprocess.PIPE)
    assert json.loads(read_line(sensor.stdout)) == json.loads(LINE)
    pid = int(read_line(sensor.stderr).split()[1])
    assert Path(f"/proc/{pid}/stat").exists()
    sensor.kill()
    wait_exit(pid)
    sensor.stderr.close()


def test_a_program_that_lies_is_named(run_sensor, tmp_path):
    program = site_program(tmp_path, "echo '{\"gpus\":[{}]}'\nsleep 1000")
    line = json.loads(read_line(run_sensor("--exec", program).stdout))
    assert line["error"].startswith(f"{program}: the sensor sent a bad line: ")


def test_a_program_is_started_again(run_sensor, tmp_path):
    program = site_program(tmp_path, f"printf '%s\\n' '{LINE}'")
    sensor = run_sensor("--exec", program, "--interval-ms", 10)
    kinds = [next(iter(json.loads(read_line(sensor.stdout)))) for _ in range(3)]
    assert kinds == ["gpus", "error", "gpus"]


def test_a_daemon_asks_a_program(make_daemon, base_directory, alice):
    program = site_program(base_directory, f"while printf '%s\\n' '{LINE}'; do sleep 1; done")
    daemon = make_daemon(sim=None, config=f"[sensor]\nexec = {program}\n")
    daemon.start()
    found = daemon.status()["gpus"]
    assert [(one["uuid"], one["model"]) for one in found] == [("SITE-0", "Abacus")]
    assert daemon.reserve("--no-wait", user=alice)["gpus"]


def test_the_example_of_the_manual_works(run_sensor, tmp_path, monkeypatch):
    """The shell program in dibs-sensor(8), on a stand-in for the tool that it asks."""
    manual = (FIXTURES.parent.parent / "man/dibs-sensor.8.scd").read_text()
    example = tmp_path / "example"
    example.write_text(manual.split("```\n")[1])
    example.chmod(0o755)
    tool = tmp_path / "abacus-info"
    tool.write_text("#!/bin/sh\necho 4096 512 17\nexec sleep 1000\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (found,) = json.loads(read_line(run_sensor("--exec", example).stdout))["gpus"]
    assert (found["uuid"], found["memory_mib"], found["memory_used_mib"], found["utilization"]) == (
        "ABACUS-0", 4096, 512, 17)
