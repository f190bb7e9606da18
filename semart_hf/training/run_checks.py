"""What would end a run late is refused before its first step, and before anything is written."""

from .arguments import SemArtTrainingArguments


def check_num_steps(args: SemArtTrainingArguments, num_batches: int, num_rows: int) -> None:
    """Refuse a run without a step.

    Args:
        args: The run's.
        num_batches: Of an epoch on this process.
        num_rows: Of an epoch.

    Raises:
        ValueError: If an epoch has no batch, or there is no epoch.
    """
    if num_batches and (args.max_steps > 0 or (args.max_steps < 0 and args.num_train_epochs > 0)):
        return
    raise ValueError(
        f"This run would have no step: {num_rows} training rows, per_device_train_batch_size "
        f"{args.per_device_train_batch_size}, gradient_accumulation_steps {args.gradient_accumulation_steps}, "
        f"{args.world_size} process(es), dataloader_drop_last {args.dataloader_drop_last}, max_steps "
        f"{args.max_steps}, num_train_epochs {args.num_train_epochs}. Set dataloader_drop_last: false or a smaller "
        "per_device_train_batch_size, and max_steps or num_train_epochs above 0."
    )
