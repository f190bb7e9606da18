import copy
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from rounding import rounding
from saved_results import SAVED_MODEL
from scipy.special import softmax
from transformers import AutoProcessor, DistilBertConfig, RobertaConfig, RobertaTokenizer

from semart_hf.cli.export import main
from semart_hf.evaluation.predictions import agreement, predict_dataset
from semart_hf.evaluation.vocabularies import load_split
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.pipeline_semart import save_repository
from semart_hf.model.processing_semart import SemArtProcessor
from semart_hf.publishing import onnx_export
from semart_hf.publishing.repositories import assemble_repository

CHECKOUT = Path(__file__).resolve().parents[2]
ONNX = ("onnx", "onnxscript", "onnxruntime")
TOWERS = {"pretrained": False, "image_size": 32, "fusion_dim": 16}


def test_what_is_missing_is_named(saved_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"Got no .*\. Install it: pip install 'semart"):
        onnx_export.export_onnx(*saved_model, tmp_path)


def test_a_difference_is_found(saved_model):
    model, _ = saved_model

    def run(inputs):
        with torch.no_grad():
            output = model(**inputs)
        answers = [values.numpy() for values in (*output.logits.values(), output.text_features)]
        answers[2][0, 0] += 3e-4
        return answers

    assert onnx_export.largest_difference(model, "text", run) == pytest.approx(3e-4, abs=rounding(1024))
    assert np.isnan(onnx_export.largest_difference(model, "text", lambda inputs: [x * np.nan for x in run(inputs)]))


def test_the_graphs_answer_as_the_model_for_every_size_and_modality(saved_model, tmp_path, capsys):
    for name in ONNX:
        pytest.importorskip(name)
    processor = saved_model[1]
    tasks = [{"name": "type", "labels": ["landscape", "portrait"]}]
    tasks += [{"name": "medium", "labels": ["canvas", "wall"], "kind": "multi_label"}]
    num_tokens = len(processor.tokenizer)
    text = DistilBertConfig(dim=32, n_layers=1, n_heads=4, hidden_dim=64, vocab_size=num_tokens)
    torch.manual_seed(0)
    fields = {**TOWERS, "vision_pooling": "stages", "text_pooling": "mean", "text_lexicon": True}
    fields |= {"probe_share": 0.5, "network_image_size": 24, "trainable_text_layers": 0}
    model = SemArtForArtClassification.from_towers("test_resnet", text, tasks, **fields).eval()
    for lexicon in (model.lexicon, model.probe.lexicon):
        lexicon.learn_idf([range(5, num_tokens), range(5, 10)], [0])
        torch.nn.init.normal_(lexicon.weight)
    save_repository(model, processor, tmp_path / "model")
    main(["--model", str(tmp_path / "model"), "--output", str(tmp_path / "graphs")])
    description = json.loads((tmp_path / "graphs" / "onnx.json").read_text())
    assert description["outputs"] == model.config.task_names
    assert type(model.config).from_pretrained(tmp_path / "graphs").tasks == model.config.tasks
    assert set(description["graphs"]) == {"image_text", "image", "text"}
    pictures = [np.full((40, 40, 3), 30 * row, dtype=np.uint8) for row in range(7)]
    texts = ["a view of delft " * (row + 1) for row in range(7)]
    loaded = AutoProcessor.from_pretrained(tmp_path / "graphs")
    given = {"image_text": (pictures, texts), "image": (pictures, None), "text": (None, texts)}
    for name, (images, words) in given.items():
        graph = description["graphs"][name]
        assert graph["max_difference"] < 1e-4
        run = onnx_export.open_graph(tmp_path / "graphs" / graph["file"])
        inputs = dict(loaded(images=images, text=words))
        assert sorted(inputs) == sorted(graph["inputs"])
        with torch.no_grad():
            expected = list(model(**inputs).logits.values())
            pixels, tokens = inputs.get("pixel_values"), (inputs.get("input_ids"), inputs.get("attention_mask"))
            expected += [] if pixels is None else [model.get_image_features(pixels)]
            expected += [] if tokens[0] is None else [model.get_text_features(*tokens)]
        for values, answer in zip(expected, run(inputs), strict=True):
            np.testing.assert_allclose(answer, values.numpy(), atol=1e-4)
    assert "image_text" in capsys.readouterr().out
    with torch.no_grad():
        model.probe.lexicon.weight.zero_()
    assert onnx_export.largest_difference(model, "text", run) > 0.1


def test_int8_graphs_are_compared_with_the_model_and_published_with_it(saved_model, small_release, tmp_path, capsys):
    onnx, *_ = (pytest.importorskip(name) for name in ONNX)
    (model, processor), graphs = saved_model, tmp_path / "graphs"
    words = ["--model", str(SAVED_MODEL), "--output", str(graphs), "--precision", "int8", "--data", str(small_release)]
    with pytest.raises(SystemExit):
        main([*words[:-2], "--split", "val"])
    assert "got --split without --data, which has no effect" in capsys.readouterr().err
    main(words)
    assert "same answers" in capsys.readouterr().out
    description = json.loads((graphs / "onnx.json").read_text())
    for name, graph in description["graphs"].items():
        kinds = Counter(node.op_type for node in onnx.load(graphs / graph["file"]).graph.node)
        num_layers = model.config.text_config.num_hidden_layers  # of the last, keys and values are of no layer's own
        assert kinds["MatMulInteger"] == (6 * num_layers - 2) * ("text" in name)
        assert graph["agreement"]["same_answers"] >= 0.95
        assert graph["agreement"]["confidence_difference"] < 0.01
        assert str(CHECKOUT).encode() not in (graphs / graph["file"]).read_bytes()
    paintings = load_split(SAVED_MODEL, small_release, "test", model.config.tasks, common_labels=True)
    has_text = [bool(text) for text in paintings["text"]]
    assert description["graphs"]["text"]["agreement"]["rows"] == sum(has_text) < len(has_text)

    def contrary(inputs):
        with torch.inference_mode():
            return [-values for values in model(**inputs).logits.values()]

    found = agreement(model, processor, paintings, contrary, ["text"])
    logits = predict_dataset(model, processor, paintings, modality="text").logits
    apart = [
        abs(np.subtract(*(softmax(sign * values[has_text], axis=1).max(1).mean() for sign in (1, -1))))
        for values in logits.values()
    ]
    assert found == {"rows": sum(has_text), "same_answers": 0, "confidence_difference": pytest.approx(max(apart))}
    without_text = paintings.remove_columns("text").add_column("text", [None] * len(paintings))
    assert agreement(model, processor, without_text, contrary, ["text"]) == {}

    page = (assemble_repository(model, processor, tmp_path / "hub", "anna/x", onnx=graphs) / "README.md").read_text()
    assert "linear layers in 8-bit integers" in page
    assert f"| text | {sum(has_text)} |" in page
    assert {path.name for path in (tmp_path / "hub" / "onnx").iterdir()} == {
        *map("{}.onnx".format, description["graphs"]),
        "onnx.json",
    }
    other = copy.deepcopy(model)
    torch.nn.init.zeros_(other.absent_text)
    with pytest.raises(ValueError, match=r"no graphs of this model\. Export it again"):
        assemble_repository(other, processor, tmp_path / "hub", "anna/x", onnx=graphs)


def test_a_tower_of_another_family_is_exported_and_answers_with_its_tokenizer(saved_model, tmp_path):
    for name in ONNX:
        pytest.importorskip(name)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = {piece: number for number, piece in enumerate([*special, *"adefhiltvw", "Ġ"])}
    tokenizer = RobertaTokenizer(vocab=vocabulary, merges=[], model_max_length=30)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    text = RobertaConfig(vocab_size=len(tokenizer), **sizes, max_position_embeddings=32, type_vocab_size=1)
    torch.manual_seed(0)
    tasks = [{"name": "type", "labels": ["landscape", "portrait"]}]
    model = SemArtForArtClassification.from_towers("test_resnet", text, tasks, **TOWERS).eval()
    SemArtProcessor(saved_model[1].image_processor, tokenizer).save_pretrained(tmp_path)
    onnx_export.write_graph(model, "text", tmp_path / "text.onnx")
    run = onnx_export.open_graph(tmp_path / "text.onnx")
    assert onnx_export.largest_difference(model, "text", run) < 1e-4
    inputs = dict(AutoProcessor.from_pretrained(tmp_path)(text=["a view", "a tale of the field", "the evil"]))
    with torch.no_grad():
        expected = model(**inputs).logits["type"]
        alone = model(**dict(AutoProcessor.from_pretrained(tmp_path)(text=["a view"]))).logits["type"]
    np.testing.assert_allclose(run(inputs)[0], expected.numpy(), atol=1e-4)
    np.testing.assert_allclose(expected[:1].numpy(), alone.numpy(), atol=1e-4)  # padding counts nothing


def test_nothing_but_an_earlier_export_is_replaced(saved_model, tmp_path):
    pytest.importorskip("onnx")
    (tmp_path / "results.json").write_text("mine")
    with pytest.raises(ValueError, match=r"which holds results\.json\. Only an earlier export"):
        onnx_export.export_onnx(*saved_model, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    with pytest.raises(SystemExit, match="Only an earlier export is replaced"):
        main(["--model", str(SAVED_MODEL), "--output", str(SAVED_MODEL)])
