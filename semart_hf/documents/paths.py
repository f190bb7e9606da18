"""Paths of one machine, cut where they are published."""

import re


def without_folders(value: object) -> object:
    """The value of a JSON file, with every path that leads outside cut to its last part.

    `/home/anna/semart` and `../data/semart` become `semart`; `user/name` and `outputs/demo/model` stay.
    """
    if isinstance(value, dict):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_folders(inner) for inner in value]
    if isinstance(value, str) and re.match(r"(/|\.\.?[/\\]|~[/\\]|[A-Za-z]:[/\\])\S", value):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return value
