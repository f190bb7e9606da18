import pytest

from semart_hf.cli.compare import TOWER_FIELDS, resolve_towers
from semart_hf.recipes.recipe import RECIPES, read_recipe

STUDY_TOWERS = ("resnet18", "efficientnet_b0", "vit_tiny")
PRETRAINED = {"vision": "timm/resnet18.a1_in1k", "frozen_vision_stages": 3}


def test_the_towers_of_the_study_are_those_of_its_recipes_which_differ_in_them_alone():
    towers = resolve_towers(STUDY_TOWERS, PRETRAINED)
    assert list(towers) == ["resnet18", "efficientnet_b0", "vit_tiny"]
    for tower, fields in towers.items():
        own = read_recipe(RECIPES / f"semart-{tower}.yaml")
        assert fields == {name: own[name] for name in ("vision", "frozen_vision_stages")}
        assert fields["frozen_vision_stages"] > 0
    recipes = [read_recipe(RECIPES / f"semart-{name}.yaml") for name in STUDY_TOWERS]
    names = set().union(*recipes) - {*TOWER_FIELDS, "output_dir"}
    assert {name for name in names if any(recipe.get(name) != recipes[0].get(name) for recipe in recipes)} == set()
    towers = resolve_towers(STUDY_TOWERS, read_recipe(RECIPES / "miniature.yaml"))
    names = [{"vision": "resnet18"}, {"vision": "efficientnet_b0"}, {"vision": "vit_tiny_patch16_224"}]
    assert list(towers.values()) == names


def test_models_of_timm_recipe_files_and_finished_runs(tmp_path):
    (tmp_path / "wide.yaml").write_text("vision: resnet34\nfrozen_vision_stages: 1\nlearning_rate: 1\n")
    words = ["resnet10t", "timm/convnext_tiny.fb_in1k", str(tmp_path / "wide.yaml")]
    towers = resolve_towers(words, PRETRAINED)
    assert list(towers.items()) == [
        ("resnet10t", {"vision": "resnet10t"}),
        ("convnext_tiny.fb_in1k", {"vision": "timm/convnext_tiny.fb_in1k"}),
        ("wide", {"vision": "resnet34", "frozen_vision_stages": 1}),
    ]
    for run, name in ((tmp_path / "my-run", "my-run"), (tmp_path / "towers" / "vit_tiny" / "model", "vit_tiny")):
        run.mkdir(parents=True)  # the second is one of a comparison
        (run / "config.json").write_text('{"model_type": "semart"}')
        (run / "model.safetensors").write_bytes(b"")
        towers = resolve_towers([str(run), "resnet18"], PRETRAINED)
        assert (list(towers), towers[name]) == ([name, "resnet18"], run)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resnet18", "resnet_18"], r"tower 'resnet_18'.*one of \[.*'vit_tiny'.*\].*Correct --towers"),
        (["resnet18"], r"the towers \['resnet18'\]. At least two"),
        (["resnet18", "timm/resnet18"], r"several towers with the names \['resnet18'\]"),
        (["resnet18", "nowhere.yaml"], "There is no recipe nowhere.yaml"),
        (["resnet18", "towerless.yaml"], "names no vision tower"),
    ],
)
def test_what_is_no_tower(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "towerless.yaml").write_text("data: x\n")
    with pytest.raises(ValueError, match=message):
        resolve_towers(words, PRETRAINED)
