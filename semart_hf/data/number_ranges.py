"""The numbers that a field of a recipe may have."""

import math
from collections.abc import Callable
from typing import Any

# What is allowed, whether a number is, and the fields. No comparison holds for NaN.
_RANGES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    (
        "1 or more",
        lambda number: 1 <= number < math.inf,
        """per_device_train_batch_size per_device_eval_batch_size gradient_accumulation_steps save_total_limit
        early_stopping_patience image_size fusion_dim prepared_size epoch_length shuffle_buffer max_train_rows
        min_label_count""",
    ),
    (
        "0 or more",
        lambda number: 0 <= number < math.inf,
        """learning_rate vision_learning_rate text_learning_rate lexicon_learning_rate lexicon_penalty weight_decay
        max_grad_norm warmup_steps eval_delay dataloader_num_workers modality_loss logit_adjustment_tau""",
    ),
    (
        "above 0",
        lambda number: 0 < number < math.inf,
        "adam_epsilon logging_steps save_steps eval_steps ordinal_years crop_scale crop_ratio crop_pct",
    ),
    (
        "from 0 to below 1",
        lambda number: 0 <= number < 1,
        "adam_beta1 adam_beta2 ema_decay label_smoothing_factor color_jitter fusion_dropout",
    ),
    (
        "from 0 to 1",
        lambda number: 0 <= number <= 1,
        "horizontal_flip random_erasing image_dropout text_dropout",
    ),
    ("from 0 to 4294967295", lambda number: 0 <= number < 2**32, "seed data_seed"),
    ("finite", math.isfinite, "num_train_epochs rotation"),
)


def check_numbers(arguments: Any) -> None:
    """Refuse a number that a training library would take and go wrong with, such as a negative learning rate.

    Args:
        arguments: One of a recipe's dataclasses; `None` is always allowed here.

    Raises:
        ValueError: If there is one, with its field and what is allowed.
    """
    for allowed, is_allowed, names in _RANGES:
        for name in names.split():
            value = getattr(arguments, name, None)
            numbers = value if isinstance(value, list | tuple) else [value]
            wrong = [number for number in numbers if number is not None and not is_allowed(number)]
            if wrong:
                raise ValueError(f"{name} is {value}, but a number must be {allowed}. Give such a number.")
