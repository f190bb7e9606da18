import unicodedata

import pytest

from semart_hf.catalogue.picture_files import check_enough_pictures, find_picture, is_picture_file, picture_files


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_picture_files_are_those_that_somebody_put_there(tmp_path):
    pictures = ["a.jpg", "c.webp", "e.heic", "sub/b.TIF"]
    touch(tmp_path, *pictures, "__MACOSX/._a.jpg", "._a.jpg", ".hidden/d.jpg", "notes.txt", "Thumbs.db", ".DS_Store")
    touch(tmp_path, ".ipynb_checkpoints/a-checkpoint.jpg", "f.pdf", "g.eps", "sub/.b.jpg", "a")
    (tmp_path / "folder.jpg").mkdir()
    assert [str(path.relative_to(tmp_path)) for path in picture_files(tmp_path)] == pictures
    assert is_picture_file(".cache/a.JPEG")
    assert not is_picture_file("a.eps")


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("a.jpg", "A.JPG"),
        ("a b.jpg", "a%20b.jpg"),
        ("a%20b.jpg", "a b.jpg"),
        ("a b.jpg", "a_b.jpg"),
        ("a.jpg", "a.png"),
        ("a", "a.jpg"),
        ("sub\\a.jpg", "sub/a.jpg"),
        ("Images/a.jpg", "a.jpg"),
    ],
)
def test_the_file_that_may_be_meant_is_named(tmp_path, name, there):
    touch(tmp_path / "Images", there)
    assert find_picture(str(tmp_path / "Images"), name) == ("missing_picture", f"there is no file {name}, but {there}")


@pytest.mark.parametrize(("name", "there"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC")])
def test_a_name_has_its_accents_in_any_form(tmp_path, name, there):
    name, there = (unicodedata.normalize(form, "sub/é.jpg") for form in (name, there))
    touch(tmp_path, there)
    assert find_picture(str(tmp_path), name) == tmp_path / there


def test_the_folder_that_may_be_meant_is_named(tmp_path):
    assert find_picture(str(tmp_path / "Images"), "a.jpg") == ("missing_picture", "there is no folder Images")
    touch(tmp_path / "pictures", "a.jpg")
    touch(tmp_path / "texts", "a.txt")
    found = "there is no folder Images, but 'pictures' beside it has pictures; rename it"
    assert find_picture(str(tmp_path / "Images"), "a.jpg")[1] == found


def test_links_are_followed_by_choice(tmp_path):
    touch(tmp_path / "store", "a.jpg")
    touch(tmp_path / "Images", "c.jpg")
    for name, target in (("a.jpg", "store/a.jpg"), ("b.jpg", "store/gone.jpg"), ("d.jpg", "Images/c.jpg")):
        (tmp_path / "Images" / name).symlink_to(tmp_path / target)
    (tmp_path / "Images" / "loop.jpg").symlink_to("loop.jpg")
    images = str(tmp_path / "Images")
    kind, detail = find_picture(images, "a.jpg")
    assert kind == "linked_picture"
    assert "as DVC, git-annex and the Hub's cache make them" in detail
    assert "--follow_links" in detail
    assert find_picture(images, "a.jpg", follow_links=True) == tmp_path / "Images" / "a.jpg"
    assert "is a link to a file that is not there" in find_picture(images, "b.jpg", follow_links=True)[1]
    assert find_picture(images, "d.jpg") == tmp_path / "Images" / "d.jpg"
    assert find_picture(images, "loop.jpg", follow_links=True)[0] in ("missing_picture", "unreadable_picture")
    (tmp_path / "linked").symlink_to(tmp_path / "store")
    assert find_picture(str(tmp_path / "linked"), "a.jpg") == (tmp_path / "store" / "a.jpg").resolve()


@pytest.mark.parametrize(
    "name", ["../store/a.jpg", "b/../../a.jpg", "/etc/passwd", "..\\a.jpg", "C:\\a.jpg", "", "a\0.jpg"]
)
def test_names_that_lead_outside_are_refused(tmp_path, name):
    touch(tmp_path / "store", "a.jpg")
    kind, detail = find_picture(str(tmp_path / "Images"), name, follow_links=True)
    assert kind == "unsafe_name"
    assert "but pictures lie inside their folder" in detail


@pytest.mark.parametrize(("named", "found", "share"), [(10, 4, 0.5), (10, 0, 0.01), (1, 0, 0.5), (10, 9, 1.0)])
def test_too_few_pictures(named, found, share):
    for many in (named, max(1, round(named * share))):
        check_enough_pictures(named, many, [], share)
    with pytest.raises(ValueError, match=rf"{found} readable pictures for {named} rows.*\n  a\n  b\n  c$"):
        check_enough_pictures(named, found, ["a", "b", "c", "d"], share)
