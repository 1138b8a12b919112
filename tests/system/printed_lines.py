# SPDX-License-Identifier: MIT
"""Command lines that are printed in documents of the tools that dibs replaces, and in ours about them; and what they do here.

Output is compared as normal() of test_printed_lines.py makes it; "…" at its end stands for anything. A daemon is new for
each line and has eight GPUs, so ids and GPUs are known. Only the lines themselves are theirs.
"""

import json
from typing import NamedTuple


class Line(NamedTuple):
    printed: str      # as it is printed; the lines of one script together
    out: str = ""
    code: int = 0
    err: str = ""
    before: str = ""  # what is typed before it
    after: str = ""   # what shows what it has done
    swap: tuple = ()  # (printed, typed): numbers and names that stand for others
    root: bool = False


EXPORT = "\n\nRun the following command to run only on these GPUs:\nexport CUDA_VISIBLE_DEVICES={}\n"


FOUND = "Detecting available GPU provider... found nvidia\n"
GIVEN = "Using explicitly specified GPU provider: {}\n"
EIGHT = "Initialized 8 GPUs (IDs 0 to 7)\n"
NOT_FOUR = "Error: this machine has 8 GPUs, not {}; dibs finds them itself, see 'dibs doctor' if some are missing\n"
NO_AMD = "Error: provider 'amd' is not available on this system\n"
ADMIN_ONLY = "Error: only administrators can do this; you are ALICE: ask one of them, or use sudo\n"
NO_PAGE = ("Error: there is no web page on this machine; see 'canhazgpu status', or 'dibs status --watch' for what stays up to "
           "date\n")
MEMORY = "canhazgpu: {} is not used any more: dibsd sees which process uses which GPU\n"
REDIS = "canhazgpu: {} not used any more: dibsd keeps the reservations\n"
THRESHOLD = MEMORY.format("--memory-threshold")
RULE = "─────┼─────────────┼──────┼──────────┼──────┼────────────┼────────────┼──────\n"
ROWS = "".join(f" {n}   │ ● AVAILABLE │ -    │ -        │ -    │ never used │ 0MB used   │ -    \n" for n in range(8))
FREE = " GPU │ STATUS      │ USER │ DURATION │ TYPE │ DETAILS    │ VALIDATION │ NOTE \n" + RULE + ROWS
FREE_JSON = json.dumps([{"gpu_id": n, "status": "AVAILABLE", "details": "never used", "validation": "0MB used",
                         "gpu_model": "A100-80G"} for n in range(8)], indent=2) + "\n"
REPORT = ("\n=== GPU Reservation Report ===\nPeriod: <DAY> to <DAY> ({} days)\n\n"
          "User                       GPU Hours      Percentage        Run     Manual\n" + ("-" * 75 + "\n") * 2 +
          "TOTAL                           0.00         100.0%          0          0\n\n"
          "Total reservations: 0\nUnique users: 0\n\n")

HELP = ("Reserves GPUs of this machine, as canhazgpu did; dibs keeps the reservations.\n\nUsage:\n  canhazgpu [command]\n\n"
        "Available Commands:\n…")
USAGE = ("Usage: mgpu_srun {--gpus <N> | --gpu-ids <ID1,ID2,...>} [--mem <MB>] [--time-limit <sec>] [--priority <N>] "
         "[--env-setup-cmd <CMD>] [--interactive] [--background] [--] <command>\n")
ONE_MACHINE = "mgpu_srun: {}: dibs shares the GPUs of this machine…"
NO_USE = ("USER   LEASES  HELD H  USED H  IDLE H  IDLE  WAIT  WAIT 95%\ntotal       0     0.0     0.0     0.0              \n\n"
          "8 GPUs, {} GPU-hours: 0% held, 0% used\n")


def hold(gpus, time):
    uuids = ",".join("<UUID>" for _ in gpus.split(","))
    return (f"hold 1: GPU {gpus} until <TIME> ({time})\n"
            f"export CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES={uuids} NVIDIA_VISIBLE_DEVICES={uuids}\n")


def reserved(gpus, time="0h 30m 0s"):
    return f"Reserved {len(gpus.split())} GPU(s): [{gpus}] for {time}" + EXPORT.format(gpus.replace(" ", ","))


def run(gpus, words, limit=""):
    head = f"Reserved {len(gpus.split())} GPU(s): [{gpus}] for command execution"
    return f"{head}{limit and f' (timeout: {limit})'}\nran {words} on {gpus.replace(' ', ',')}\n"


def train(words, gpus="0", priority=" (priority=0)", job="00000001"):
    words = words if "\n" in words else f"ran {words}"
    return (f"Job submitted. ID: {job}{priority}\nWaiting for job to start...\n"
            f"{words} on {gpus}\n\nJob {job} completed with exit code 0\n")


CANHAZGPU = [
    # README, first and last, and docs/quickstart.md
    Line("canhazgpu admin --gpus 8", FOUND + EIGHT),
    Line("canhazgpu admin --gpus $(nvidia-smi -L | wc -l)", FOUND + EIGHT),
    Line("canhazgpu admin --gpus $(nvidia-smi -L | wc -l)  # For NVIDIA", FOUND + EIGHT),
    Line("canhazgpu admin --gpus $(amd-smi list --json | jq 'length')  # For AMD", FOUND + EIGHT),
    Line("canhazgpu status", FREE),
    Line("canhazgpu run --gpus 2 -- vllm serve my/model --tensor-parallel-size 2",
         run("0 1", "vllm serve my/model --tensor-parallel-size 2")),
    Line("canhazgpu run --gpu-ids 1,3 -- python train.py", run("1 3", "python train.py")),
    Line("canhazgpu run --nonblock --gpus 2 -- python train.py", run("0 1", "python train.py")),
    Line("canhazgpu run --wait 30m --gpus 4 -- python train.py", run("0 1 2 3", "python train.py")),
    Line("canhazgpu run --gpus 1 -- python  # Interactive Python REPL", run("0", "python")),
    Line("canhazgpu run --gpus 1 -- codex   # Interactive coding assistant", run("0", "codex")),
    Line("canhazgpu queue", "GPU Reservation Queue\n=====================\nNo entries waiting in queue.\n"),
    Line("canhazgpu reserve --gpus 1 --duration 4h", reserved("0", "4h 0m 0s")),
    Line("canhazgpu reserve --gpu-ids 0,2 --duration 2h", reserved("0 2", "2h 0m 0s")),
    Line("export CUDA_VISIBLE_DEVICES=$(canhazgpu reserve --gpus 2 --short)", "0,1\n", after="echo $CUDA_VISIBLE_DEVICES"),
    Line("canhazgpu release", "Released 2 GPU(s): [1 3]\n", before="canhazgpu reserve --gpu-ids 1,3"),
    Line("canhazgpu report --days 7", REPORT.format(7)),
    Line("canhazgpu web --port 8080", code=1, err=NO_PAGE),
    Line("canhazgpu web", code=1, err=NO_PAGE),
    Line("canhazgpu run --gpus 1 -- python train.py", run("0", "python train.py")),
    Line("canhazgpu run --gpus 2 -- python -m torch.distributed.launch train.py",
         run("0 1", "python -m torch.distributed.launch train.py")),
    Line("canhazgpu run --gpus 1 -- vllm serve microsoft/DialoGPT-medium",
         run("0", "vllm serve microsoft/DialoGPT-medium")),
    Line("canhazgpu reserve", reserved("0")),
    Line("canhazgpu reserve --gpus 2 --duration 4h", reserved("0 1", "4h 0m 0s")),
    Line("canhazgpu reserve --duration 30m  # 30 minutes", reserved("0")),
    Line("canhazgpu reserve --duration 2d   # 2 days", reserved("0", "48h 0m 0s")),
    Line("canhazgpu reserve --duration 30m    # 30 minutes", reserved("0")),
    Line("canhazgpu reserve --duration 2d     # 2 days", reserved("0", "48h 0m 0s")),
    Line("canhazgpu admin --gpus 8 --provider amd", GIVEN.format("amd"), code=1, err=NO_AMD),
    Line("canhazgpu status  # Uses threshold of 512 MB",
         before="cat > ~/.canhazgpu.yaml <<EOF\nredis:\n  host: localhost\n  port: 6379\n  db: 0\nmemory:\n  threshold: 512\nEOF",
         out=FREE,
         err=REDIS.format("redis.host in CONFIG, redis.port in CONFIG, redis.db in CONFIG are").replace("CONFIG",
         "HOME/.canhazgpu.yaml") +
         MEMORY.format("memory.threshold in HOME/.canhazgpu.yaml")),
    Line("export CANHAZGPU_MEMORY_THRESHOLD=512\nexport CANHAZGPU_REDIS_HOST=redis.example.com\ncanhazgpu status  # Uses environment variables",
         FREE, err=REDIS.format("CANHAZGPU_REDIS_HOST is") + MEMORY.format("CANHAZGPU_MEMORY_THRESHOLD")),
    Line("canhazgpu status --memory-threshold 256", FREE, err=THRESHOLD),
    Line("canhazgpu run --memory-threshold 2048 --gpus 1 -- python train.py", run("0", "python train.py"), err=THRESHOLD),
    Line("canhazgpu run --gpus 2 -- python train.py --epochs 100", run("0 1", "python train.py --epochs 100")),
    Line("canhazgpu reserve --gpus 1 --duration 2h", reserved("0", "2h 0m 0s")),
    Line("canhazgpu status --json | jq '[.[] | select(.status == \"AVAILABLE\") | .gpu_id]'", "[\n  6,\n  7\n]\n",
         before="canhazgpu reserve --gpus 6"),
    Line("canhazgpu status --json | jq '[.[] | select(.status == \"UNRESERVED\")]'", "[]\n"),
    Line("canhazgpu status --json | jq 'length as $total | [.[] | select(.status != \"AVAILABLE\")] | length / $total * 100'", "25\n", before="canhazgpu reserve --gpus 2"),
    # docs/commands.md
    Line("canhazgpu --help", HELP),
    Line("canhazgpu status --redis-host redis.example.com --redis-port 6380", FREE,
         err=REDIS.format("--redis-host, --redis-port are")),
    Line("canhazgpu --config /path/to/config.yaml status", code=1,
         err="Error: cannot read /path/to/config.yaml: No such file or directory\n"),
    Line("canhazgpu --config config.json run --gpus 2 -- python train.py", run("0 1", "python train.py", "2h 0m 0s"),
         before='echo \'{"run": {"timeout": "2h"}}\' > config.json'),
    Line("canhazgpu admin --gpus 8 --provider nvidia", GIVEN.format("nvidia") + EIGHT),
    Line("canhazgpu admin --gpus 4 --provider amd", GIVEN.format("amd"), code=1, err=NO_AMD),
    Line("canhazgpu admin --gpus 4 --provider fake",
         GIVEN.format("fake") + "Using fake GPU provider for development/testing\n", code=1, err=NOT_FOUR.format(4)),
    Line("canhazgpu admin --gpus 4 --force", FOUND, code=1, err=NOT_FOUR.format(4)),
    Line("canhazgpu status --json", FREE_JSON),
    Line("canhazgpu status -j", FREE_JSON),
    Line("canhazgpu status --memory-threshold 512", FREE, err=THRESHOLD),
    Line("canhazgpu status --memory-threshold 2048", FREE, err=THRESHOLD),
    Line("canhazgpu status --json --memory-threshold 512", FREE_JSON, err=THRESHOLD),
    Line("canhazgpu run --gpus 1 -- python train.py --batch-size 32 --epochs 100",
         run("0", "python train.py --batch-size 32 --epochs 100")),
    Line("canhazgpu run --gpus 1 --timeout 2h -- python train.py", run("0", "python train.py", "2h 0m 0s")),
    Line("canhazgpu run --nonblock --gpus 4 -- python train.py", run("0 1 2 3", "python train.py")),
    Line("canhazgpu run --gpus 2 -- python train.py", run("0 1", "python train.py")),
    Line("canhazgpu reserve --duration 30m", reserved("0")),
    Line("canhazgpu reserve --gpus 1 --duration 2d", reserved("0", "48h 0m 0s")),
    Line("canhazgpu release --gpu-ids 1,3", "Released 2 GPU(s): [1 3]\n", before="canhazgpu reserve --gpu-ids 1,3"),
    Line("canhazgpu report", REPORT.format(30)),
    Line("canhazgpu report --days 1", REPORT.format(1)),
    Line("canhazgpu queue --json",
         '{\n  "entries": [],\n  "total_waiting": 0,\n  "total_gpus_requested": 0,\n  "total_gpus_allocated": 0\n}\n'),
    Line("canhazgpu web --port 3000", code=1, err=NO_PAGE),
    Line("canhazgpu web --host 127.0.0.1 --port 8080", code=1, err=NO_PAGE),
    Line("canhazgpu web --host 192.168.1.100 --port 8888", code=1, err=NO_PAGE),
    Line("canhazgpu web --demo", code=1, err=NO_PAGE),
    # docs/usage-run.md
    Line("canhazgpu run --gpus 1 -- python train.py --batch-size 32 --epochs 100 --lr 0.001",
         run("0", "python train.py --batch-size 32 --epochs 100 --lr 0.001")),
    Line("canhazgpu run --gpu-ids 2,3 -- python train.py", run("2 3", "python train.py")),
    Line("canhazgpu run --gpus 2 --gpu-ids 2,3 -- python train.py", run("2 3", "python train.py")),
    Line("canhazgpu run --gpu-ids 1,3,5 -- python train.py  # --gpus defaults to 1", run("1 3 5", "python train.py")),
    Line("canhazgpu run --gpus 2 -- python -m torch.distributed.launch --nproc_per_node=2 train.py",
         run("0 1", "python -m torch.distributed.launch --nproc_per_node=2 train.py")),
    Line("canhazgpu run --gpus 4 -- horovodrun -np 4 python train.py", run("0 1 2 3", "horovodrun -np 4 python train.py")),
    Line("canhazgpu run --gpus 2 -- python multi_gpu_train.py --world-size 2",
         run("0 1", "python multi_gpu_train.py --world-size 2")),
    Line("canhazgpu run --gpus 1 -- vllm serve microsoft/DialoGPT-medium --port 8000",
         run("0", "vllm serve microsoft/DialoGPT-medium --port 8000")),
    Line("canhazgpu run --gpus 1 -- python inference.py --model model.trt",
         run("0", "python inference.py --model model.trt")),
    Line("canhazgpu run --gpus 1 -- jupyter notebook --ip=0.0.0.0 --port=8888",
         run("0", "jupyter notebook --ip=0.0.0.0 --port=8888")),
    Line("canhazgpu run --gpus 4 -- python long_training.py --checkpoint-every 1000",
         run("0 1 2 3", "python long_training.py --checkpoint-every 1000")),
    Line("nohup canhazgpu run --gpus 1 -- python process_data.py > output.log 2>&1 &", run("0", "python process_data.py"),
         after="wait; grep -v 'nohup:' output.log"),
    Line("canhazgpu run --gpus 1 --timeout 30m -- python test_model.py", run("0", "python test_model.py", "0h 30m 0s")),
    Line("canhazgpu run --gpus 2 --timeout 12h -- python daily_processing.py",
         run("0 1", "python daily_processing.py", "12h 0m 0s")),
    Line('canhazgpu run --gpus 1 -- bash -c "python preprocess.py && python train.py && python evaluate.py"',
         run("0", "python preprocess.py") + "ran python train.py on 0\nran python evaluate.py on 0\n"),
    Line('canhazgpu run --gpus 1 -- bash -c "python train.py 2>&1 | tee training.log"',
         run("0", "python train.py") + "ran python train.py on 0\n", after="cat training.log"),
    Line("canhazgpu run --gpus 2 -- python large_model_training.py --model-size xl",
         run("0 1", "python large_model_training.py --model-size xl")),
    Line("canhazgpu run --gpus 4 -- dask-worker --nthreads 1 --memory-limit 8GB",
         run("0 1 2 3", "dask-worker --nthreads 1 --memory-limit 8GB")),
    Line("canhazgpu run --gpus 3 -- python train.py", run("0 1 2", "python train.py")),
    Line("canhazgpu run --gpus 1 -- python nonexistent.py", "Reserved 1 GPU(s): [0] for command execution\n", code=1),
    Line("canhazgpu run --gpus 2 -- python train.py --save-every 100 --resume-from checkpoint.pth",
         run("0 1", "python train.py --save-every 100 --resume-from checkpoint.pth")),
    Line("canhazgpu run --gpus 1 --timeout 1h -- python train.py", run("0", "python train.py", "1h 0m 0s")),
    Line('canhazgpu status  # Look for "last heartbeat" info', FREE),
    Line("canhazgpu run --gpus 1 -- python train.py 2>&1 | tee full_log.txt", run("0", "python train.py")),
    Line("canhazgpu run --gpus 1 -- python train.py 2>&1 | tee training.log &", run("0", "python train.py"), after="wait"),
    # docs/usage-reserve.md and docs/usage-release.md
    Line("canhazgpu reserve --duration 2h", reserved("0", "2h 0m 0s")),
    Line("canhazgpu reserve --gpus 4 --duration 6h", reserved("0 1 2 3", "6h 0m 0s")),
    Line("canhazgpu reserve --gpu-ids 0,2 --duration 4h", reserved("0 2", "4h 0m 0s")),
    Line("canhazgpu reserve --gpus 2 --duration 2d", reserved("0 1", "48h 0m 0s")),
    Line("canhazgpu reserve --gpus 1 --duration 7d", reserved("0", "168h 0m 0s")),
    Line("canhazgpu reserve --duration 4h", reserved("0", "4h 0m 0s")),
    Line("canhazgpu reserve --gpus 2 --duration 2h", reserved("0 1", "2h 0m 0s")),
    Line("canhazgpu reserve --gpus 8 --duration 1h", reserved("0 1 2 3 4 5 6 7", "1h 0m 0s")),
    Line("canhazgpu reserve --gpus 1 --duration 3h", reserved("0", "3h 0m 0s")),
    Line("canhazgpu reserve --gpus 4 --duration 2h", reserved("0 1 2 3", "2h 0m 0s")),
    Line("canhazgpu reserve --duration 2hours", code=1,
         err="Error: invalid duration format: 2hours (use formats like 30s, 30m, 2h, 1d)\n"),
    Line("canhazgpu reserve --gpus 2", reserved("0 1")),
    Line("canhazgpu reserve --gpus 8 --duration 24h  # Only if you really need this",
         reserved("0 1 2 3 4 5 6 7", "24h 0m 0s")),
    Line("canhazgpu reserve --duration 1h           # Start small", reserved("0", "1h 0m 0s")),
    Line("canhazgpu reserve --duration 30m          # Extend if needed (after releasing)", reserved("0")),
    Line("canhazgpu release                         # Clean up immediately",
         "No manually reserved GPUs found for current user\n"),
    Line("export CUDA_VISIBLE_DEVICES=$(canhazgpu reserve --gpus 2 --duration 3h --short)", "0,1\n",
         after="echo $CUDA_VISIBLE_DEVICES"),
    Line("canhazgpu release --gpu-ids 0,2", "No reservations found for current user on GPU(s): [0 2]\n"),
    Line("canhazgpu release --gpu-ids 2,3", "Released 2 GPU(s): [2 3]\n", before="canhazgpu reserve --gpu-ids 2,3"),
    Line("canhazgpu reserve --gpu-ids 0,1,2,3 --duration 2h", reserved("0 1 2 3", "2h 0m 0s")),
    Line("canhazgpu release --gpu-ids 0,1", "Released 2 GPU(s): [0 1]\n", before="canhazgpu reserve --gpu-ids 0,1,2,3"),
    # docs/usage-status.md
    Line("watch -n 30 canhazgpu status", FREE),
    Line("canhazgpu status >> gpu_usage_log.txt", FREE, after="cat gpu_usage_log.txt"),
    Line('echo "$(date): $(canhazgpu status)" >> gpu_monitoring.log', RULE + ROWS, after="tail -n +2 gpu_monitoring.log"),
    Line('STATUS=$(canhazgpu status)\nAVAILABLE=$(echo "$STATUS" | grep "AVAILABLE" | wc -l)\nIN_USE=$(echo "$STATUS" | grep "IN USE by" | wc -l)\n'
         'UNAUTHORIZED=$(echo "$STATUS" | grep "WITHOUT RESERVATION" | wc -l)\necho "gpu_available $AVAILABLE"\necho "gpu_in_use $IN_USE"\n'
         'echo "gpu_unreserved $UNAUTHORIZED"\necho "gpu_total $((AVAILABLE + IN_USE + UNAUTHORIZED))"',
         "gpu_available 6\ngpu_in_use 0\ngpu_unreserved 0\ngpu_total 6\n", before="canhazgpu reserve --gpus 2"),
    Line("AVAILABLE=$(canhazgpu status | grep \"AVAILABLE\" | wc -l)", "8\n", after="echo $AVAILABLE"),
    # docs/configuration.md
    Line("canhazgpu run --timeout 30m -- python train.py", run("0", "python train.py", "0h 30m 0s"),
         before="printf 'run:\\n  gpus: 1\\n  timeout: \"2h\"\\n' > ~/.canhazgpu.yaml"),
    Line('export CANHAZGPU_REDIS_HOST="redis.example.com"\nexport CANHAZGPU_REDIS_PORT="6380"\nexport CANHAZGPU_RUN_TIMEOUT="1h"\n'
         'export CANHAZGPU_MEMORY_THRESHOLD="2048"', run("0", "python train.py", "1h 0m 0s"),
         after="canhazgpu run -- python train.py",
         err=REDIS.format("CANHAZGPU_REDIS_HOST, CANHAZGPU_REDIS_PORT are") + MEMORY.format("CANHAZGPU_MEMORY_THRESHOLD")),
    Line("canhazgpu run --help  # Shows current defaults",
         "Reserve GPUs, run a command on them, give them back\n\nThe command finds its GPUs in CUDA_VISIBLE_DEVICES. Flags stand before the '--'.\n\n"
         "Usage:\n  canhazgpu run [flags] -- COMMAND...\n\nFlags:\n  -g, --gpus int               how many GPUs (default 1)\n…"),
    Line('canhazgpu status  # Prints "Using config file: ..." if found', FREE, before="echo > ~/.canhazgpu.yaml"),
    # docs/features-*.md
    Line("canhazgpu report --days 7 | grep $(whoami)", "ALICE  0.00          100.0%          0          1\n",
         before="canhazgpu reserve"),
    Line("canhazgpu run --gpus 2 -- python train.py          # Proper reservation", run("0 1", "python train.py")),
    Line("canhazgpu reserve --gpus 1 && jupyter notebook     # Manual reservation first",
         reserved("0") + "ran jupyter notebook on\n"),
    Line('UNAUTHORIZED=$(canhazgpu status | grep "WITHOUT RESERVATION")', "1\n", after="echo $?"),
    Line("canhazgpu run --memory-threshold 512 --gpus 1 -- python train.py", run("0", "python train.py"), err=THRESHOLD),
    # docs/admin-troubleshooting.md
    Line("canhazgpu admin --gpus 8 --provider nvidia --force", GIVEN.format("nvidia"), code=1, err=ADMIN_ONLY),
    Line("canhazgpu admin --gpus 8 --provider amd --force", GIVEN.format("amd"), code=1, err=NO_AMD),
    Line("canhazgpu admin --gpus 8 --force", FOUND, code=1, err=ADMIN_ONLY),
    Line("canhazgpu admin --gpus 4 --provider nvidia", GIVEN.format("nvidia"), code=1, err=NOT_FOUR.format(4)),
    Line("canhazgpu admin --gpus 2 --provider amd", GIVEN.format("amd"), code=1, err=NO_AMD),
    Line('canhazgpu status | grep "UNRESERVED"', code=1),
    Line("time canhazgpu status", FREE, err="\nreal\tTIME\nuser\tTIME\nsys\tTIME\n"),
    Line("which canhazgpu", "BIN/canhazgpu\n"),
    Line('canhazgpu status > /dev/null || echo "ERROR: canhazgpu failing"'),
    Line('STALE_HEARTBEATS=$(canhazgpu status | grep "last heartbeat" | grep -E "[5-9]m|[1-9][0-9]m" | wc -l)', "0\n",
         after="echo $STALE_HEARTBEATS"),
    Line('UNAUTHORIZED=$(canhazgpu status | grep "WITHOUT RESERVATION" | wc -l)', "0\n", after="echo $UNAUTHORIZED"),
    Line('echo "$(date): $(canhazgpu status | wc -l) GPUs, $(canhazgpu status | grep AVAILABLE | wc -l) available"',
         "DATE: 10 GPUs, 8 available\n"),
    # versions of these before the last
    Line("canhazgpu reserve --gpus 2 --duration 3h", reserved("0 1", "3h 0m 0s")),
    Line("canhazgpu run --gpus 4 -- python train.py", run("0 1 2 3", "python train.py")),
    Line("canhazgpu admin --gpus 4", FOUND, code=1, err=NOT_FOUR.format(4)),
    Line("canhazgpu admin --gpus 12 --force", FOUND, code=1, err=NOT_FOUR.format(12)),
    Line('canhazgpu status | grep "available" | while read -r line; do echo "$line"; done'),
    Line('canhazgpu status | grep "AVAILABLE" | while read -r line; do echo "$line"; done',
         "".join(f"{n}   │ ● AVAILABLE │ -    │ -        │ -    │ never used │ 0MB used   │ -\n" for n in range(8))),
    Line('canhazgpu status | grep "WITHOUT RESERVATION"', code=1),
    Line("canhazgpu --config /usr/local/share/canhazgpu-default.yaml status", code=1,
         err="Error: cannot read /usr/local/share/canhazgpu-default.yaml: No such file or directory\n"),
    Line("canhazgpu reserve --duration 5m", reserved("0", "0h 5m 0s")),
    Line("canhazgpu run --gpus 1 -- nvidia-smi",
         "Reserved 1 GPU(s): [0] for command execution\n" + "".join(f"GPU {n}\n" for n in range(8))),
    Line("canhazgpu status > /tmp/gpu-state-before-upgrade.txt", FREE, swap=("/tmp/", ""),
         after="cat gpu-state-before-upgrade.txt"),
    Line('UNAUTHORIZED=$(canhazgpu status | grep "WITHOUT RESERVATION" || true)', "0\n", after="echo $?"),
    Line('STALE=$(canhazgpu status | grep "no actual usage detected" || true)', "0\n", after="echo $?"),
    Line("canhazgpu report --days 30", REPORT.format(30)),
    Line("canhazgpu run --gpus 1 -- timeout 3600 python train.py", run("0", "python train.py")),
    Line("canhazgpu run --gpus 1 -- vllm serve my/model", run("0", "vllm serve my/model")),
]

LOGIN = 'echo "PATH=$PATH" > ~/.bash_profile; '  # a login has a PATH of its own
SRUN, SRUN_UP = ("python src/mgpu_srun.py", "mgpu_srun"), ("python ../src/mgpu_srun.py", "mgpu_srun")

MGPU = [
    # README, first to last of one machine
    Line("./dist/mgpu_srun --gpus 1 --mem 8000 --time-limit 600 -- python train.py", train("python train.py", priority="")),
    Line("./dist/mgpu_srun --gpus 1 -- python train.py", train("python train.py", priority="")),
    Line("./dist/mgpu_queue", "--- Running Jobs ---\n--- Queue ---\n"),
    Line("./dist/mgpu_cancel <job_id>", "Job cancelled.\n", before="./dist/mgpu_srun --gpus 1 --background -- sleep 600",
         swap=("<job_id>", "00000001")),
    Line("./dist/mgpu_srun --gpu-ids 0 --interactive -- python train.py", train("python train.py")),
    Line("./dist/mgpu_srun --gpu-ids 0,1 --mem 8000 --time-limit 600 -- torchrun --nproc_per_node=2 train.py",
         train("torchrun --nproc_per_node=2 train.py", "0,1")),
    Line("./dist/mgpu_srun --gpu-ids 0,1 --mem 8000 --time-limit 600 -- python train.py", train("python train.py", "0,1")),
    Line('./dist/mgpu_srun --gpu-ids 2 --env-setup-cmd "source venv/bin/activate" -- python train.py',
         train("activated\nran python train.py", "2"),
         before=LOGIN + "mkdir -p ~/venv/bin; echo echo activated > ~/venv/bin/activate"),
    Line('./dist/mgpu_srun --gpu-ids 1 --env-setup-cmd "conda activate myenv" -- python inference.py',
         train("conda activate myenv\nran python inference.py", "1"),
         before=LOGIN + "echo 'conda() { echo conda $*; }' >> ~/.bash_profile"),
    Line("./dist/mgpu_srun --gpu-ids 0 --priority 10 -- python important_task.py",
         train("python important_task.py", priority=" (priority=10)"),
         err="mgpu_srun: only administrators can put a job before those of others; its priority is 0\n"),
    Line("./dist/mgpu_srun --gpu-ids 0 -- python train.py", train("python train.py")),
    Line("./dist/mgpu_srun --gpu-ids 0,1 --mem 8000 --time-limit 600 --background -- python train.py",
         "Job submitted. ID: 00000001 (priority=0)\nJob queued. Use mgpu_queue to check status.\n"),
    # STRUCTURE_REORGANIZATION_COMPLETE.md, MULTINODE_IMPROVEMENTS.md, README_old.md, docs/multi-node-design.md, test/*.md
    Line("./dist/mgpu_srun", USAGE, code=1, err="mgpu_srun: there is no command\n"),
    Line("./dist/mgpu_cancel", "Usage: mgpu_cancel <job_id>\n", code=1),
    Line("mgpu_srun --gpu-ids 0,1 -- python train.py", train("python train.py", "0,1")),
    Line("mgpu_srun --nodes 2 --gpus-per-node 4 --distributed -- torchrun --nnodes=2 --nproc_per_node=4 train.py", USAGE,
         code=1, err=ONE_MACHINE.format("--nodes 2")),
    Line("mgpu_srun --nodelist node001,node002 --gpus-per-node 2 -- python train.py", USAGE, code=1,
         err=ONE_MACHINE.format("--nodelist node001,node002")),
    Line("mgpu_cancel JOB12345", "Cancel failed.\n", code=1,
         err="mgpu_cancel: 'JOB12345' is not the id of a job; mgpu_queue shows them\n"),
    Line("mgpu_srun --nodelist=node001,node002 --gpu-ids 0,1 -- python train.py", USAGE, code=1,
         err=ONE_MACHINE.format("--nodelist node001,node002")),
    Line("mgpu_srun --nodes=2 --gpus-per-node=4 -- python distributed_train.py", USAGE, code=1,
         err=ONE_MACHINE.format("--nodes 2")),
    Line("mgpu_srun --exclude=node003 --gpu-ids 0,1,2,3 -- python train.py", train("python train.py", "0,1,2,3")),
    Line("mgpu_srun --nodes=2 --gpus-per-node=4 --mpi -- mpirun -np 8 python train.py", USAGE, code=1,
         err=ONE_MACHINE.format("--nodes 2")),
    Line("mgpu_srun --nodes=2 --gpus-per-node=4 --distributed -- torchrun --nnodes=2 --nproc_per_node=4 train.py", USAGE,
         code=1, err=ONE_MACHINE.format("--nodes 2")),
    Line("python src/mgpu_srun.py --gpu-ids 0 -- python test/test_output.py", train("python test/test_output.py"),
         swap=SRUN),
    Line("python src/mgpu_queue.py", "--- Running Jobs ---\n--- Queue ---\n",
         swap=("python src/mgpu_queue.py", "mgpu_queue")),
    Line("python src/mgpu_cancel.py <job_id>", "Job cancelled.\n", before="mgpu_srun --gpus 1 --background -- sleep 600",
         swap=("python src/mgpu_cancel.py <job_id>", "mgpu_cancel 00000001")),
    Line("python ../src/mgpu_srun.py --gpu-ids 0 -- python test_output.py", train("python test_output.py"), swap=SRUN_UP),
    Line("python ../src/mgpu_srun.py --gpu-ids 0 -- python test_cancellation.py", train("python test_cancellation.py"),
         swap=SRUN_UP),
    Line("python ../src/mgpu_srun.py --gpu-ids 0 --interactive -- python test_output.py", train("python test_output.py"),
         swap=SRUN_UP),
    Line("python ../src/mgpu_srun.py --gpu-ids 0 --mem 2000 -- python test_torch_load.py",
         train("python test_torch_load.py"), swap=SRUN_UP),
    Line("python ../src/mgpu_srun.py --gpu-ids 0,1 --interactive -- python test_distributed.py",
         train("python test_distributed.py", "0,1"), swap=SRUN_UP),
    Line("python ../src/mgpu_srun.py --gpu-ids 0 --priority 5 -- python test_output.py",
         train("python test_output.py", priority=" (priority=5)"), swap=SRUN_UP,
         err="mgpu_srun: only administrators can put a job before those of others; its priority is 0\n"),
    Line('python ../src/mgpu_srun.py --gpu-ids 0 --env-setup-cmd "source venv/bin/activate" -- python test_output.py',
         train("activated\nran python test_output.py"),
         before=LOGIN + "mkdir -p ~/venv/bin; echo echo activated > ~/venv/bin/activate", swap=SRUN_UP),
]

HOLD = "dibs reserve --gpu 0,1"
JOB = "dibs submit -g 1 -- sleep 600"
FORTY_TWO = ("42", "1")

OURS = [
    # docs/coming-from/canhazgpu.md
    Line("canhazgpu", HELP),
    Line("chg", HELP),
    Line("dibs admin import canhazgpu", code=2, root=True,
         err="dibs: where is its Redis? dibs admin import canhazgpu --redis localhost:6379\n"),
    Line("dibs admin release ID --reason TEXT", "hold 1: GPU 0,1 released\n", before=HOLD, swap=("ID", "1"), root=True),
    Line("dibs",
         "HOST: 8 × A100-80G, 8 free\n\nGPU  MODEL     MEMORY  UTIL  TEMP  STATE  LEASE  USER  FOR  UNTIL  WHAT RUNS THERE\n"
         "  0  A100-80G   0/80G    0%  30°C  free                            \n…"),
    Line("dibs status --json", '{\n  "host": "HOST",\n…'),
    Line("canhazgpu status --all", "\n┌─ localhost ─┐\n" + FREE),
    Line("canhazgpu run --gpus 2 -- CMD", run("0 1", "CMD")),
    Line("dibs run -g 2 -- CMD", "ran CMD on 0,1\n"),
    Line("canhazgpu run --gpu-ids 1,3 -- CMD", run("1 3", "CMD")),
    Line("dibs run --gpu 1,3 -- CMD", "ran CMD on 1,3\n"),
    Line("canhazgpu run --timeout 2h -- CMD", run("0", "CMD", "2h 0m 0s")),
    Line("dibs run -t 2h -- CMD", "ran CMD on 0\n"),
    Line("canhazgpu run --nonblock -- CMD", run("0", "CMD")),
    Line("dibs run --no-wait -- CMD", "ran CMD on 0\n"),
    Line("canhazgpu run --wait 30m -- CMD", run("0", "CMD")),
    Line("dibs run --wait 30m -- CMD", "ran CMD on 0\n"),
    Line("nohup canhazgpu run -- CMD &", "Reserved 1 GPU(s): [0] for command execution\nran CMD on 0\n", after="wait"),
    Line("dibs submit -- CMD", "job 1 queued\n"),
    Line("dibs reserve -g 2 -d 4h", hold("0,1", "4h")),
    Line("canhazgpu reserve --short", "0"),
    Line("dibs reserve --short", "0\n"),
    Line("canhazgpu reserve --force", reserved("0")),
    Line("dibs reserve --force", hold("0", "8h")),
    Line("canhazgpu reserve --user NAME", reserved("0")),
    Line("dibs release", "hold 1: GPU 0,1 released\n", before=HOLD),
    Line("canhazgpu release --gpu-ids 1", "Released 1 GPU(s): [1]\n", before=HOLD),
    Line("dibs shrink ID --gpu 1", "hold 1: GPU 0 until <TIME> (8h)\n", before=HOLD, swap=("ID", "1")),
    Line("dibs release --gpu 1", "hold 1: GPU 0,1 released\n", before=HOLD),
    Line("dibs queue", "nobody waits\n"),
    Line("dibs report --days 7", NO_USE.format("1344.0")),
    Line("USER=bob canhazgpu release", "No manually reserved GPUs found for current user\n"),
    Line("$(canhazgpu reserve --short)", "0\n", swap=("$(", "echo $(")),
    Line("canhazgpu release 1", code=1, err='Error: unknown argument "1" for "canhazgpu release"\n'),
    Line("status --format readme", "".join(f"GPU {n}: AVAILABLE (never used) [validated: 0MB used]\n" for n in range(8)),
         swap=("status", "canhazgpu status")),
    # docs/coming-from/mgpu.md
    Line("mgpu_srun --gpus 1 -- CMD", train("CMD", priority="")),
    Line("dibs submit -g 1 --wait-for -- CMD", "job 1 queued\n"),
    Line("dibs run -g 1 -- CMD", "ran CMD on 0\n"),
    Line("mgpu_srun --gpus 1 --background -- CMD",
         "Job submitted. ID: 00000001\nJob queued. Use mgpu_queue to check status.\n"),
    Line("dibs submit -g 1 -- CMD", "job 1 queued\n"),
    Line("mgpu_srun --gpu-ids 0,1 -- CMD", train("CMD", "0,1")),
    Line("dibs submit --gpu 0,1 -- CMD", "job 1 queued\n"),
    Line("dibs logs 42", "ran CMD on 0\n", before="dibs submit --wait-for -- CMD", swap=FORTY_TWO),
    Line("dibs logs -f 42", "ran CMD on 0\n", before="dibs submit --wait-for -- CMD", swap=FORTY_TWO),
    Line("mgpu_queue", "--- Running Jobs ---\n--- Queue ---\n"),
    Line("mgpu_cancel 00000042", "Job cancelled.\n", before=JOB, swap=FORTY_TWO),
    Line("dibs cancel 42", "job 1: told to end\n", before=JOB, swap=FORTY_TWO),
    Line("dibs show 42", "#1: hold of ALICE, active\n  gpus       0,1\n…", before=HOLD, swap=FORTY_TWO),
    Line("dibs history", "no lease has ended\n"),
    Line("dibs report", NO_USE.format("5760.0")),
    Line('mgpu_srun --gpus 1 "cd project && python train.py"', train("python train.py", priority=""),
         before="mkdir ~/project"),
    # mgpu_srun(1)
    Line("mgpu_srun --gpus 1 -- python train.py", train("python train.py", priority="")),
    Line("mgpu_srun --gpus 1 --mem 8000 --time-limit 600 --background -- python train.py",
         "Job submitted. ID: 00000001\nJob queued. Use mgpu_queue to check status.\n"),
    Line('mgpu_srun --gpu-ids 1 --env-setup-cmd "conda activate myenv" -- python inference.py',
         train("conda activate myenv\nran python inference.py", "1"),
         before=LOGIN + "echo 'conda() { echo conda $*; }' >> ~/.bash_profile"),
    Line('mgpu_srun --gpus 2 "cd project && torchrun --nproc_per_node=2 train.py"',
         train("torchrun --nproc_per_node=2 train.py", "0,1", priority=""), before="mkdir ~/project"),
    # docs/coming-from/gpu_lock.md, gpulocker.md, gps.md
    Line("dibs run -- COMMAND", "ran COMMAND on 0\n"),
    Line("dibs admin import gpulocker .env > /etc/dibs/dibs.conf",
         "\n[lease]\nmax-hold = 7d\ndefault-hold = 1d\nhold-grace = 24h\n\n[idle]\nhold-after = never\n\n[guard]\nmode = deny\n\n",
         before="printf 'CHECK_FOR_IDLE_GPU=6\\nSECRET_KEY=x\\n' > .env",
         err="dibs: 2 settings: 0 taken over, 2 without a counterpart (1 of them secrets, not shown), 0 unknown; the comments say more\n",
         swap=("/etc/dibs/", ""), after="grep -v '^#' dibs.conf"),
    Line("dibs admin import gpulocker .env",
         "# Settings of dibsd, made of those of GPULocker; see dibs.conf(5).\n\n[lease]\n…",
         before="echo SECRET_KEY=x > .env",
         err="dibs: 1 setting: 0 taken over, 1 without a counterpart (1 of them secrets, not shown), 0 unknown; the comments say more\n"),
    Line("dibs reserve -g 2 --type A100 -d 3d", hold("0,1", "3d")),
    Line("dibs extend 42 1d", "hold 1: GPU 0,1 until <TIME> (1d8h)\n", before=HOLD, swap=FORTY_TWO),
    Line("dibs give 42 alice", "hold 1: GPU 0,1 until <TIME> (8h), now of BOB\n", before=HOLD, swap=("42 alice", "1 BOB")),
    Line('dibs admin release 42 --reason "..."', "hold 1: GPU 0,1 released\n", before=HOLD, swap=FORTY_TWO, root=True),
    Line('dibs admin drain GPU --reason "..."', "GPU 3 is draining: ...\n", swap=("GPU", "3"), root=True),
    Line("dibs history --all", "no lease has ended\n"),
    Line("dibs reserve -g N --type T -d Dd", hold("0,1", "3d"), swap=("-g N --type T -d Dd", "-g 2 --type A100 -d 3d")),
    Line("dibs show ID", "#1: hold of ALICE, active\n  gpus       0,1\n…", before=HOLD, swap=("ID", "1")),
]



# Not run, and why.
NOT_RUN = {
    "a form, not a line": [
        "canhazgpu admin --gpus <count> [--force] [--provider <type>]",
        "canhazgpu run [--gpus <count> | --gpu-ids <ids>] [--timeout <duration>] [--nonblock] [--wait <duration>] -- <command>",
        "canhazgpu run --gpus <count> [--timeout <duration>] -- <command>",
        "canhazgpu reserve [--gpus <count> | --gpu-ids <ids>] [--duration <time>] [--nonblock] [--wait <duration>]",
        "canhazgpu reserve [--gpus <count>] [--duration <time>] [--memory-threshold <mb>]",
        "canhazgpu release [--gpu-ids <ids>]", "canhazgpu report [--days <num>]", "canhazgpu queue [--json]",
        "canhazgpu status [--memory-threshold <mb>]", "canhazgpu web [--port <port>] [--host <host>] [--demo]",
        "canhazgpu admin", "canhazgpu run", "mgpu_srun", "mgpu_cancel", "mgpu_scheduler_server", "mgpu_master", "mgpu_node",
        "sudo", "dibs status", "dibs admin import gpulocker", "dibs reserve", "dibs reserve ...", "dibs run",
        "dibs admin release", "dibs submit", "dibs submit --nice -50", "python ../src/mgpu_srun.py --gpu-ids 0 -- python <test_script>",
    ],
    "needs keys on a terminal; test_canhazgpu_face.py looks at what they do": [
        "canhazgpu run --<TAB>", "canhazgpu reserve --duration <TAB>", "canhazgpu run --gpus 1 -- python <TAB>",
        "canhazgpu run --gpus 1 -- nvidia-smi --<TAB>", "canhazgpu run --gpus 1 -- amd-smi --<TAB>",
    ],
    "no version of canhazgpu knew them": [
        "canhazgpu admin --allocation-strategy lru", "canhazgpu admin --allocation-strategy round-robin",
        "canhazgpu admin --allocation-strategy thermal-aware",
    ],
    "ends when it is interrupted": ["dibs status --watch"],
    "in another test": [
        "dibs selftest",                 # test_selftest.py
        "dibs doctor",                   # test_guard.py and others
        "dibs reserve --adopt PID",      # test_transfer.py
        "pip install ./python",          # test_python_package.py
        "mgpu_scheduler_server --max-job-time 3600", "sudo mgpu_scheduler_server --max-job-time 3600",  # below
    ],
    "another host": ["ssh HOST dibs", "ssh HOST"],
    "of systemd": ["systemctl enable --now dibs-mgpu.socket", "journalctl -u dibsd",
                   "systemctl enable dibs-exec.socket dibsd; systemctl restart dibs-exec.socket dibsd", "systemctl edit dibs-mgpu.service", "systemctl edit dibsd", "sudo systemctl start mongod"],
    "ends what was there before": [
        "systemctl stop gpulocker", "setfacl -b /dev/nvidia[0-9]*; chmod 666 /dev/nvidia[0-9]*", "pip uninstall gpu_lock",
    ],
    "another program for what mgpu_srun, mgpu_queue and mgpu_cancel do; docs/coming-from/mgpu.md has the lines for it": [
        "mgpu_client submit", 'python src/mgpu_client.py submit --gpus 1 --interactive "python your_script.py"',
        'python src/mgpu_client.py submit --gpus 1 "python long_running_script.py"',
        'python src/mgpu_client.py submit --interactive --gpus 1 --session-timeout 3600 --max-consecutive-timeouts 60 '
        '"python training_script.py"', "python src/mgpu_client.py queue", "python src/mgpu_client.py monitor <job_id>",
        "python src/mgpu_client.py cancel <job_id>",
        'python src/mgpu_client.py --host 192.168.1.100 --port 8080 submit --gpus 2 --node-gpu-ids "worker01:0,1" "python script.py"',
    ],
    "servers of several machines": [
        "python src/mgpu_master.py --host 0.0.0.0 --port 8080",
        "python src/mgpu_node.py --node-id node001 --master-host 127.0.0.1 --master-port 8080",
    ],
    "Redis, which is not there any more": [
        "redis-cli ping", 'redis-cli get "canhazgpu:provider"', "redis-cli keys 'canhazgpu:*'", "redis-cli info memory",
        "sudo systemctl start redis-server", "sudo systemctl restart redis-server",
    ],
    "installation of what was there before": [
        "go install github.com/russellb/canhazgpu@latest", "brew install canhazgpu", "make install", "make build", "./build.sh",
        "./build_and_run.sh", "sudo cp canhazgpu /usr/local/bin/", "pip install -r requirements.txt", "pip install pyinstaller",
        "pip install git+https://github.com/idsc-frazzoli/gpu_lock.git",
        "pip install --upgrade git+https://github.com/idsc-frazzoli/gpu_lock.git", "python gpulocker.py",
    ],
}
