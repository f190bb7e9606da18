"""The threads that compute in a command, set before torch is imported."""

import os
import sys
from pathlib import Path

OPTION = "__num_cpu_threads_per_process"  # of accelerate, which takes - for _ and shorter forms, too
LAUNCHERS = ("accelerate", "accelerate-launch", "torchrun")
LAUNCHER_MODULES = ("accelerate.commands.", "torch.distributed.")


def set_up_threads() -> None:
    """Let threads that wait for others leave their core, and undo a launcher's default of one thread.

    Where another program has the core that a thread needs, the others would spin for its whole time slice, at each of
    the hundreds of parallel regions of a forward pass.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if os.environ.get("OMP_NUM_THREADS") != "1" or not is_launchers_default():
        return
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    threads = cores() // processes
    if threads > 1:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        if os.environ.get("LOCAL_RANK", "0") == "0":
            each = " in each process" if processes > 1 else ""
            chosen = f"Threads: {threads}{each}, where the launcher's default is 1."
            print(chosen, "OMP_NUM_THREADS sets another number.", file=sys.stderr)


def is_launchers_default() -> bool:
    """Whether a launcher started this process and chose the number of its threads by itself."""
    import psutil

    try:
        launcher = psutil.Process().parent()
        words = [] if launcher is None else launcher.cmdline()
        if launcher is None or "OMP_NUM_THREADS" in launcher.environ():
            return False
    except psutil.Error:
        return False
    is_launcher = any(Path(word).stem in LAUNCHERS or word.startswith(LAUNCHER_MODULES) for word in words[:4])
    names = [word.partition("=")[0].replace("-", "_") for word in words]
    return is_launcher and not any(OPTION.startswith(name) and len(name) > len("__num_") for name in names)


def cores() -> int:
    """Cores that this process may use and that compute on their own, as torch counts its threads."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count()
    return min(allowed or 1, psutil.cpu_count(logical=False) or allowed or 1)
