"""What the Hub on loopback reads of README.md: the metadata, and what is wrong with them."""

from typing import Any

import yaml

SPACE_SDKS = ("gradio", "docker", "static")
SPACE_COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")


def front_matter(text: str) -> Any:
    """The YAML between the two lines of dashes that a card begins with; `None` where there is none.

    Raises:
        yaml.YAMLError: If it is no YAML.
    """
    if not text.startswith("---\n") or "\n---" not in text[3:]:
        return None
    return yaml.safe_load(text[4:].partition("\n---")[0])


def problems(text: str, kind: str) -> tuple[list[str], list[str]]:
    """Errors and warnings of a card's metadata.

    The Hub's own rules are not in the client's source; these are the documented ones that a card here can break.
    """
    try:
        metadata = front_matter(text)
    except yaml.YAMLError as error:
        return [f"bad YAML: {error}"], []
    if metadata is None:
        return (["sdk is required"] if kind == "spaces" else []), ["empty or missing yaml metadata in repo card"]
    if not isinstance(metadata, dict):
        return ["the metadata must be a mapping"], []
    errors = []
    for name in ("tags", "datasets", "base_model", "language", "license"):
        value = metadata.get(name)
        values = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(item, str) for item in values):
            errors.append(f'"{name}" must be a string or a list of strings')
    for name in ("pipeline_tag", "library_name"):
        if not isinstance(metadata.get(name, ""), str):
            errors.append(f'"{name}" must be a string')
    errors += _index_problems(metadata.get("model-index", []))
    if kind == "spaces":
        errors += _space_problems(metadata)
    return errors, []


def _index_problems(index: Any) -> list[str]:
    if not isinstance(index, list):
        return ['"model-index" must be a list']
    errors = []
    for model in index:
        if not isinstance(model, dict) or not model.get("name") or not isinstance(model.get("results"), list):
            errors.append('each entry of "model-index" needs a name and a list of results')
            continue
        for number, result in enumerate(model["results"]):
            place = f"model-index[{model['name']}].results[{number}]"
            if not (result.get("task") or {}).get("type"):
                errors.append(f"{place}.task.type is required")
            dataset = result.get("dataset") or {}
            errors += [f"{place}.dataset.{name} is required" for name in ("type", "name") if not dataset.get(name)]
            for metric in result.get("metrics") or [{}]:
                if "type" not in metric or "value" not in metric:
                    errors.append(f"{place}.metrics need a type and a value each")
    return errors


def _space_problems(metadata: dict[str, Any]) -> list[str]:
    errors = []
    if metadata.get("sdk") not in SPACE_SDKS:
        errors.append(f'"sdk" must be one of {SPACE_SDKS}')
    for name in ("colorFrom", "colorTo"):
        if name in metadata and metadata[name] not in SPACE_COLORS:
            errors.append(f'"{name}" must be one of {SPACE_COLORS}')
    if len(str(metadata.get("short_description", ""))) > 60:
        errors.append('"short_description" must not be longer than 60 characters')
    return errors
