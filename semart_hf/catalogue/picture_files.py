"""Picture files by the names that catalogues give them: found inside their folder, guessed, and counted."""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

#: Endings of files that may be paintings. Pillow knows more: some are only written, some start other programs.
ENDINGS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp", ".jp2", ".j2k", ".jpf", ".jpx",
    ".avif", ".heic", ".heif", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip

# Folders that systems leave behind, beside hidden ones such as .ipynb_checkpoints.
_LEFT_BEHIND = ("__macosx", "@eadir", "$recycle.bin")

_NUM_EXAMPLES = 3


class PictureNameError(ValueError):
    """A name for which no file may be opened.

    Attributes:
        problem: Short name of the kind of finding: `unsafe_name` or `linked_picture`.
    """

    def __init__(self, problem: str, message: str) -> None:
        super().__init__(message)
        self.problem = problem


def is_picture_file(path: str | Path) -> bool:
    """Whether a file's name is that of a picture which somebody put there, and not hidden, as `._a.jpg` is."""
    return not Path(path).name.startswith((".", "~$")) and Path(path).suffix.lower() in ENDINGS


def picture_files(folder: str | Path) -> list[Path]:
    """The picture files in a folder and its sub-folders, sorted, without hidden ones and those that systems leave."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name.lower() not in _LEFT_BEHIND]
        found += [Path(place, name) for name in names if is_picture_file(name)]
    return sorted(path for path in found if path.is_file())


def picture_path(images_folder: str | Path, image_file: str, *, follow_links: bool = False) -> Path:
    """Path of a picture by its name in the release, inside `images_folder`; the file need not be there.

    Args:
        images_folder: May itself be a link.
        image_file: The name.
        follow_links: Whether a link inside the folder may lead out of it.

    Raises:
        PictureNameError: The name is empty, or leads outside the folder: by `..`, as an absolute path, or by a link.
    """
    folder = _real_folder(str(images_folder))
    # A name written on Windows leads out there, if not here.
    names = PureWindowsPath(image_file)
    if not image_file.strip() or "\0" in image_file or names.anchor or ".." in names.parts:
        raise PictureNameError(
            "unsafe_name",
            f"Got the picture name {image_file!r}, but pictures lie inside their folder. Put the file there and name "
            "it so.",
        )
    path = Path(folder, image_file)
    if not follow_links:
        try:
            real = os.path.realpath(path)
        except OSError:
            real = ""
        if not real.startswith(folder.rstrip(os.sep) + os.sep):
            raise PictureNameError(
                "linked_picture",
                f"Got the picture {image_file!r}, a link that leads outside its folder, as DVC, git-annex and the "
                "Hub's cache make them. If you put it there, pass --follow_links (in a recipe follow_links: true).",
            )
    return path


def find_picture(images_folder: str, image_file: str | None, *, follow_links: bool = False) -> Path | tuple[str, str]:
    """A row's picture file, or kind and detail of the finding where there is none."""
    if image_file is None:
        return "unnamed_picture", "the row names no picture"
    try:
        path = picture_path(images_folder, image_file, follow_links=follow_links)
        if path.is_file():
            return path
        if path.exists():
            return "not_a_file", f"{image_file} is a folder or a device"
    except PictureNameError as error:
        return error.problem, str(error)
    except (OSError, RuntimeError) as error:  # a name that is too long, a loop of links
        return "unreadable_picture", f"{image_file} cannot be looked up: {error}"
    if not os.path.isdir(images_folder):
        return "missing_picture", missing_folder(images_folder)
    return "missing_picture", missing_picture(images_folder, image_file)


def missing_picture(images_folder: str | Path, image_file: str) -> str:
    """What to say of a picture that is not there, with the file that may be meant."""
    if Path(images_folder, image_file).is_symlink():
        return f"{image_file} is a link to a file that is not there; fetch it (dvc pull, git annex get)"
    name = image_file.replace("\\", "/")
    for place in dict.fromkeys((Path(name).parent, Path())):
        found = _names_by_key(str(Path(images_folder, place))).get(_key(Path(name).name))
        if found is not None:
            return f"there is no file {image_file}, but {place / found}"
    return f"there is no file {image_file}"


def missing_folder(images_folder: str | Path) -> str:
    """What to say of a folder of pictures that is not there, with the folder beside it that may be meant."""
    folder = Path(images_folder)
    beside = sorted(path for path in folder.parent.iterdir() if path.is_dir()) if folder.parent.is_dir() else []
    guess = next((path.name for path in beside if any(map(is_picture_file, _first_names(path)))), None)
    return f"there is no folder {folder.name}" + (
        f", but {guess!r} beside it has pictures; rename it" if guess else ""
    )


def check_enough_pictures(num_named: int, num_found: int, examples: Sequence[str], min_share: float = 0.5) -> None:
    """Nothing, if enough of the pictures that a catalogue names can be read.

    Args:
        num_named: Rows that name a picture.
        num_found: Those whose picture can be read.
        examples: What is wrong with the first of the others.
        min_share: Least share that is enough. A catalogue without a single picture is refused, unless it is 0.

    Raises:
        ValueError: There are too few; the message has the counts and the examples.
    """
    if num_named and min_share > 0 and (num_found == 0 or num_found < min_share * num_named):
        shown = "".join(f"\n  {example}" for example in examples[:_NUM_EXAMPLES])
        raise ValueError(
            f"Got {num_found:,} readable pictures for {num_named:,} rows that name one; at least {min_share:.0%} are "
            "needed. Correct the names or the folder of pictures, or say that so few are right with --min_pictures 0."
            f"{shown}"
        )


def _key(name: str) -> str:
    """What names have in common that differ in case, Unicode form, `%20`, underscores for spaces, or ending."""
    plain = unicodedata.normalize("NFC", unquote(name)).casefold().replace("_", " ")
    stem, ending = os.path.splitext(plain)
    return stem if ending in ENDINGS else plain


@lru_cache(maxsize=8)
def _names_by_key(folder: str) -> dict[str, str]:
    try:
        return {_key(name): name for name in sorted(os.listdir(folder), reverse=True)}
    except OSError:
        return {}


def _first_names(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for _, entry in zip(range(1000), entries, strict=False):
            yield entry.name


@lru_cache(maxsize=32)
def _real_folder(folder: str) -> str:
    """The folder without links, looked up once for all its pictures."""
    return os.path.realpath(folder)
