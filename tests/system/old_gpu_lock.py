# SPDX-License-Identifier: MIT
"""The protocol of the Python package gpu_lock, as its clients play it; a program of its own, without dibs.

old_gpu_lock.py DIRECTORY GENERATION GPUS: reads lines "lock N" (N: a GPU, or "any"), "unlock", "exit"; answers each with
"locked N", "refused WHY", "unlocked" or "error WHY". GENERATION is "first" (keys id, takes over what the same user has) or
"second" (keys uid and version, owner alone counts; the file is removed before it is made anew).
"""

import getpass
import json
import os
import sys
import time


def path(directory, gpu):
    return os.path.join(directory, f"gpu_{gpu}.json")


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def check(directory, generation, gpu):
    """Raises RuntimeError if somebody has it."""
    if not os.path.exists(path(directory, gpu)):
        return
    with open(path(directory, gpu)) as file:
        lock = json.load(file)
    mine = lock["owner"] == os.getpid() or (generation == "first" and lock["user"] == getpass.getuser())
    if not mine and is_alive(lock["owner"]):
        raise RuntimeError(f"Could not aquire lock. The resource is locked by {lock['user']}")
    if generation == "first":
        os.remove(path(directory, gpu))


def acquire(directory, generation, gpu):
    check(directory, generation, gpu)
    if generation == "second" and os.path.exists(path(directory, gpu)):
        os.remove(path(directory, gpu))
    lock = {"user": getpass.getuser(), "time": int(time.time()), "owner": os.getpid()}
    lock.update({"id": gpu} if generation == "first" else {"uid": gpu, "version": "0.2.1"})
    with open(path(directory, gpu), "w", newline="") as file:
        json.dump(lock, file, indent=4)
    os.chmod(path(directory, gpu), 0o777)


def choose(directory, generation, gpus):
    for gpu in range(gpus):
        try:
            check(directory, generation, gpu)
        except RuntimeError:
            continue
        return gpu
    raise RuntimeError("Could not aquire lock. All GPUs are busy.")


def main(directory, generation, gpus):
    gpu = None
    os.umask(0o022)
    for line in sys.stdin:
        word, *rest = line.split()
        try:
            if word == "lock":
                gpu = choose(directory, generation, int(gpus)) if rest == ["any"] else int(rest[0])
                acquire(directory, generation, gpu)
                answer = f"locked {gpu}"
            elif word == "unlock":
                if os.path.exists(path(directory, gpu)):
                    os.remove(path(directory, gpu))
                answer = "unlocked"
            else:
                return
        except RuntimeError as error:
            answer = f"refused {error}"
        except (OSError, ValueError) as error:
            answer = f"error {type(error).__name__} {error}"
        print(answer, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
