import copy
import json
import re
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from semart_hf.documents.model_card import CardFacts, base_models, render_card
from semart_hf.documents.table import NOT_MEASURED

ANSWER = {"type": [{"label": "portrait", "score": 0.7512}, {"label": "UNK", "score": 0.2488}]}
ANSWER["school"] = [{"label": "Dutch", "score": 0.5}]
FACTS = CardFacts("anna/delft", {"text": "A view of Delft"}, ANSWER)
RECIPE = {"data": "semart", "vision": "timm/resnet18.a1_in1k", "text": "distilbert/distilbert-base-uncased", "seed": 3}


def sections_of(card):
    parts = card.text.split("\n## ")
    return {part.split("\n")[0]: part for part in parts[1:]}


@pytest.fixture
def card(saved_model, results):
    facts = replace(FACTS, results=[results], recipe=RECIPE, figures=["confusion_type"])
    return render_card(saved_model[0], facts)


def test_the_metadata_have_what_the_hub_reads_and_results_of_every_task(card):
    metadata = ModelCard(str(card)).data.to_dict()
    names = ("license", "library_name", "pipeline_tag", "tags", "language", "datasets", "widget")
    assert not [name for name in names if not metadata.get(name)]
    assert metadata["base_model"] == ["timm/resnet18.a1_in1k", "distilbert/distilbert-base-uncased"]
    assert metadata["library_name"] == "transformers"
    assert metadata["pipeline_tag"] == "art-classification"  # the name by which the pipeline is loaded
    assert "image-classification" in metadata["tags"]
    assert metadata["datasets"] == ["semart"]
    shown = [(one["label"], one["score"]) for one in metadata["widget"][0]["output"]]
    assert shown == [("type: portrait", 0.7512), ("school: Dutch", 0.5)]
    (index,) = ModelCard(str(card)).data.to_dict()["model-index"]
    (result,) = index["results"]
    metrics = {metric["name"]: (metric["type"], metric["value"]) for metric in result["metrics"]}
    assert result["dataset"] == {"name": "semart", "type": "semart", "split": "test"}
    assert len(metrics) == len(result["metrics"]) == 4 * (2 + 1 + 1)
    assert metrics["Accuracy (school)"] == ("accuracy", 0.8125)
    assert metrics["Macro F1 (medium)"] == ("f1", 0.7125)
    assert metrics["Accuracy (timeframe, image alone)"] == ("accuracy", 0.6)
    assert metrics["Accuracy (type, text alone)"] == ("accuracy", 0.7)


def test_the_numbers_are_those_of_the_results_and_recipe_and_commands_reproduce(card):
    sections = sections_of(card)
    assert "| school | 90 | 81.2 (77.2–85.2) | 71.2 | 76.2 | 0.081 | not measured |" in sections["Results"]
    assert "| picture alone | 60.0 (56.0–64.0) |" in sections["Results"]
    assert "![confusion type](figures/confusion_type.png)" in sections["Results"]
    assert "| school | 4 | Dutch, Italian, French, UNK |" in card.text  # in the order of the logits
    assert "| type | 0.900 | 50.0 | 96.0 |" in sections["Results"]
    assert "| school | never reached | – | – |" in sections["Results"]
    limits = sections["Intended use and limits"]
    assert "school: Italian (F1 0.38 of 20), UNK (F1 0.65 of 10), Dutch (F1 0.90 of 60)" in limits
    assert "not among the tested paintings: French" in limits
    assert "school: Dutch 67%" in limits
    assert "picture, and text without label words 65.0, text without label words not measured" in limits
    seconds = "12.5 s for 90 paintings and every view of them, on A Processor, 2 cores (torch 2.15.0)"
    assert seconds in sections["Training"]
    assert "non-commercial research" in " ".join(limits.split())
    assert "vision: timm/resnet18.a1_in1k" in sections["Training"]
    assert (
        "```bash\naccelerate launch -m semart_hf.cli.train recipe.yaml && \\\nsemart-hf evaluate "
        "--model outputs/model --data semart --split test --output_dir evaluation --mask_label_words\n```"
    ) in sections["How to reproduce"]
    assert "semart-hf evaluate --model anna/delft --data semart --split test" in sections["How to reproduce"]


def test_a_card_without_results_has_no_number(saved_model):
    card = render_card(saved_model[0], FACTS)
    sections = sections_of(card)
    assert "model-index" not in card.data.to_dict()
    assert "base_model" not in card.data.to_dict()
    assert sections["Results"].count(NOT_MEASURED) == 3
    assert sections["Training"].count(NOT_MEASURED) == 2
    assert "The recipe: not recorded" in sections["Training"]


def test_the_example_runs_and_can_be_read_back(saved_model, capsys):
    painting = {"image": "https://huggingface.co/anna/delft/resolve/main/example.jpg", "text": 'He said "look"\n'}
    facts = CardFacts("anna/delft", painting, ANSWER)
    card = str(render_card(saved_model[0], facts))
    code, printed = re.search(r"```python\n(.*?)\n```\s+```text\n(.*?)\n```", card, re.DOTALL).groups()
    assert len(code.splitlines()) == 9  # of which the painting takes four
    assert '"image": "https://huggingface.co/anna/delft/resolve/main/example.jpg"' in code
    code = code.replace("from transformers import pipeline", "")
    asked = []
    exec(code, {"pipeline": lambda *_, **__: lambda painting: asked.append(painting) or ANSWER})
    assert asked[0]["text"] == 'He said "look"\n'
    assert capsys.readouterr().out.strip() == printed
    assert printed.splitlines() == ["type       0.75  portrait", "school     0.50  Dutch"]


def test_the_miniature_is_known_by_its_ceiling(saved_model, results):
    results["modalities"]["image"]["ceiling"] = {"type": 0.97, "mean": 0.9}
    results["data"] = "outputs/mini"
    facts = CardFacts("anna/mini", FACTS.painting, ANSWER, results=[results], recipe={"data": "outputs/mini"})
    card = render_card(saved_model[0], facts)
    assert card.data.to_dict()["datasets"] == ["semart-miniature"]
    assert "| – best reachable | 97.0 | not measured | not measured | not measured | 90.0 |" in card.text
    assert "painted by program" in card.text
    assert "say nothing of real paintings" in " ".join(card.text.split("```")[0].split())
    assert "On 90 paintings (SemArt miniature, test split)." in card.text
    assert card.text.count("SemArt may be used") == 0
    assert "semart-hf miniature outputs/mini && \\\naccelerate launch" in card.text


HOSTILE = ["a: b", "- x", "yes", "null", "#1", "{{ title }}", "<b>|*_", "'", '"', "---", "é\u2028x", "[a](b)"]


def test_labels_with_signs_of_yaml_markdown_and_html_stay_labels(saved_model, results):
    model = copy.deepcopy(saved_model[0])
    answer = {task: [{"label": label, "score": 0.5}] for task, label in zip("abcdefghijkl", HOSTILE, strict=True)}
    model.config.tasks[0]["labels"] = HOSTILE
    facts = CardFacts(
        "anna/delft", {"text": "A <view>: # of\n---\nDelft"}, answer, results=[results], data_name="絵画"
    )
    card = render_card(model, facts)
    assert card.data.to_dict()["datasets"] == ["paintings"]  # the Hub refuses an empty name
    (widget,) = ModelCard(str(card)).data.to_dict()["widget"]
    assert widget["text"] == "A <view>: # of\n---\nDelft"
    assert [entry["label"] for entry in widget["output"]] == [f"{task}: {answer[task][0]['label']}" for task in answer]
    (row,) = [line for line in card.text.splitlines() if line.startswith("| type | 12 |")]
    assert len(re.findall(r"(?<!\\)\|", row)) == 4  # three cells, whatever the labels hold
    assert r"{{ title }}, &lt;b>\|\*\_" in row
    assert r"\[a\](b)" in row


def test_a_model_of_the_miniature_says_so_at_the_top(saved_model):
    model = copy.deepcopy(saved_model[0])
    model.config.training_data = {"name": "mini", "is_painted_miniature": True}
    top = render_card(model, FACTS).text.split("```python")[0]
    assert "never seen a real painting" in " ".join(top.split())
    assert "never seen a real painting" not in str(render_card(saved_model[0], FACTS))


def test_several_results_have_entries_of_their_own_and_say_what_they_were_measured_on(saved_model, results):
    other = json.loads(json.dumps(results)) | {"data": "elsewhere", "split": "validation"}
    card = render_card(saved_model[0], CardFacts("anna/d", FACTS.painting, ANSWER, results=[results, other]))
    (index,) = card.data.to_dict()["model-index"]
    assert {entry["dataset"]["name"] for entry in index["results"]} == {"semart", "elsewhere"}
    model = copy.deepcopy(saved_model[0])
    model.config.training_data = {"name": "prepared", "is_painted_miniature": True}
    results |= {"data": "/data/semart"}
    same = results | {"data": "outputs/prepared", "split": "validation"}
    text = render_card(model, replace(FACTS, results=[results, same])).text
    assert "On 90 paintings (semart, test split)." in text
    assert "On 90 paintings (SemArt miniature, validation split)." in text
    assert "painted by program" in text


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ({"pretrained": False, **RECIPE}, []),
        ({"pretrained": "vision", **RECIPE}, ["timm/resnet18.a1_in1k"]),
        ({"vision": "/home/anna/tower", "text": "distilbert/distilbert-base-uncased"}, [RECIPE["text"]]),
        ({"vision": "../shared/tower/vision", "text": None}, []),
        ({}, []),
    ],
)
def test_base_models_are_what_the_weights_began_from(recipe, expected):
    assert base_models(recipe) == expected
