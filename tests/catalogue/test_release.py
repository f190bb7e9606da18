import pickle
from collections import Counter

import datasets
import pytest
from PIL import Image

from semart_hf.catalogue import catalogue_files, tables
from semart_hf.catalogue.catalogue import read_rows
from semart_hf.catalogue.mapping import SplitRule
from semart_hf.catalogue.schema import SEMART_TASKS, Problem
from semart_hf.catalogue.tables import TEXT_COLUMNS, typed_splits

HEADER = "IMAGE_FILE\tDESCRIPTION\tAUTHOR\tTITLE\tTECHNIQUE\tDATE\tTYPE\tSCHOOL\tTIMEFRAME"
COLUMNS = [*TEXT_COLUMNS, *(task.name for task in SEMART_TASKS)]


def read_release(folder, *, follow_links=False, **options):
    return typed_splits(read_rows(folder, follow_links=follow_links), **options)


def row(name="a.jpg", description="A storm.", technique="Oil on canvas", school="Dutch", type="landscape"):
    return f"{name}\t{description}\tVELDE\tStorm\t{technique}\t1640\t{type}\t{school}\t1601-1650"


@pytest.fixture
def make_release(tmp_path):
    """Writes a release: lines by official file name; `picture` names are painted in Images."""

    def make(encoding="cp1252", end="\n", pictures=(), **lines):
        folder = tmp_path / "release"
        (folder / "Images").mkdir(parents=True, exist_ok=True)
        for split, content in lines.items():
            text = end.join(content) + end
            (folder / f"semart_{split}.csv").write_bytes(text.encode(encoding))
        for name in pictures:
            Image.new("RGB", (4, 3), "red").save(folder / "Images" / name)
        return folder

    return make


def test_a_release_becomes_typed_splits(make_release):
    train = [HEADER, row("a.jpg"), row("b.jpg", school="Flemish"), row("c.jpg", description="", technique="-")]
    folder = make_release(pictures=["a.jpg"], train=train, test=[HEADER, row("d.jpg", school="Polish", type="")])
    splits = read_release(folder, min_label_count=2)
    assert list(splits) == ["train", "test"]
    assert splits["train"].column_names == ["image", *COLUMNS, "text"]
    assert splits["train"].features["school"].names == ["Dutch", "UNK"]
    first, second, third = splits["train"]
    assert first["image"].size == (4, 3)
    assert (first["school"], second["school"]) == (0, 1)
    assert first["medium"] == splits["train"].features["medium"].str2int("canvas")
    assert second["image"] is None
    assert (third["description"], third["text"], third["medium"]) == (None, None, None)
    assert (splits["test"][0]["school"], splits["test"][0]["type"]) == (1, None)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_every_encoding_and_line_ending_reads_the_same(make_release, encoding, end, caplog):
    text = '"L’Arlésienne – ""Madame Ginoux"" of S&#227;o &#150; R&D &amp; &#x41; &copy &no; &quot;co&quot;"'
    tables = read_rows(make_release(encoding, end, train=[HEADER, row(description=text), ""]))
    expected = 'L’Arlésienne – "Madame Ginoux" of São – R&D & A &copy &no; "co"'
    assert list(tables.splits["train"]["description"]) == [expected]
    assert tables.problems == []
    without_mark = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le"}
    assert tables.encodings == {"semart_train.csv": without_mark.get(encoding, encoding)}
    assert ("not cp1252" in caplog.text) == (encoding != "cp1252")


def test_malformed_rows_are_reported_with_their_line_and_the_others_read(make_release):
    lines = [HEADER, row("a.jpg"), "b.jpg\ttoo\tfew", row("c.jpg") + "\ttoo\tmany", "\t" * 8, row("d.jpg")]
    tables = read_rows(make_release(train=lines))
    assert list(tables.splits["train"]["image_file"]) == ["a.jpg", "d.jpg"]
    assert list(tables.splits["train"]["row_number"]) == [1, 5]
    assert tables.problems == [
        Problem(2, "train", "b.jpg", "malformed_row", "line 3 has 3 fields, the header has 9", "dropped"),
        Problem(3, "train", "c.jpg", "malformed_row", "line 4 has 11 fields, the header has 9", "dropped"),
        Problem(4, "train", None, "empty_row", "every field is empty", "dropped"),
    ]
    assert tables.problems[2].sentence == "train row 4: every field is empty"
    assert Problem(2, None, "b.jpg", "malformed_row", "too few", "dropped").sentence == "row 2 (b.jpg): too few"


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ('"An open quote', "and no other"),  # would run to the end of the file
        ('"An open quote', 'and one" later'),  # would close in the middle of a later field
        ('"An open quote', 'and one later"'),  # would make one good row of two
        ('"A quoted" beginning', "and nothing"),
    ],
)
def test_a_stray_quote_swallows_no_rows(make_release, opening, closing):
    lines = [HEADER, row("a.jpg", opening), row("b.jpg", closing), row("c.jpg"), row("d.jpg")]
    tables = read_rows(make_release(train=lines))
    assert list(tables.splits["train"]["image_file"]) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert list(tables.splits["train"]["description"])[:2] == [opening, closing]
    assert (tables.problems[0].row, tables.problems[0].problem) == (1, "stray_quote")


def test_a_quoted_field_may_hold_line_ends_and_a_broken_byte_is_reported(make_release):
    lines = [HEADER, row("a.jpg", '"one\ntwo\tthree"'), row("b.jpg", 'a 5" panel')]
    tables = read_rows(make_release(train=lines))
    assert list(tables.splits["train"]["description"]) == ["one\ntwo\tthree", 'a 5" panel']
    assert tables.problems == []
    folder = make_release()
    lines = f"{HEADER}\n{row(description='Café crème')}\n".encode() + row(description="Br").encode() + b"\n"
    (folder / "semart_train.csv").write_bytes(lines.replace(b"Br", b"Br\xe9"))
    tables = read_rows(folder)
    assert list(tables.splits["train"]["description"]) == ["Café crème", "Br\ufffd"]
    assert [(problem.row, problem.problem) for problem in tables.problems] == [(2, "undecodable_text")]


def test_a_single_file_is_shared_out(tmp_path, caplog):
    file = tmp_path / "semart_val.csv"
    schools = ["Dutch"] * 60 + ["Italian"] * 30 + ["Polish"] * 10
    file.write_text("\n".join([HEADER, *(row(f"{n}.jpg", school=school) for n, school in enumerate(schools))]))
    tables = read_rows(file, splits=SplitRule(shares={"train": 0.5, "validation": 0.3, "test": 0.2}, seed=1))
    counts = {split: Counter(rows["school"]) for split, rows in tables.splits.items()}
    assert list(counts) == ["train", "validation", "test"]
    assert [list(count.values()) for count in counts.values()] == [[30, 15, 5], [18, 9, 3], [12, 6, 2]]
    assert "is shared out to splits: 50 % train, 30 % validation, 20 % test (seed 1)." in caplog.text
    names = [list(read_rows(file, splits=SplitRule(seed=seed)).splits["train"]["image_file"]) for seed in (0, 0, 1)]
    assert names[0] == names[1] == sorted(names[0], key=lambda name: int(name[:-4]))  # the order of rows is kept
    assert names[0] != names[2]
    assert [len(rows) for rows in read_rows(file).splits.values()] == [80, 10, 10]


def test_labels_may_come_from_a_trained_model_and_columns_in_another_order(make_release):
    vocabularies = {"type": ["landscape", "UNK"], "school": ["Flemish", "Dutch", "UNK"]}
    vocabularies |= {"timeframe": ["UNK"], "medium": ["wood", "canvas", "UNK"]}
    splits = read_release(make_release(test=[HEADER, row()]), vocabularies=vocabularies)
    assert [splits["test"][0][task] for task in ("type", "school", "timeframe", "medium")] == [0, 1, 0, 1]
    with pytest.raises(ValueError, match=r"Got only the splits \['test'\].*or pass vocabularies="):
        read_release(make_release())
    lines = ["School\tLocation\tTYPE\tIMAGE_FILE\tTIMEFRAME", "Dutch\tDelft\tgenre\ta.jpg\t1601-1650"]
    splits = read_release(make_release(train=lines, val=[HEADER, row()]), min_label_count=1)
    assert splits["train"].column_names == ["image", *COLUMNS, "text", "location"]
    assert splits["validation"].column_names == splits["train"].column_names
    assert splits["train"][0]["location"] == "Delft"
    assert splits["validation"][0]["location"] is None
    assert splits["train"][0]["description"] is None


def test_missing_columns_and_rows_and_folders_say_what_is_needed(make_release, tmp_path):
    for lines, message in (
        (["IMAGE_FILE\tSCHOOL", "a.jpg\tDutch"], r"\['TYPE', 'TIMEFRAME'\], .*the header 'IMAGE_FILE\\tSCHOOL'"),
        (["IMAGE_FILE#TYPE#SCHOOL", "a.jpg#genre#Dutch"], "L', read .* tried were tab, comma, semicolon and pipe"),
        ([HEADER + "\tTitle", row() + "\tx"], "with the column 'TITLE' twice"),
        ([HEADER], "without a readable row"),
        ([""], r"Got the empty file .*Check the download"),
    ):
        with pytest.raises(ValueError, match=message):
            read_rows(make_release(train=lines))
    with pytest.raises(ValueError, match="Got the delimiter '::', but it is one character or one of"):
        read_rows(make_release(), delimiter="::")
    tables = read_rows(make_release(train=[HEADER + "\tText", row() + "\tx"]))
    assert list(tables.splits["train"]["catalogue_text"]) == ["x"]  # `text` is made of the others
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"with \['notes.txt'\], but a SemArt release holds \['semart_train.csv'"):
        read_rows(tmp_path / "other")
    with pytest.raises(ValueError, match="with nothing, but a SemArt release holds"):
        read_rows(tmp_path / "nowhere")


def test_pictures_that_are_missing_or_outside_are_reported_and_not_opened(make_release, tmp_path, caplog):
    names = ["a.jpg", "gone.jpg", "../secret.jpg", "link.jpg", "", "folder"]
    folder = make_release(pictures=["a.jpg"], train=[HEADER, *(row(name) for name in names)])
    Image.new("RGB", (2, 2)).save(tmp_path / "secret.jpg")
    (folder / "Images" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "Images" / "folder").mkdir()
    splits = read_release(folder)
    assert [painting["image"] is not None for painting in splits["train"]] == [True] + [False] * 5
    for kind in ("missing_picture", "unsafe_name", "linked_picture", "unnamed_picture", "not_a_file"):
        assert f"{kind} in 1 rows" in caplog.text
    assert read_release(folder, follow_links=True)["train"][3]["image"].size == (2, 2)


def test_the_official_validation_file(shared_data):
    tables = read_rows(shared_data / "semart")
    frame = tables.splits["validation"].to_pandas()
    assert (len(frame), tables.encodings) == (1069, {"semart_val.csv": "cp1252"})
    (problem,) = tables.problems
    assert "1 of 350 words beyond ASCII, such as 'Rezsõ', are improbable in cp1252; the oth" in problem.detail
    assert not frame.drop(columns=["technique", "date", "medium"]).isna().any().any()
    assert frame["author"].str.contains("GÉRICAULT").any()
    assert not frame["description"].str.contains(r"&#\d+;|[\x80-\x9f\ufffd]").any()


def test_a_release_is_read_in_pieces(make_release, monkeypatch):
    lines = [row(name=f"{number}.jpg", description=f"Storm {number}.") for number in range(7)]
    folder = make_release(train=[HEADER, *lines], pictures=["0.jpg", "6.jpg"])
    whole = read_release(folder, min_label_count=1)["train"]
    monkeypatch.setattr(catalogue_files, "PIECE_ROWS", 3)
    monkeypatch.setattr(tables, "PIECE_ROWS", 3)
    pieces = read_release(folder, min_label_count=1)["train"]
    assert pieces.data.column("text").num_chunks == 3
    assert (pieces.features, str(pieces.split)) == (whole.features, "train")
    without = [split.cast_column("image", datasets.Image(decode=False)).to_list() for split in (pieces, whole)]
    assert without[0] == without[1]
    assert pieces._fingerprint == read_release(folder, min_label_count=1)["train"]._fingerprint


def test_rare_labels_are_reported_and_a_split_takes_its_rows_along_to_another_process(make_release, caplog):
    rows = read_release(make_release(train=[HEADER, row(description="A storm.")]))["train"]
    assert "No school occurs 10 times in train: its only label is UNK. Lower min_label_count" in caplog.text
    assert b"A storm." in pickle.dumps(rows)
    assert pickle.loads(pickle.dumps(rows))[0]["text"] == "A storm."  # noqa: S301 - its own bytes
