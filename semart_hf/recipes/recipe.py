"""A recipe's fields and how a file and a command line give them, without torch, so that `--help` answers at once."""
# ruff: noqa: RUF009 (`described` gives a field)

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

import yaml

from semart_hf.data.data_arguments import check_values, described
from semart_hf.files import write_text

RECIPES = Path(__file__).resolve().parent
LIST_FIELDS = {"tasks", "text_columns", "crop_scale", "crop_ratio", "report_to"}
# What has had its effect before labels can be counted.
_READ_BEFORE = {"data", "output_dir", "overwrite_output_dir", "resume_from_checkpoint", "streaming", "from_labels"}
_READ_BEFORE |= {"tasks", "text_columns", "min_label_count", "max_train_rows", "seed", "precision", "bf16"}
PRETRAINED_CHOICES: dict[str, bool | str] = {"true": True, "false": False, "vision": "vision", "text": "text"}


@dataclass
class ModelArguments:
    """Which towers are paired, and what of them learns."""

    init_from: str | None = described(
        None, "A published model as the start (Hub id or folder), of its heads the labels that the data has too."
    )
    vision: str = described(
        "timm/efficientnet_b0.ra_in1k", "Vision tower: Hub id or folder of a timm model; from scratch, its timm name."
    )
    text: str | None = described(
        "distilbert/distilbert-base-uncased",
        "Text tower: Hub id or folder of a DistilBERT, BERT, RoBERTa or ModernBERT with its tokenizer. null: a "
        "DistilBERT of the sizes in text_args, with a vocabulary learned from the training texts.",
    )
    pretrained: str = described(
        "true", "Towers whose weights are loaded: true both, false none.", choices=list(PRETRAINED_CHOICES)
    )
    image_size: int | None = described(None, "Side of the square input in pixels. null: the tower's.")
    crop_pct: float | None = described(None, "Share of a picture's sides shown after training. null: the tower's.")
    crop_mode: str | None = described(
        None, "center: the middle; squash: all, made square. null: the tower's.", choices=["center", "squash"]
    )
    text_args: dict[str, Any] | None = described(None, "DistilBertConfig's fields for text: null, '{\"dim\": 128}'.")
    frozen_vision_stages: int = described(0, "Leading stages of the vision tower that do not learn, its stem first.")
    trainable_text_layers: int | None = described(1, "Last text layers that learn. null: the whole text tower.")
    vision_pooling: str = described(
        "last", "last: the tower's features; stages: each stage's mean and deviation, too.", choices=["last", "stages"]
    )
    text_pooling: str = described("first", "first: the first token; mean: over the tokens.")
    text_lexicon: bool = described(False, "Whether a linear model on token counts adds its logits.")
    probe_share: float = described(
        0.0, "Weight of regressions on frozen features beside the network; of texts alone they answer alone. 0: none."
    )
    network_image_size: int | None = described(None, "Side in pixels that the network sees; a probe: image_size.")
    fusion_dim: int = described(512, "Size of the fused features.")
    fusion_dropout: float = described(0.1, "Dropout probability before the heads.")

    def __post_init__(self) -> None:
        check_values(self)


@dataclass
class LearningArguments:
    """How it is learned, beyond what `transformers.TrainingArguments` says; its fields are part of these."""

    head_init: str = described(
        "random", "Heads start random or as regressions on features.", choices=["random", "logistic_regression"]
    )
    vision_learning_rate: float | None = described(None, "Vision tower's; null: learning_rate.")
    text_learning_rate: float | None = described(None, "Text tower's; null: learning_rate.")
    lexicon_learning_rate: float = described(0.1, "Of the lexicon, which is linear and starts at 0.")
    lexicon_penalty: float = described(0.1, "Of the lexicon's squared weights, beside the rows' summed losses.")
    loss: dict[str, str] | str | None = described(
        "cross_entropy",
        "Parts joined by + of cross_entropy, class_weighted, logit_adjusted, ordinal (labels with an order); for all "
        "tasks, or by task with `default` for the others.",
    )
    logit_adjustment_tau: float = described(1.0, "Of logit_adjusted: 1 balances the classes, 0 changes nothing.")
    modality_loss: float = described(0.0, "Weight of the losses of picture and text each alone, of rows with both.")
    contrastive_weight: float = described(
        0.0, "Of picture and text finding each other among a batch's pairs, on all devices; 0: not learned."
    )
    contrastive_start: str = described(
        "random", "Projections before training; correlations: of all pairs.", choices=["random", "correlations"]
    )
    ema_decay: float = described(0.0, "Of a moving average of the weights, which is then the result; 0: none.")
    from_labels: dict[str, Any] | None = described(
        None, 'Fields that hold from so many labels a task on, in the mean, e.g. \'{"200": {"num_train_epochs": 8}}\'.'
    )
    early_stopping_patience: int | None = described(None, "Validations without a gain before training stops.")
    keep_freed_memory: bool = described(True, "Whether a CPU's memory stays with the process (glibc): faster.")


def read_recipe(name_or_path: str | Path) -> dict[str, Any]:
    """The fields of a recipe, given by its path, a run's folder, or the name of one in the package."""
    given = Path(name_or_path)
    path = next(filter(Path.is_file, (given, given / "recipe.yaml", RECIPES / f"{name_or_path}.yaml")), None)
    if path is None:
        names = sorted(file.stem for file in RECIPES.glob("*.yaml"))
        problem = f"There is no recipe {name_or_path}{did_you_mean(given.stem, names)}"
        raise ValueError(f"{problem}. Give the path of a YAML file, or one of {', '.join(names)}.")
    try:
        recipe = yaml.load(path.read_text(encoding="utf-8"), Loader=_RecipeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"The recipe {path} is not valid YAML: {error}. Write one `name: value` a line.") from error
    if not isinstance(recipe, dict) or not all(isinstance(key, str) for key in recipe):
        raise ValueError(f"The recipe {path} holds {type(recipe).__name__}, no fields. Write `name: value` lines.")
    return recipe


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest known word in brackets, where one is near."""
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def parse_recipe(dataclass_types: Sequence[Any], recipe: Mapping[str, Any]) -> tuple[Any, ...]:
    """One instance of each dataclass, from the fields of a recipe by name, where `None` stands for null."""
    parser, values = _typed(dataclass_types, recipe)
    return parser.parse_dict(values)


def _typed(dataclass_types: Sequence[Any], recipe: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The parser of the dataclasses, and all fields by name, those of a recipe in the types that these name."""
    from transformers.hf_argparser import HfArgumentParser  # takes most of a second, which `--help` has not

    parser = HfArgumentParser(dataclass_types, allow_abbrev=False, add_help=False)
    parser.error = _raise_unreadable  # instead of the usage of two hundred options
    hints = {name: hint for kind in dataclass_types for name, hint in get_type_hints(kind).items()}
    known = {f.name for kind in dataclass_types for f in fields(kind) if f.init}
    if unknown := [f"{name!r}{did_you_mean(name, known)}" for name in recipe if name not in known]:
        allowed = "Allowed are those that `semart-hf train --help` lists, and those of transformers.TrainingArguments"
        raise ValueError(f"Got fields that do not exist: {', '.join(unknown)}. {allowed}.")
    command_line: list[str] = []
    for name, value in recipe.items():
        kinds = {get_origin(kind) or kind for kind in (hints[name], *get_args(hints[name]))}
        is_table_needed = name.endswith("_kwargs") and not str(value).startswith("{")
        if value is None and type(None) not in kinds:
            raise ValueError(f"{name} is null, but it needs a value. Leave it out to have its default.")
        has_tables = name == "tasks" and isinstance(value, list) and any(isinstance(one, dict) for one in value)
        if value is None or has_tables or (isinstance(value, dict) and dict in kinds):
            parser.set_defaults(**{name: value})
        elif isinstance(value, dict) or (isinstance(value, list) and not (value and list in kinds)) or is_table_needed:
            allowed = "a table" if is_table_needed else "a list of one or more" if list in kinds else "one value"
            raise ValueError(f"{name} is {value!r}, but only {allowed} is allowed. Correct it.")
        else:
            words = value if isinstance(value, list) else [value]
            command_line += [f"--{name}", *(str(w).lower() if isinstance(w, bool) else str(w) for w in words)]
    return parser, vars(parser.parse_args(command_line))


def with_fields_by_labels(parts: Sequence[Any], num_labels: int) -> tuple[list[Any], str | None]:
    """The three kinds of arguments, made again with the fields of `from_labels` for so many labels, and which."""
    table = parts[-1].from_labels
    if table is None:
        return [*parts], None
    chosen, least, kinds = [*parts], 0, [type(part) for part in parts]
    values: dict[str, Any] = {}
    for part in parts:
        values |= vars(part) | getattr(part, "left_open", {})
    for number, own in sorted(table.items(), key=lambda entry: str(entry[0]).zfill(12)):
        if not str(number).isdigit() or not isinstance(own, dict) or _READ_BEFORE & {*own}:
            allowed = f"it maps numbers of labels to tables of fields other than {sorted(_READ_BEFORE)}"
            raise ValueError(f"from_labels has {number}: {own}, but {allowed}, as {{200: {{num_train_epochs: 8}}}}.")
        parser, typed = _typed(kinds, own)
        values |= {name: typed[name] for name in own}
        try:
            made = parser.parse_dict(values, allow_extra_keys=True)
        except ValueError as error:
            raise ValueError(f"from_labels has {number}: {own}, with which the recipe is refused: {error}") from error
        if num_labels >= int(number):
            least, chosen = int(number), [*made]
    share = f"those from {least} on" if least else "those for few"
    return chosen, f"{num_labels:,d} labels a task: of the recipe's fields, {share}"


def write_recipe(path: Path, recipe: Mapping[str, Any]) -> None:
    """Write a recipe's fields, whole or not at all."""
    write_text(path, yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True))


def changed_fields(path: Path, recipe: Mapping[str, Any]) -> dict[str, str]:
    """By name both values of the fields in which a recipe differs from that of a run which has begun, in its file."""
    try:
        begun = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError:
        begun = {}
    recipe = yaml.safe_load(yaml.safe_dump(dict(recipe)))  # as it would be read again
    both = {name: (begun.get(name), recipe.get(name)) for name in sorted({*begun, *recipe})}
    return {name: f"{then!r} then, {now!r} now" for name, (then, now) in both.items() if then != now}


def effective_recipe(recipe: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """The fields of a run: the recipe's, with those of a command line, `--field value …`, in their place.

    Values are read as in a recipe (`null`, `{…}` for a table); several are a list.

    Example:
        >>> effective_recipe({"fusion_dim": 3, "data": "here"}, ["--fusion_dim", "7", "--tasks", "type"])
        {'fusion_dim': 7, 'data': 'here', 'tasks': ['type']}
    """
    given: dict[str, list[Any]] = {}
    name = None
    for word in overrides:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name = name.replace("-", "_")
            given[name] = [_value(name, value)] if equals else []
        elif name is None:
            raise ValueError(f"Unexpected {word!r} on the command line. Overrides are written --field value.")
        else:
            given[name].append(_value(name, word))
    changed = {}
    for name, values in given.items():
        is_list = len(values) > 1 or (name in LIST_FIELDS and values != [None])
        changed[name] = values if is_list else (values or [True])[0]
    return with_fields(recipe, changed)


def with_fields(recipe: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with other values of some fields, which hold for any number of labels."""
    merged = {**recipe, **changed}
    if isinstance(table := merged.get("from_labels"), dict) and "from_labels" not in changed:
        merged["from_labels"] = {
            number: {name: own[name] for name in own if name not in changed} if isinstance(own, dict) else own
            for number, own in table.items()
        }
    return merged


def _value(name: str, word: str) -> Any:
    """A word of the command line as a recipe has it: `1.10`, a name, stays as it is, `1e-3` is a number."""
    is_table = word.lstrip().startswith("{") and (name == "tasks" or name not in LIST_FIELDS)
    try:
        value = yaml.load(word, Loader=_RecipeLoader)
    except yaml.YAMLError as error:
        if is_table:
            example = f"--{name} '{{\"key\": 1}}'"
            raise ValueError(f"{name} is {word!r}, which is not a table ({error}). Write e.g. {example}.") from error
        return word
    is_number = isinstance(value, bool) or str(value) == word or re.fullmatch(r"[-+]?[\d.]+[eE]-\d{1,2}", word)
    is_read = (is_number and isinstance(value, bool | int | float)) or word == "null" or is_table
    return value if is_read else word


class _RecipeLoader(yaml.SafeLoader):
    """YAML's safe loader without surprises: `no`, dates and 1_000 are words, 1e-3 is a number."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = Counter(str(key.value) for key, _ in node.value)
        if doubled := [name for name, count in names.items() if count > 1]:
            raise yaml.YAMLError(f"it has {doubled} more than once")
        return super().construct_mapping(node, deep)


for _tag, _pattern in (
    ("merge", r"^<<$"),
    ("null", r"^(~|null|)$"),
    ("bool", r"^(true|True|TRUE|false|False|FALSE)$"),
    ("int", r"^[-+]?(0|[1-9][0-9]*)$"),
    ("float", r"^([-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan)$"),
):
    _RecipeLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), None)


def _raise_unreadable(message: str) -> NoReturn:
    raise ValueError(f"The recipe or the command line has a value that cannot be read: {message}.")
