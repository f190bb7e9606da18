"""The card of a prepared dataset: what the Hub and `datasets` read, and what a person wants to know first."""

import string
from collections.abc import Mapping
from typing import Any

import datasets
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

from semart_hf.catalogue.vocabulary import TASKS

#: What SemArt's terms allow, for the card and for whoever is about to upload a prepared folder.
SEMART_LICENCE = (
    "SemArt (Garcia & Vogiatzis 2018) may be used for non-commercial research only (CC BY-NC). Its pictures and "
    "descriptions come from the Web Gallery of Art and may not be redistributed: a dataset made of them belongs in a "
    "private repository that only your own research group reads."
)

#: What is said before anything is uploaded.
LICENCE_NOTICE = (
    f"{SEMART_LICENCE}\nOther catalogues have terms of their own: look them up before you make a dataset public."
)

_BODY = string.Template("""
# $title

$num_rows paintings, $num_pictures of them with a picture, for reading **type, school, timeframe and medium** off
picture and description.

```python
from datasets import load_dataset

paintings = load_dataset("path/to/this/folder")                 # or its name on the Hub
paintings = load_dataset("path/to/this/folder", streaming=True)
```

## Rows

$split_table

## Columns

- `image`: the picture in RGB, its shorter side $image_size pixels or less, stored in the Parquet files.
- `image_file`, `description`, `author`, `title`, `technique`, `date`: the catalogue's words; `null` where it has none.
- `type`, `school`, `timeframe`, `medium`: the labels, numbered as below; `null` where unknown. `UNK` stands for every
  label that the train split has fewer than $min_label_count times. `medium` is derived from `technique`.$more_columns

## Labels

$label_table

## What was found on the way

$problem_table

Every finding is a line of `problems.jsonl`; `summary.json` has the counts, and `report.html` shows all of it.

## Licence

The licence is that of the catalogue the dataset was made of. $licence
""")


def dataset_card(
    features: datasets.Features, num_bytes: Mapping[str, int], download_size: int, summary: Mapping[str, Any]
) -> str:
    """Text of the `README.md` of a prepared folder, whose `summary.json` is `summary`; `num_bytes` is by split."""
    rows: Mapping[str, Mapping[str, int]] = summary["rows"]
    splits = datasets.SplitDict()
    for split in num_bytes:
        splits.add(datasets.SplitInfo(split, num_bytes=num_bytes[split], num_examples=rows[split]["kept"]))
    info = datasets.DatasetInfo(
        features=features, splits=splits, download_size=download_size, dataset_size=sum(num_bytes.values())
    )
    metadata = DatasetCardData(
        license="other",
        task_categories=["image-classification", "text-classification"],
        tags=["art", "paintings", "multimodal"],
        pretty_name="Paintings",
    )
    DatasetInfosDict({"default": info}).to_dataset_card_data(metadata)
    files = [{"split": split, "path": f"data/{split}-*"} for split in num_bytes]
    MetadataConfigs({"default": {"data_files": files}}).to_dataset_card_data(metadata)
    body = _BODY.substitute(
        title="Paintings with type, school, timeframe and medium",
        num_rows=f"{sum(split['kept'] for split in rows.values()):,}",
        num_pictures=f"{sum(split['with_picture'] for split in rows.values()):,}",
        image_size=summary["options"]["image_size"],
        min_label_count=summary["options"]["min_label_count"],
        more_columns=_more_columns(features),
        split_table=_table(
            ["split", "rows", "with a picture", "with a description", "dropped"],
            [
                [split, *(f"{counts[key]:,}" for key in ("kept", "with_picture", "with_description", "dropped"))]
                for split, counts in rows.items()
            ],
        ),
        label_table=_table(["task", "labels"], [[task, ", ".join(features[task].names)] for task in TASKS]),
        problem_table=_problem_table(summary["problems"], list(rows)),
        licence=SEMART_LICENCE,
    )
    return f"---\n{metadata.to_yaml()}\n---\n{body}"


def _more_columns(features: datasets.Features) -> str:
    common = ("image", "image_file", "description", "author", "title", "technique", "date", *TASKS)
    lines = ["\n- `text`: what the model reads, made of the columns above."] if "text" in features else []
    extra = [f"`{column}`" for column in features if column not in (*common, "text")]
    return "".join(lines) + (f"\n- {', '.join(extra)}: further columns of the catalogue." if extra else "")


def _problem_table(problems: Mapping[str, Mapping[str, int]], known_splits: list[str]) -> str:
    if not problems:
        return "Nothing: every row has a picture and a description."
    found_in = {split for counts in problems.values() for split in counts}
    splits = [split for split in (*known_splits, "all") if split in found_in]
    rows = [[kind, *(f"{counts.get(split, 0):,}" for split in splits)] for kind, counts in problems.items()]
    return _table(["finding", *splits], rows)


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
