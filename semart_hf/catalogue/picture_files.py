"""Picture files by the names that catalogues give them: found inside their folder, guessed, and counted."""

import os
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

#: Endings of files that may be paintings. Pillow knows more: some are only written, some start other programs.
ENDINGS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp", ".jp2", ".j2k", ".jpf", ".jpx",
    ".avif", ".heic", ".heif", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
#: Missing pictures that an error names.
NUM_EXAMPLES = 3
_LEFT_BEHIND = ("__macosx", "@eadir", "$recycle.bin")  # by systems, beside hidden folders


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


def find_picture(images_folder: str, image_file: str | None, *, follow_links: bool = False) -> Path | tuple[str, str]:
    """A row's picture file, or kind and detail of a finding; only `follow_links` lets links lead out of the folder."""
    if image_file is None:
        return "unnamed_picture", "the row names no picture"
    names = PureWindowsPath(image_file)  # a name written on Windows leads out there, if not here
    if not image_file.strip() or "\0" in image_file or names.anchor or ".." in names.parts:
        fault = "but pictures lie inside their folder. Put the file there and name it so."
        return "unsafe_name", f"Got the picture name {image_file!r}, {fault}"
    folder = _real_folder(images_folder)
    path = Path(folder, image_file)
    if not image_file.isascii():  # a disk may have its accents in another form: macOS takes them apart
        forms = (Path(folder, unicodedata.normalize(form, image_file)) for form in ("NFC", "NFD"))
        path = next(filter(os.path.lexists, (path, *forms)), path)
    try:
        if not follow_links and not os.path.realpath(path).startswith(folder.rstrip(os.sep) + os.sep):
            return "linked_picture", (
                f"Got the picture {image_file!r}, a link that leads outside its folder, as DVC, git-annex and the "
                "Hub's cache make them. If you put it there, pass --follow_links (in a recipe follow_links: true)."
            )
        if path.is_file():
            return path
        if path.exists():
            return "not_a_file", f"{image_file} is a folder or a device"
        return "missing_picture", _what_is_missing(Path(images_folder), image_file)
    except (OSError, RuntimeError) as error:  # a name that is too long, a loop of links, a folder that is closed
        return "unreadable_picture", f"{image_file} cannot be looked up: {error}"


def _what_is_missing(folder: Path, image_file: str) -> str:
    """A sentence about a picture that is not there, with the folder or the file that may be meant."""
    if not folder.is_dir():
        for place in sorted(path for path in folder.parent.glob("*") if path.is_dir()):
            with os.scandir(place) as entries:
                if any(is_picture_file(entry.name) for entry in islice(entries, 1000)):
                    return f"there is no folder {folder.name}, but {place.name!r} beside it has pictures; rename it"
        return f"there is no folder {folder.name}"
    if (folder / image_file).is_symlink():
        return f"{image_file} is a link to a file that is not there; fetch it (dvc pull, git annex get)"
    name = Path(image_file.replace("\\", "/"))
    for place in (name.parent, Path()):
        if found := _names_by_key(str(folder / place)).get(_key(name.name)):
            return f"there is no file {image_file}, but {place / found}"
    return f"there is no file {image_file}"


def check_enough_pictures(num_named: int, num_found: int, examples: Sequence[str], min_share: float = 0.5) -> None:
    """Refuse a catalogue of whose named pictures none, or less than `min_share`, can be read; 0 takes any."""
    if num_found < min_share * num_named:
        shown = "".join(f"\n  {example}" for example in examples[:NUM_EXAMPLES])
        raise ValueError(
            f"Got {num_found:,} readable pictures for {num_named:,} rows that name one; at least {min_share:.0%} are "
            "needed. Correct the names or the folder of pictures, or say that so few are right with --min_pictures 0."
            f"{shown}"
        )


def _key(name: str) -> str:
    """What names have in common that differ in case, `%20`, underscores for spaces, or ending."""
    plain = unicodedata.normalize("NFC", unquote(name)).casefold().replace("_", " ")
    stem, ending = os.path.splitext(plain)
    return stem if ending in ENDINGS else plain


@lru_cache(maxsize=8)
def _names_by_key(folder: str) -> dict[str, str]:
    try:
        return {_key(name): name for name in sorted(os.listdir(folder), reverse=True)}
    except OSError:
        return {}


_real_folder = lru_cache(maxsize=32)(os.path.realpath)
