"""README.md of a prepared dataset: what the Hub and `datasets` read, and what a person wants to know first."""

from pathlib import Path

import datasets
import pyarrow.parquet as pq
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

from semart_hf.catalogue.tables import TEXT_COLUMNS
from semart_hf.files import write_text

from .data_report import finding_table, read_prepared, split_table
from .page import render_markdown
from .table import Table, first_of

#: What SemArt's terms allow, for the card and for whoever is about to upload a prepared folder.
SEMART_LICENCE = (
    "SemArt (Garcia & Vogiatzis 2018) may be used for non-commercial research only (CC BY-NC). Its pictures and "
    "descriptions come from the Web Gallery of Art and may not be redistributed: a dataset made of them belongs in a "
    "private repository that only your own research group reads."
)

#: Printed before anything is uploaded.
LICENCE_NOTICE = (
    f"{SEMART_LICENCE}\nOther catalogues have terms of their own: look them up before you make a dataset public."
)


def write_dataset_card(folder: str | Path) -> Path:
    """The path of `README.md`, written into a prepared dataset folder from what lies there."""
    folder = Path(folder)
    summary, files, features = read_prepared(folder)
    rows = {split: counts for split, counts in summary["rows"].items() if split in files}
    counts = {task: next(iter(splits.values())) for task, splits in summary["labels"].items()}  # of any split
    labels = {task: [label for label in found if label != "unknown"] for task, found in counts.items()}
    tasks = list(labels)
    card = render_markdown(
        "dataset_card.md",
        metadata=_metadata(files, features, {split: counts["kept"] for split, counts in rows.items()}),
        tasks=tasks,
        worded=[task for task in tasks if task in TEXT_COLUMNS],
        num_rows=f"{sum(counts['kept'] for counts in rows.values()):,}",
        num_pictures=f"{sum(counts['with_picture'] for counts in rows.values()):,}",
        options=summary["options"],
        has_text="text" in features,
        extra_columns=[column for column in features if column not in ("image", "text", *TEXT_COLUMNS, *tasks)],
        splits=split_table(rows),
        labels=Table(
            ["task", "labels"],
            [[task, first_of(found)] for task, found in labels.items()],
            num_text_columns=2,
        ),
        findings=finding_table(summary) if summary["problems"] else None,
        licence=SEMART_LICENCE,
    )
    write_text(folder / "README.md", card)
    return folder / "README.md"


def _metadata(files: dict[str, list[Path]], features: datasets.Features, num_rows: dict[str, int]) -> str:
    """The card's YAML: columns with their labels, splits with their sizes, and which files are which split."""
    splits, total = datasets.SplitDict(), 0
    for split, paths in files.items():
        metas = [pq.read_metadata(path) for path in paths]
        num_bytes = sum(meta.row_group(g).total_byte_size for meta in metas for g in range(meta.num_row_groups))
        splits.add(datasets.SplitInfo(split, num_bytes=num_bytes, num_examples=num_rows[split]))
        total += num_bytes
    download_size = sum(path.stat().st_size for paths in files.values() for path in paths)
    info = datasets.DatasetInfo(features=features, splits=splits, download_size=download_size, dataset_size=total)
    metadata = DatasetCardData(
        license="other",
        task_categories=["image-classification", "text-classification"],
        tags=["art", "paintings", "multimodal"],
        pretty_name="Paintings",
    )
    DatasetInfosDict({"default": info}).to_dataset_card_data(metadata)
    patterns = [{"split": split, "path": f"data/{split}-*"} for split in files]
    MetadataConfigs({"default": {"data_files": patterns}}).to_dataset_card_data(metadata)
    return str(metadata.to_yaml())
