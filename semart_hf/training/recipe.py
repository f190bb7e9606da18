"""A recipe file and command-line overrides become checked arguments.

This module imports neither torch nor the Trainer, so that `--help` answers at once.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

import yaml

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
LIST_FIELDS = {"tasks", "text_columns", "crop_scale", "crop_ratio", "report_to"}
PRETRAINED_CHOICES: dict[str, bool | str] = {"true": True, "false": False, "vision": "vision", "text": "text"}


@dataclass
class ModelArguments:
    """Which towers are paired, and what of them learns."""

    vision: str = field(
        default="timm/efficientnet_b0.ra_in1k",
        metadata={
            "help": "Vision tower: Hub id or folder of a timm model; a timm name too if it starts from scratch."
        },
    )
    text: str | None = field(
        default="distilbert/distilbert-base-uncased",
        metadata={
            "help": "Text tower: Hub id or folder of a DistilBERT with its tokenizer. null: a DistilBERT of the sizes "
            "in text_args, with a vocabulary learned from the training texts."
        },
    )
    pretrained: str = field(
        default="true",
        metadata={
            "help": "true loads both towers' weights, vision or text only that tower's, false none.",
            "choices": list(PRETRAINED_CHOICES),
        },
    )
    image_size: int | None = field(
        default=None, metadata={"help": "Side of the square input in pixels. null: what the tower was trained with."}
    )
    crop_pct: float | None = field(
        default=None,
        metadata={"help": "Share of a picture's sides that is shown after training. null: what its tower asks for."},
    )
    vision_args: dict[str, Any] | None = field(
        default=None, metadata={"help": "More arguments of timm.create_model, e.g. '{\"drop_path_rate\": 0.1}'."}
    )
    text_args: dict[str, Any] | None = field(
        default=None, metadata={"help": "Fields of DistilBertConfig for text: null, e.g. '{\"dim\": 128}'."}
    )
    frozen_vision_stages: int = field(
        default=0, metadata={"help": "Leading stages of the vision tower that do not learn, its stem first."}
    )
    trainable_text_layers: int | None = field(
        default=1, metadata={"help": "Last DistilBERT layers that learn. null: the whole text tower."}
    )
    text_pooling: str = field(default="first", metadata={"help": "first: the first token; mean: over the tokens."})
    text_lexicon: bool = field(
        default=False,
        metadata={"help": "Whether a linear model on token counts adds its logits to those of the towers."},
    )
    fusion_dim: int = field(default=512, metadata={"help": "Size of the fused features."})
    fusion_dropout: float = field(default=0.1, metadata={"help": "Dropout probability before the heads."})

    @property
    def pretrained_towers(self) -> bool | str:
        """`pretrained` as `SemArtForArtClassification.from_towers` takes it."""
        return PRETRAINED_CHOICES[self.pretrained]


@dataclass
class DataArguments:
    """Which paintings are learned from, and how they are varied."""

    data: str = field(
        default="",
        metadata={"help": "A release's folder, one CSV file of a release, prepared data, a Hub data set, or a URL."},
    )
    follow_links: bool = field(
        default=False,
        metadata={"help": "Whether links in a release's folder of pictures may lead out of it (DVC, git-annex)."},
    )
    prepare: bool = field(
        default=True,
        metadata={"help": "Whether a release's large training pictures are made small once, in the cache."},
    )
    prepared_size: int | None = field(
        default=None,
        metadata={"help": "Their shorter side in pixels. null: what image_size and crop_scale need (224, 0.6: 288)."},
    )
    streaming: bool = field(
        default=False, metadata={"help": "Read prepared training data (folder, Hub, URL) as it is needed."}
    )
    epoch_length: int | None = field(
        default=None, metadata={"help": "Rows of an epoch of streamed data. null: every row once."}
    )
    shuffle_buffer: int = field(default=512, metadata={"help": "Rows of streamed data that are mixed at a time."})
    tasks: list[str] = field(
        default_factory=lambda: ["type", "school", "timeframe", "medium"], metadata={"help": "Tasks, in their order."}
    )
    min_label_count: int = field(default=10, metadata={"help": "Labels rarer than this in train become UNK."})
    text_columns: list[str] = field(
        default_factory=lambda: ["DESCRIPTION"], metadata={"help": "Columns that make up the model's text."}
    )
    max_text_length: int = field(default=256, metadata={"help": "Longer texts are cut to this many tokens."})
    vocab_size: int = field(default=4000, metadata={"help": "Size of a vocabulary that is learned (text: null)."})
    crop_scale: list[float] = field(
        default_factory=lambda: [1.0, 1.0], metadata={"help": "Smallest and largest share of the area in a crop."}
    )
    crop_ratio: list[float] = field(
        default_factory=lambda: [1.0, 1.0], metadata={"help": "Smallest and largest aspect ratio of a crop."}
    )
    horizontal_flip: float = field(default=0.0, metadata={"help": "Probability of mirroring a picture."})
    rotation: float = field(default=0.0, metadata={"help": "Largest rotation to either side, in degrees."})
    color_jitter: float = field(
        default=0.0, metadata={"help": "Largest relative change of brightness, contrast and saturation."}
    )
    random_erasing: float = field(default=0.0, metadata={"help": "Probability of erasing a rectangle."})
    image_dropout: float = field(default=0.0, metadata={"help": "Share of training rows shown without their picture."})
    text_dropout: float = field(default=0.0, metadata={"help": "Share of training rows shown without their text."})
    modality: str = field(
        default="image+text",
        metadata={
            "help": "What of a painting is shown, in training and after it: both, or one alone.",
            "choices": ["image+text", "image", "text"],
        },
    )
    max_train_rows: int | None = field(default=None, metadata={"help": "Train on the first rows only, for a trial."})
    cache_frozen_text: str = field(
        default="auto",
        metadata={
            "help": "Whether the frozen text layers' output is computed once and read from disk (3.6 GB for SemArt); "
            "auto: where it saves time and the disk has room.",
            "choices": ["auto", "true", "false"],
        },
    )
    text_cache_dtype: str = field(
        default="fp16",
        metadata={
            "help": "How it is stored: fp32 gives the numbers of cache_frozen_text: false, fp16 and bf16 take half.",
            "choices": ["fp32", "fp16", "bf16"],
        },
    )
    text_cache_dir: str | None = field(default=None, metadata={"help": "Where; null: in the cache of datasets."})

    def __post_init__(self) -> None:
        """Check that there is something to learn from, and that the ways to read it do not exclude each other.

        Raises:
            ValueError: If no data are named, or a field belongs to another way of reading.
        """
        if not self.data:
            raise ValueError(
                "The recipe names no data. Add `data: FOLDER` (a SemArt release, or prepared data) to it, or pass "
                "--data FOLDER."
            )
        if self.streaming and self.max_train_rows is not None:
            raise ValueError(
                f"The recipe has streaming: true and max_train_rows: {self.max_train_rows}, but a stream has no first "
                f"rows. Write epoch_length: {self.max_train_rows} for short epochs."
            )
        if self.epoch_length is not None and not self.streaming:
            raise ValueError(
                f"The recipe has epoch_length: {self.epoch_length} without streaming: true, but other data gives "
                "every row once an epoch. Set streaming: true, or max_train_rows for a trial."
            )

    @property
    def columns_or_template(self) -> list[str] | str:
        """`text_columns` as `load_paintings` takes them: several columns, or the one template."""
        columns = self.text_columns
        return columns[0] if len(columns) == 1 and "{" in columns[0] else columns


@dataclass
class LearningArguments:
    """How it is learned, beyond what `transformers.TrainingArguments` says; its fields are part of these."""

    vision_learning_rate: float | None = field(default=None, metadata={"help": "Vision tower's; null: learning_rate."})
    text_learning_rate: float | None = field(default=None, metadata={"help": "Text tower's; null: learning_rate."})
    lexicon_learning_rate: float = field(
        default=0.1, metadata={"help": "Of the lexicon, which is linear and starts at 0."}
    )
    lexicon_penalty: float = field(
        default=0.1,
        metadata={"help": "Of the lexicon's squared weights, beside the sum of all training rows' losses."},
    )
    loss: dict[str, str] | str | None = field(
        default="cross_entropy",
        metadata={
            "help": "Parts joined by + of cross_entropy, class_weighted, logit_adjusted, ordinal (periods); for all "
            "tasks, or by task with `default` for the others."
        },
    )
    logit_adjustment_tau: float = field(
        default=1.0, metadata={"help": "Of logit_adjusted: 1 balances the classes, 0 is plain cross-entropy."}
    )
    ordinal_years: float = field(
        default=25.0, metadata={"help": "Of ordinal: years at which a neighbour's share of the target falls to 1 / e."}
    )
    modality_loss: float = field(
        default=0.0, metadata={"help": "Weight of the losses of picture and text each alone, of rows with both."}
    )
    ema_decay: float = field(
        default=0.0, metadata={"help": "Of a moving average of the weights, which is then the result; 0: none."}
    )
    unfreezing: dict[str, Any] | None = field(
        default=None,
        metadata={"help": 'By epoch, what is frozen from it on, e.g. \'{"2": {"frozen_vision_stages": 1}}\'.'},
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Validations without a better metric after which training stops."}
    )
    keep_freed_memory: bool = field(
        default=True,
        metadata={"help": "Whether a CPU's memory stays with the process between steps (glibc), which is faster."},
    )


def find_recipe(name_or_path: str | Path) -> Path:
    """The file of a recipe: its path, a run's folder with `recipe.yaml`, or the name of one in the package.

    Raises:
        ValueError: If it is none of these.

    Example:
        >>> find_recipe("miniature").name
        'miniature.yaml'
    """
    path = Path(name_or_path)
    for candidate in (path, path / "recipe.yaml", RECIPES / f"{name_or_path}.yaml"):
        if candidate.is_file():
            return candidate
    names = sorted(file.stem for file in RECIPES.glob("*.yaml"))
    close = difflib.get_close_matches(path.stem, names, n=1)
    raise ValueError(
        f"There is no recipe {name_or_path}{f' (did you mean {close[0]}?)' if close else ''}. Give the path of a YAML "
        f"file, or one of the recipes by name: {', '.join(names)}."
    )


def read_recipe(name_or_path: str | Path) -> dict[str, Any]:
    """The fields of a recipe; see `find_recipe` for what it may be called by.

    Raises:
        ValueError: If there is no such recipe, it is no YAML, or it holds something else than `name: value` lines.
    """
    path = find_recipe(name_or_path)
    try:
        recipe = yaml.load(path.read_text(encoding="utf-8"), Loader=_RecipeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"The recipe {path} is not valid YAML: {error}. Write one `name: value` a line.") from error
    if not isinstance(recipe, dict) or not all(isinstance(key, str) for key in recipe):
        raise ValueError(
            f"The recipe {path} holds {type(recipe).__name__}, but it must hold fields. Write `name: value` lines."
        )
    return recipe


def parse_recipe(
    dataclass_types: Sequence[Any], recipe: dict[str, Any], overrides: Iterable[str] = ()
) -> tuple[Any, ...]:
    """One instance of each dataclass, from a recipe's fields and the command line's, which win.

    Args:
        dataclass_types: Dataclasses whose fields are the allowed names.
        recipe: Fields by name; `None` stands for null.
        overrides: `--field value …` as on a command line; `null` stands for null, `{…}` for a table.

    Raises:
        ValueError: If a name is unknown or a value cannot be read.
    """
    from transformers.hf_argparser import HfArgumentParser  # takes most of a second, which `--help` has not

    parser = HfArgumentParser(dataclass_types, allow_abbrev=False, add_help=False)
    parser.error = _raise_unreadable  # instead of the usage of two hundred options
    known = {f.name for dataclass_type in dataclass_types for f in fields(dataclass_type) if f.init}
    given = _read_overrides(overrides)
    _refuse_unknown(recipe, known, "recipe")
    _refuse_unknown(given, known, "command line")
    command_line: list[str] = []
    for name, value in {**recipe, **given}.items():
        if value is None or isinstance(value, dict):
            parser.set_defaults(**{name: value})
        else:
            words = value if isinstance(value, list | tuple) else [value]
            command_line += [
                f"--{name}",
                *(str(word).lower() if isinstance(word, bool) else str(word) for word in words),
            ]
    parsed: tuple[Any, ...] = parser.parse_args_into_dataclasses(args=command_line, look_for_args_file=False)
    return parsed


def effective_recipe(recipe: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """The fields of a run as one recipe: the recipe's own, with the command line's in their place.

    Args:
        recipe: Fields by name.
        overrides: `--field value …` as on a command line.
    """
    merged = dict(recipe)
    for name, given in _read_overrides(overrides).items():
        values = [yaml.load(word, Loader=_RecipeLoader) for word in given] if isinstance(given, list) else given
        is_one = isinstance(values, list) and len(values) == 1 and name not in LIST_FIELDS
        merged[name] = values[0] if is_one else values
    return merged


def _read_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """By field the words of the command line, `None` for null, or a table."""
    given: dict[str, list[str]] = {}
    name = None
    for word in overrides:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name = name.replace("-", "_")
            given[name] = [value] if equals else []
        elif name is None:
            raise ValueError(f"Unexpected {word!r} on the command line. Overrides are written --field value.")
        else:
            given[name].append(word)
    return {name: _value(name, words or ["true"]) for name, words in given.items()}


def _value(name: str, words: list[str]) -> list[str] | dict[str, Any] | None:
    if words == ["null"]:
        return None
    if len(words) > 1 or not words[0].lstrip().startswith("{"):
        return words
    try:
        table = yaml.load(words[0], Loader=_RecipeLoader)
    except yaml.YAMLError as error:
        raise ValueError(
            f"{name} is {words[0]!r}, which is not a table ({error}). Write e.g. --{name} '{{\"key\": 1}}'."
        ) from error
    return dict(table)


def _refuse_unknown(given: Iterable[str], known: set[str], source: str) -> None:
    unknown = [name for name in given if name not in known]
    if unknown:
        hints = []
        for name in unknown:
            close = difflib.get_close_matches(name, known, n=1)
            hints.append(f"{name!r} (did you mean {close[0]!r}?)" if close else repr(name))
        raise ValueError(
            f"The {source} has fields that do not exist: {', '.join(hints)}. `semart-hf train --help` lists the "
            "fields; those of transformers.TrainingArguments are allowed too."
        )


class _RecipeLoader(yaml.SafeLoader):
    """YAML's safe loader, except that 1e-3 is a number: YAML 1.1 asks for 1.0e-3."""


_RecipeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _raise_unreadable(message: str) -> NoReturn:
    raise ValueError(f"The recipe or the command line has a value that cannot be read: {message}.")
