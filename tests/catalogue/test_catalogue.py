import dataclasses
import json
from pathlib import Path

import datasets
import pandas
import pytest
from PIL import Image, ImageColor
from release_builder import encoded

from semart_hf.catalogue.catalogue import merge_tables, read_catalogue, read_rows
from semart_hf.catalogue.mapping import SplitRule, load_mapping, parse_mapping
from semart_hf.catalogue.schema import read_tasks
from semart_hf.catalogue.tables import typed_splits

SMALL = {"columns": {"image_file": "file", "type": "kind"}, "splits": {"shares": {"train": 1.0}}}


def values(tables, column):
    return [value for rows in tables.splits.values() for value in rows.sort("row_number")[column]]


def all_in_train(name):
    return dataclasses.replace(load_mapping(name), splits=SplitRule(shares={"train": 1.0}))


def test_the_met(tmp_path):
    lines = [
        "Object ID,Classification,Title,Artist Display Name,Artist Alpha Sort,Artist Nationality,Object Date,"
        "Object Begin Date,Object End Date,Medium,Tags,Link Resource,Department",
        '437984,Paintings,La Berceuse (Woman Rocking a Cradle),Vincent van Gogh,"Gogh, Vincent van",Dutch,1889,1889,'
        "1889,Oil on canvas,Women|Portraits,http://www.metmuseum.org/art/collection/search/437984,Modern",
        '1,Ceramics,"Bowl, with\na line break",,,,,,,Oil on canvas,,,',
        '3,Paintings,Madonna in a Landscape,,"Peaston, Robert|Peaston, William",Flemish      |British,17th century,'
        '1600,1699,"Tempera on wood, gold ground",Landscapes|Virgin Mary,,',
        "4,Paintings,,,,Japanese,,,,,Horses,,",
        "",
    ]
    (tmp_path / "MetObjects.csv").write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    (tmp_path / "Images").mkdir()
    Image.new("RGB", (4, 3)).save(tmp_path / "Images" / "437984.jpg")
    tables = read_catalogue(tmp_path, all_in_train("met"))
    assert values(tables, "row_number") == [1, 3, 4]
    assert values(tables, "image_file") == ["437984.jpg", "3.jpg", "4.jpg"]
    assert values(tables, "author") == ["Gogh, Vincent van", "Peaston, Robert", None]
    assert values(tables, "type") == ["portrait", "religious", None]
    assert values(tables, "school") == ["Dutch", "Flemish", "UNK"]
    assert values(tables, "timeframe") == ["1851-1900", None, None]
    assert values(tables, "medium") == ["canvas", "wood", None]
    assert values(tables, "tags") == ["Women|Portraits", "Landscapes|Virgin Mary", "Horses"]
    assert values(tables, "department") == ["Modern", None, None]
    assert values(tables, "culture") == [None] * 3
    assert tables.extra_columns == ["object_id", "link_resource"]
    assert {(problem.problem, problem.detail, problem.action) for problem in tables.problems} == {
        ("left_out_rows", "1 rows of MetObjects.csv by keep_rows", "left out as the mapping says"),
        ("unmapped_value", "school: 'Japanese' in 1 rows of MetObjects.csv", "taken as UNK"),
        ("unmapped_value", "type: 'Horses' in 1 rows of MetObjects.csv", "taken as missing"),
        ("uncertain_date", "timeframe: '1600 to 1699' in 1 rows of MetObjects.csv", "taken as missing"),
    }
    splits = typed_splits(tables, min_label_count=1, text_columns="{TITLE}")
    assert splits["train"][0]["image"].size == (4, 3)
    assert splits["train"][0]["text"] == "La Berceuse (Woman Rocking a Cradle)"
    assert splits["train"].features["school"].names == ["Dutch", "Flemish", "UNK"]


def test_the_national_gallery_of_art(tmp_path):
    (tmp_path / "objects.csv").write_text(
        "objectid,accessionnum,title,displaydate,beginyear,endyear,medium,attributioninverted,attribution,classification\n"
        "1137,1957.14.4.a,The Nativity,c. 1480/1490,1480,1490,oil on panel transferred to canvas,"
        '"Christus, Petrus",,Painting\n'
        "2,,Bust,,,,,,,Sculpture\n3,,Harbor,,1651,1651,oil on paperboard,,Dutch 17th Century,Painting\n"
    )
    (tmp_path / "objects_terms.csv").write_text(
        "termid,objectid,termtype,term,visualbrowsertheme,visualbrowserstyle\n1,1137,Theme,Architecture,architecture,\n"
        "2,1137,Theme,Nativity,religious,\n6,1137,Style,Gothic,,Gothic\n3,1137,School,Early Netherlandish,,\n"
        "4,3,Theme,Sea,landscape,\n"
        "5,3,Keyword,portrait,portrait,\nbroken\n"
    )
    (tmp_path / "objects_constituents.csv").write_text(
        "objectid,constituentid,displayorder,roletype,role\n3,50,1,donor,donor\n3,60,1,artist,painter\n1137,60,1,artist,\n"
    )
    (tmp_path / "constituents.csv").write_text(
        "constituentid,preferreddisplayname,nationality,visualbrowsernationality\n50,Donor,,American\n60,P,,Dutch\n"
    )
    tables = read_catalogue(tmp_path, all_in_train("nga"))
    assert values(tables, "image_file") == ["1137.jpg", "3.jpg"]
    assert values(tables, "author") == ["Christus, Petrus", "Dutch 17th Century"]
    assert values(tables, "type") == ["religious", "landscape"]
    assert values(tables, "school") == ["Netherlandish", "Dutch"]
    assert values(tables, "timeframe") == ["1451-1500", "1651-1700"]
    assert values(tables, "medium") == ["canvas", "paper"]
    assert values(tables, "themes") == ["architecture|religious", "landscape"]
    assert values(tables, "style") == ["Gothic", None]
    assert values(tables, "accessionnum") == ["1957.14.4.a", None]
    (broken,) = [one for one in tables.problems if one.problem == "malformed_row"]  # once, though three joins read it
    assert broken.detail == "objects_terms.csv: line 8 has 1 fields, the header has 6"


def test_wikiart_as_a_csv_file(tmp_path):
    (tmp_path / "all_data_info.csv").write_text(
        "artist,date,genre,pixelsx,pixelsy,size_bytes,source,style,title,artist_group,in_train,new_filename\n"
        "Claude Monet,c.1872,marina,640,480,1,wikiart,Impressionism,Sunrise,train_only,True,1.jpg\n"
        'Ando Hiroshige,1833.0,"portrait, genre painting",640,480,1,wikiart,Ukiyo-e,,train_only,True,2.jpg\n'
    )
    tables = read_catalogue(tmp_path, all_in_train("wikiart"))
    assert values(tables, "image_file") == ["1.jpg", "2.jpg"]
    assert values(tables, "type") == ["landscape", "portrait"]
    assert values(tables, "school") == ["French", None]
    assert values(tables, "timeframe") == ["1851-1900", "1801-1850"]
    assert values(tables, "style") == ["Impressionism", "Ukiyo-e"]
    assert values(tables, "genre") == ["marina", "portrait"]


def test_wikiart_as_a_data_set_with_embedded_pictures(tmp_path):
    names = {"artist": ["Unknown Artist", "vincent-van-gogh"], "genre": ["still_life", "Unknown Genre"]}
    names["style"] = ["Post_Impressionism"]
    labels = {name: datasets.ClassLabel(names=found) for name, found in names.items()}
    features = datasets.Features({"image": datasets.Image(), **labels})
    kinds = {"red": "JPEG", "blue": "PNG"}
    contents = [encoded(Image.new("RGB", (4, 3), colour), kind) for colour, kind in kinds.items()]
    pictures = [{"bytes": content, "path": None} for content in contents]
    columns = {"image": pictures, "artist": [1, 0], "genre": [0, 1], "style": [0, 0]}
    (tmp_path / "hub" / "data").mkdir(parents=True)
    data = datasets.Dataset.from_dict(columns, features=features)
    data.to_parquet(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet")
    mapping = dataclasses.replace(all_in_train("wikiart"), format="hub")
    tables = read_catalogue(tmp_path / "hub", mapping)
    assert values(tables, "type") == ["still-life", None]
    assert values(tables, "school") == ["Dutch", None]
    assert values(tables, "author") == ["vincent-van-gogh", "Unknown Artist"]
    assert values(tables, "artist") == ["vincent-van-gogh", None]
    assert (values(tables, "genre"), values(tables, "style")) == (["still_life", None], ["Post_Impressionism"] * 2)
    names = values(tables, "image_file")
    assert [name[:14] for name in names] == ["train-00000001", "train-00000002"]
    folder = Path(values(tables, "images_folder")[0])
    assert [(folder / name).read_bytes() for name in names] == [row["bytes"] for row in pictures]
    assert typed_splits(tables, min_label_count=1)["train"][1]["image"].size == (4, 3)


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_every_file_format_reads_the_same(tmp_path, form):
    rows = [{"file": "a.jpg", "kind": "genre", "year": 1651}, {"file": "b.jpg", "kind": "", "year": None}]
    path = tmp_path / f"paintings.{form}"
    if form == "jsonl":
        path.write_text("\n".join([json.dumps(rows[0]), "", json.dumps({"file": "b.jpg"})]))
    elif form == "parquet":
        datasets.Dataset.from_list(rows).to_parquet(path)
    else:
        pandas.DataFrame(rows, dtype=object).to_csv(path, sep="," if form == "csv" else "\t", index=False)
    content = SMALL | {"columns": {**SMALL["columns"], "timeframe": {"from": "year", "as": "half_century"}}}
    tables = read_catalogue(path, parse_mapping(content))
    assert values(tables, "image_file") == ["a.jpg", "b.jpg"]
    assert values(tables, "type") == ["genre", None]
    assert values(tables, "timeframe") == ["1651-1700", None]


def test_lists_in_cells_as_pandas_writes_them_and_bad_json_lines(tmp_path):
    cells = {"file": ["a", "b", "c", "d"], "kind": [["oil, old", 'a "b"'], [], ["1653"], ["it's"]]}
    pandas.DataFrame(cells).to_csv(tmp_path / "p.csv", index=False)
    assert "['oil, old'" in (tmp_path / "p.csv").read_text()
    with (tmp_path / "p.csv").open("a") as file:
        file.write('e,[1653]\nf,"[\'open"\ng,"[\'a\nb\']"\nh,[\'C:\\Users\']\ni,"[""a\\/b"", ""\\ud83d\\ude00""]"\n')
    tables = read_catalogue(tmp_path / "p.csv", parse_mapping(SMALL))
    last = ["['a\nb']", r"['C:\Users']", "a/b|\N{GRINNING FACE}"]  # no lists, and one as PHP writes it
    assert values(tables, "type") == ['oil, old|a "b"', None, "1653", "it's", "[1653]", "['open", *last]
    bad = ['{"file": ', "[1]", '{"file": "b"}', r'{"file": "\ud83d"}', f'{{"file": {"1" * 5000}}}']
    (tmp_path / "p.jsonl").write_text("\n".join(['{"file": "a", "kind": "genre"}', *bad]))
    tables = read_catalogue(tmp_path / "p.jsonl", parse_mapping(SMALL))
    assert values(tables, "row_number") == [1, 4]
    assert [(problem.row, problem.action) for problem in tables.problems] == [(n, "dropped") for n in (2, 3, 5, 6)]


@pytest.mark.parametrize("ending", ["xlsx", "xls"])
def test_a_workbook(tmp_path, ending):
    pytest.importorskip("python_calamine")
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["file", "kind", "year"], ["a", "genre", 1651], [None, None, None], ["b", None, "-"], ["c", 3, "?"]):
        book.active.append(row)
    book.save(tmp_path / "p.xlsx")
    (tmp_path / "p.xlsx").rename(tmp_path / f"p.{ending}")  # the format is seen from the content
    content = {"columns": {**SMALL["columns"], "timeframe": {"from": "year", "as": "half_century"}}}
    tables = read_catalogue(tmp_path / f"p.{ending}", parse_mapping(SMALL | content))
    assert values(tables, "row_number") == [1, 3, 4]
    assert values(tables, "type") == ["genre", None, "3"]
    assert values(tables, "timeframe") == ["1651-1700", None, None]
    details = [problem.detail for problem in tables.problems]
    assert details == [f"timeframe: '?' in 1 rows of p.{ending}"]  # a dash says nothing


def test_parquet_with_embedded_pictures_is_read_again_without_writing_them_again(tmp_path):
    (tmp_path := tmp_path / ("long" * 30) / ("path" * 30)).mkdir(parents=True)
    rows = {"picture": [encoded(Image.new("RGB", (4, 3), "red")), None], "kind": ["genre", "study"]}
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "paintings.parquet")
    mapping = parse_mapping(SMALL | {"columns": {"image": "picture", "type": "kind"}})
    for _ in range(2):
        tables = read_catalogue(tmp_path / "paintings.parquet", mapping)
        name, absent = values(tables, "image_file")
        assert name.startswith("paintings-00000001-")
        assert absent is None
        folder = Path(values(tables, "images_folder")[0])
        (folder / name).chmod(0o400)
    assert [path.name for path in folder.iterdir()] == [name]


def test_an_embedded_picture_is_that_of_its_own_row_and_of_today(tmp_path):
    mapping = {"files": {"train": "train/rows.parquet", "test": "test/rows.parquet"}}
    mapping = parse_mapping({**mapping, "columns": {"image": "picture", "type": "kind"}})
    for colours in ({"train": "red", "test": "blue"}, {"train": "lime", "test": "blue"}):
        for split, colour in colours.items():
            rows = {"picture": [encoded(Image.new("RGB", (4, 3), colour), "PNG")], "kind": ["genre"]}
            datasets.Dataset.from_dict(rows).to_parquet(tmp_path / split / "rows.parquet")
        splits = typed_splits(read_catalogue(tmp_path, mapping), min_label_count=1)
        shown = {split: splits[split][0]["image"].getpixel((0, 0)) for split in colours}
        assert shown == {split: ImageColor.getrgb(colour) for split, colour in colours.items()}


def test_pictures_that_a_data_set_names_are_read_and_names_are_no_pictures(tmp_path):
    for kind in ("genre", "study"):
        (tmp_path / "hub" / "train" / kind).mkdir(parents=True)
        (tmp_path / "hub" / "train" / kind / f"{kind}.png").write_bytes(encoded(Image.new("RGB", (4, 3)), "PNG"))
    columns = {"image": "image", "type": "label"}
    splits = typed_splits(
        read_catalogue(tmp_path / "hub", parse_mapping({"format": "hub", "columns": columns})), min_label_count=1
    )
    assert [row["image"].size for row in splits["train"]] == [(4, 3)] * 2
    rows = {"image": [{"bytes": None, "path": str(tmp_path / "hub/train/genre/genre.png")}], "label": ["genre"]}
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "elsewhere" / "rows.parquet")
    for place, form in (("elsewhere/rows.parquet", "parquet"), ("elsewhere", "hub")):
        tables = read_catalogue(tmp_path / place, parse_mapping({"format": form, "columns": columns}))
        assert values(tables, "image_file") == [None]  # another folder's picture is none of its own
    (tmp_path / "rows.csv").write_text("image,label\na.jpg,genre\n")
    with pytest.raises(ValueError, match=r"Got 'a\.jpg' where the mapping's image names .* Say image_file"):
        read_catalogue(tmp_path / "rows.csv", parse_mapping({"columns": columns}))


def test_an_image_folder_by_splits(tmp_path):
    for split, kind in (("train", "genre"), ("val", "study")):
        (tmp_path / split).mkdir()
        (tmp_path / split / "metadata.csv").write_text(f"file_name,kind\n{split}.jpg,{kind}\nNA,None\n")
        Image.new("RGB", (4, 3)).save(tmp_path / split / f"{split}.jpg")
    mapping = parse_mapping({"format": "imagefolder", "columns": {"image_file": "file_name", "type": "kind"}})
    splits = typed_splits(read_catalogue(tmp_path, mapping), min_label_count=1)
    assert {split: rows["image"][0].size for split, rows in splits.items()} == {"train": (4, 3), "validation": (4, 3)}
    assert splits["train"]["image_file"][:] == ["train.jpg", "NA"]
    assert splits["train"].features["type"].names == ["None", "genre", "UNK"]


def test_splits_by_a_column_and_by_file(tmp_path):
    (tmp_path / "p.csv").write_text("file#kind#subset\na#genre#Train\nb#genre#dev\nc#genre#holdout\nd#genre#odd\n")
    rule = {"column": "subset", "values": {"holdout": "test"}}
    tables = read_catalogue(tmp_path / "p.csv", parse_mapping(SMALL | {"splits": rule, "delimiter": "#"}))
    names = {split: list(rows["image_file"]) for split, rows in tables.splits.items()}
    assert names == {"train": ["a"], "validation": ["b"], "test": ["c"]}
    (problem,) = tables.problems
    assert (problem.row, problem.problem, problem.action) == (4, "unknown_split", "dropped")
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(f"file,kind\n{name},genre\n")
    files = {"columns": SMALL["columns"], "files": {"test": "b.csv", "train": "a.csv"}}
    splits = read_catalogue(tmp_path, parse_mapping(files)).splits
    assert {split: rows["image_file"][:] for split, rows in splits.items()} == {"train": ["a"], "test": ["b"]}


def test_rules_of_columns(tmp_path):
    text = "dc:file,kind,alt,name,Credit Line,credit-line\na,Still_Life,,bach-1655.jpg,R &amp; D,1\n"
    (tmp_path / "p.csv").write_text(text + "b,,cat; dog,x.jpg,X,\nc,vanitas,,y-1501.,,\n")
    columns = {
        "image_file": "{kind}/100%{dc:file}.jpg",
        "type": {"from": ["kind", "alt"], "values": {"still life": "still"}, "other": "keep", "separator": ";"},
        "timeframe": {"from": "name", "pattern": r"-(\d{4})\.", "as": "half_century", "missing": "1501"},
        "title": {"from": "Credit Line", "missing": ["x", "-"]},
        "medium": {"from": "nowhere", "optional": True},
    }
    tables = read_catalogue(tmp_path / "p.csv", parse_mapping(SMALL | {"columns": columns, "keep": "all"}))
    assert values(tables, "image_file") == ["Still_Life/100%a.jpg", None, "vanitas/100%c.jpg"]
    assert values(tables, "type") == ["still", "cat", "vanitas"]
    assert values(tables, "timeframe") == ["1651-1700", None, None]
    assert values(tables, "title") == ["R & D", None, None]
    assert tables.extra_columns == ["dc_file", "kind", "alt", "name", "credit_line", "catalogue_credit_line"]
    assert values(tables, "credit_line") == ["R & D", "X", None]


def test_a_mapping_has_tasks_of_its_own(tmp_path):
    (tmp_path / "p.csv").write_text("file,Style,Wing,made\na,Baroque,1,1642\nb,,2,c. 1700\nc,Gothic,1,1701\nd,,,?\n")
    century = {"name": "century", "column": "date", "rule": "century"}
    tasks = [{"name": "style", "column": "Style"}, "wing", century]
    columns = {"image_file": "file", "date": "made", "wing": {"from": "Wing", "values": {1: "north"}}}
    tables = read_catalogue(tmp_path / "p.csv", parse_mapping(SMALL | {"tasks": tasks, "columns": columns}))
    assert [task.entry for task in tables.tasks] == [{"name": "style"}, {"name": "wing"}, century]
    assert values(tables, "style") == ["Baroque", None, "Gothic", None]
    assert values(tables, "wing") == ["north", None, "north", None]
    assert values(tables, "century") == ["1601-1700", "1601-1700", "1701-1800", None]
    assert tables.extra_columns == []
    assert "school" not in tables.splits["train"].column_names
    other = read_catalogue(tmp_path / "p.csv", parse_mapping(SMALL | {"columns": {"type": "Style"}}))
    merged = merge_tables({"one": tables, "two": other})
    names = [task.name for task in merged.tasks]
    assert names == ["style", "wing", "century", "type", "school", "timeframe", "medium"]
    assert list(merged.splits["train"]["type"]) == [None] * 4 + ["Baroque", None, "Gothic", None]


@pytest.mark.parametrize(("separator", "values_of"), [(";", None), (None, {"boat": "Boats", "sea": "Sea"})])
def test_several_labels_of_a_cell(tmp_path, separator, values_of):
    content = "file,kind,tags\na,genre,Boat; sea\nb,genre,sea;;sea\nc,genre,\nd,genre,x\n"
    if values_of is None:  # the labels as they are
        content = content.replace("Boat", "Boats").replace("sea", "Sea").replace("d,genre,x", "d,genre,")
    (tmp_path / "p.csv").write_text(content)
    rule = {"from": "tags", "separator": ";", "missing": "x"} | ({"values": values_of} if values_of else {})
    tasks = ["type", {"name": "tags", "kind": "multi_label"} | ({"separator": ";"} if separator else {})]
    columns = SMALL["columns"] | ({} if separator else {"tags": rule})
    tables = read_catalogue(tmp_path / "p.csv", parse_mapping(SMALL | {"tasks": tasks, "columns": columns}))
    assert values(tables, "tags") == ["Boats|Sea", "Sea", None, None]
    assert tables.vocabularies(1)["tags"] == ["Sea", "Boats"]  # the frequent first, without UNK
    train = typed_splits(tables, min_label_count=1)["train"]
    assert train["tags"] == [[1, 0], [0], None, None]
    assert train.features["tags"] == datasets.List(datasets.ClassLabel(names=["Sea", "Boats"]))
    tasks[1] = {"name": "tags", "kind": "multi_label", "separator": "/"}
    with pytest.raises(ValueError, match="separator '/' for the task tags, which no cell of its column has"):
        read_catalogue(tmp_path / "p.csv", parse_mapping(SMALL | {"tasks": tasks}))
    with pytest.raises(ValueError, match=r"with the task \{'name': 'tags'\}, which another release has as"):
        merge_tables({"a": tables, "b": dataclasses.replace(tables, tasks=tuple(read_tasks(["type", "tags"])))})


def test_releases_are_merged_into_one_vocabulary(tmp_path):
    (tmp_path / "semart").mkdir()
    text = "IMAGE_FILE\tTYPE\tSCHOOL\tTIMEFRAME\tPLACE\na.jpg\tgenre\tDutch\t1601-1650\tDelft\nbad\n"
    (tmp_path / "semart" / "semart_train.csv").write_text(text)
    (tmp_path / "p.csv").write_text("file,kind,origin\na.jpg,study,French\nb.jpg,genre,French\n")
    content = SMALL | {"columns": {**SMALL["columns"], "school": "origin"}}
    other = read_catalogue(tmp_path / "p.csv", parse_mapping(content))
    merged = merge_tables({"semart": read_rows(tmp_path / "semart"), "other": other})
    rows = merged.splits["train"]
    assert list(rows["release"]) == ["semart", "other", "other"]
    assert list(rows["place"]) == ["Delft", None, None]
    assert [problem.release for problem in merged.problems] == ["semart"]
    assert '"release": "semart"' in merged.problems[0].as_json()
    splits = typed_splits(merged, min_label_count=1)
    assert splits["train"].features["type"].names == ["genre", "study", "UNK"]
    assert splits["train"].features["school"].names == ["French", "Dutch", "UNK"]
    assert splits["train"]["release"][:] == ["semart", "other", "other"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": {"type": "sort"}}, r"type with .* \['sort'\], but they are not in p\.csv: the header 'file,k"),
        ({"columns": {"type": "kind", "image_file": "{id}.jpg"}}, r"columns\.image_file with the columns \['id'\]"),
        ({"keep": ["place"]}, r"Got keep with the columns \['place'\]"),
        ({"keep_rows": {"place": "x"}}, r"Got keep_rows with the columns \['place'\], .*: the header"),
        ({"keep_rows": {"kind": "x"}}, r"without a readable row that the mapping keeps"),
        ({"splits": {"column": "place"}}, r"Got splits\.column with the columns \['place'\]"),
        ({"joins": [{"file": "b.csv", "by": "file", "columns": {"x": "y"}}]}, r"b\.csv, where no file is"),
    ],
)
def test_mappings_that_do_not_fit_their_catalogue(tmp_path, change, message):
    (tmp_path / "p.csv").write_text("file,kind\na,genre\n")
    with pytest.raises(ValueError, match=message):
        read_catalogue(tmp_path / "p.csv", parse_mapping(SMALL | change))


def test_catalogues_that_are_not_there_and_an_ending_that_says_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"where nothing is.*Correct the path"):
        read_catalogue(tmp_path / "nowhere", parse_mapping(SMALL))
    with pytest.raises(ValueError, match=r"but the mapping names no files"):
        read_catalogue(tmp_path, parse_mapping(SMALL))
    (tmp_path / "p.docx").write_text("file\tkind\na.jpg\tportrait\n")
    with pytest.raises(ValueError, match=r"ending is none of .*Save it as one of these, or set format"):
        read_catalogue(tmp_path / "p.docx", parse_mapping(SMALL))
    tables = read_catalogue(tmp_path, parse_mapping(SMALL | {"files": "p.docx", "format": "tsv"}))
    assert values(tables, "type") == ["portrait"]
    (tmp_path / "p.parquet").write_text("no")
    with pytest.raises(ValueError, match=r"which is no Parquet file"):
        read_catalogue(tmp_path / "p.parquet", parse_mapping(SMALL))
    with pytest.raises(ValueError, match=r"an ImageFolder says in one of them"):
        read_catalogue(tmp_path, parse_mapping(SMALL | {"format": "imagefolder"}))


def test_splits_by_author_never_divide_an_author(tmp_path, caplog, recwarn):
    authors = ["Rembrandt"] * 30 + ["Vermeer"] * 6 + ["VERMEER "] * 4 + [f"Painter {n // 3}" for n in range(240)]
    authors += [""] * 20  # not one author: divided one by one
    lines = [f"{number},{('genre', 'portrait')[number % 2]},{author}" for number, author in enumerate(authors)]
    (tmp_path / "p.csv").write_text("\n".join(["file,kind,name", *lines]))
    shares = {"train": 0.8, "validation": 0.1, "test": 0.1}
    content = {"columns": {**SMALL["columns"], "author": "name"}, "splits": {"shares": shares, "by": "author"}}
    tables = read_catalogue(tmp_path / "p.csv", parse_mapping(content))
    rows = {split: len(table) for split, table in tables.splits.items()}
    assert sum(rows.values()) == 300
    assert all(abs(rows[split] - 300 * share) <= 3 for split, share in shares.items())
    found = {s: {" ".join(a.casefold().split()) for a in t["author"] if a} for s, t in tables.splits.items()}
    assert sum(map(len, found.values())) == len(set().union(*found.values())) == 82
    assert sum(None in table["author"] for table in tables.splits.values()) > 1
    assert "10 % test, each author in one split (seed 0)." in caplog.text
    assert not recwarn.list
    again = read_catalogue(tmp_path / "p.csv", parse_mapping(content))
    found, same = ({s: t["row_number"][:] for s, t in one.splits.items()} for one in (tables, again))
    assert found == same
    del content["columns"]["author"]
    with pytest.raises(ValueError, match=r"splits by author .* no row has one\. Map it"):
        read_catalogue(tmp_path / "p.csv", parse_mapping(content))
