"""Write the tables of docs/recipes.md from the dataclasses and the recipes: python scripts/render_docs.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from semart_hf.data.data_arguments import DataArguments
from semart_hf.training.argument_fields import field_rows
from semart_hf.training.arguments import SemArtTrainingArguments
from semart_hf.training.recipe import RECIPES, LearningArguments, ModelArguments

PAGE = Path(__file__).resolve().parents[1] / "docs" / "recipes.md"


def main() -> None:
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def rendered(page: str) -> str:
    """The page with its tables as the code has them."""
    own = [f for f in fields(SemArtTrainingArguments) if f.name in ("precision", "overwrite_output_dir")]
    groups = {
        "model": fields(ModelArguments),
        "data": fields(DataArguments),
        "learning": [*own, *fields(LearningArguments)],
    }
    page = with_block(page, "recipes", table(("recipe", "what it is"), recipe_rows()))
    for name, group in groups.items():
        page = with_block(page, name, table(("field", "default", "what it is"), map(own_row, group)))
    return with_block(page, "arguments", table(("field", "here", "remark"), field_rows()))


def with_block(page: str, name: str, content: str) -> str:
    """The page with what stands between the marks of `name` replaced."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    return f"{page.split(begin)[0]}{begin}\n{content}\n{end}{page.split(end)[1]}"


def recipe_rows() -> Iterator[tuple[str, str]]:
    """Each recipe's name and the first sentence of its comment."""
    for path in sorted(RECIPES.glob("*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        comment = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
        yield f"`{path.stem}`", comment.split(". ")[0].rstrip(".") + "."


def own_row(field: Field[Any]) -> tuple[str, str, str]:
    """A field's name, default and help."""
    default = field.default if field.default is not MISSING else field.default_factory()  # type: ignore[misc]
    words = str(field.metadata["help"])
    if "choices" in field.metadata:
        words += f" One of {', '.join(map(str, field.metadata['choices']))}."
    return f"`{field.name}`", f"`{as_yaml(default)}`", words


def as_yaml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(as_yaml, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value) or '""'


def table(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    main()
