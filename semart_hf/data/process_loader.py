"""The batches of one process, whose rows are already its own."""

import multiprocessing
import os
import signal
from functools import cache, partial
from multiprocessing.util import Finalize
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.data_loader import DataLoaderShard
from torch.utils.data import Dataset


def process_loader(
    rows: Dataset[Any], accelerator: Accelerator, *, pin_memory: bool = False, **options: Any
) -> DataLoaderShard:
    """A process's batches on its device, as a Trainer's `get_train_dataloader` gives them.

    `accelerator.prepare` would divide the rows among the processes a second time.

    Args:
        rows: Rows, or a stream, that are this process's alone.
        accelerator: Knows the device; gradient accumulation asks its loaders whether the epoch ends.
        pin_memory: Whether batches wait in memory that an accelerator copies from while it computes.
        **options: Further arguments of `torch.utils.data.DataLoader`.
    """
    is_pinned = pin_memory and torch.accelerator.is_available() and accelerator.device.type != "cpu"
    loader = DataLoaderShard(
        rows,
        device=accelerator.device,
        pin_memory=is_pinned,
        worker_init_fn=partial(_obey_parent_alone, _end_of(os.getpid())),
        _non_blocking=is_pinned,
        **options,
    )
    accelerator._dataloaders.append(loader)
    return loader


@cache
def _end_of(process: int) -> Any:
    """A byte that the workers of a process read: whether it ends. Set before `multiprocessing` terminates them."""
    ends = multiprocessing.RawValue("b", 0)
    Finalize(None, setattr, args=(ends, "value", 1), exitpriority=1)
    return ends


def _obey_parent_alone(parent_ends: Any, worker: int) -> None:
    # Clusters send SIGTERM to every process: a worker that obeyed would take away the data of the last step. But one
    # that always ignored it would never end, and its parent waits for it.
    def terminate(number: int, frame: FrameType | None) -> None:
        if parent_ends.value:
            os._exit(0)  # torch takes any other end of a worker for a fault

    signal.signal(signal.SIGTERM, terminate)
