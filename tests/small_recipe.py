"""The recipe of the smallest training, which tests of commands change as they need it."""

import yaml

_TEXT = {"dim": 32, "n_layers": 1, "n_heads": 4, "hidden_dim": 64}
_TOWERS = {"vision": "test_resnet", "text": None, "text_args": _TEXT, "pretrained": False, "image_size": 32}
_DATA = {"min_label_count": 3, "vocab_size": 300, "max_text_length": 32}
_STEPS = {"fusion_dim": 32, "trainable_text_layers": None, "num_train_epochs": 1, "per_device_train_batch_size": 8}


def small_recipe(**fields):
    paths = {name: str(value) for name, value in fields.items() if hasattr(value, "__fspath__")}
    return yaml.safe_dump({**_TOWERS, **_DATA, **_STEPS, **fields, **paths})
