"""What to change when a training does not fit into memory."""

import torch

from .arguments import SemArtTrainingArguments


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the accelerator's or the machine's memory is full."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def memory_advice(error: BaseException, arguments: SemArtTrainingArguments) -> str:
    """What ran out, with which batch size, and what to change.

    Args:
        error: The error.
        arguments: Of the run.
    """
    size, accumulated = arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    if size > 1:
        change = (
            f"Take per_device_train_batch_size: {size // 2} with gradient_accumulation_steps: {2 * accumulated}, "
            "which trains on the same steps"
        )
    else:
        change = "The batch size cannot be smaller: take a smaller image_size or max_text_length"
    return (
        f"Out of memory with per_device_train_batch_size {size} ({first_line}). {change}; or auto_find_batch_size: "
        "true, precision: bf16, gradient_checkpointing: true. What is trained so far lies in the last checkpoint."
    )
