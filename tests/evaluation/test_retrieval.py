import copy
import json

import numpy as np
import pytest
import torch

from semart_hf.documents.evaluation_report import write_evaluation_report
from semart_hf.documents.result_tables import retrieval_table
from semart_hf.evaluation import retrieval
from semart_hf.evaluation.results import write_evaluation
from semart_hf.evaluation.retrieval import WAYS, retrieval_scores
from semart_hf.model.pipeline_semart import ArtClassificationPipeline


def unit(rows, seed):
    vectors = np.random.default_rng(seed).normal(size=(rows, 6)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def by_hand(queries, candidates, groups):
    ranks = []
    for row, query in enumerate(queries):
        own = float(query @ candidates[row])
        others = [c for c in range(len(groups)) if groups[c] != groups[row]]
        ranks.append(1 + sum(float(query @ candidates[other]) > own for other in others))
    return np.array(ranks)


def test_scores_are_those_of_a_hand_computation_in_blocks_of_any_size(monkeypatch):
    image, text = unit(40, 0), unit(40, 1)
    text = text + image
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    texts = [f"text {row}" for row in range(40)]
    texts[7], texts[12], groups = "The same  text", "the same text", [*range(40)]
    groups[12] = 7
    found = retrieval_scores(image, text, texts)
    for way, queries, candidates in (("text_to_image", text, image), ("image_to_text", image, text)):
        ranks = by_hand(queries, candidates, groups)
        assert 1 < np.median(ranks) < 20
        for depth in (1, 5, 10):
            assert found[way][f"recall_at_{depth}"] == pytest.approx((ranks <= depth).mean())
        assert found[way]["median_rank"] == np.median(ranks)
        chance = found[way]["chance"]
        assert chance["recall_at_5"] == pytest.approx((38 * 5 / 40 + 2 * 5 / 39) / 40)
        draws = np.random.default_rng(5).integers(40, size=(4000, 40))
        drawn = {"recall_at_5": (ranks <= 5)[draws].mean(1), "median_rank": np.median(ranks[draws], 1)}
        for name, values in drawn.items():
            low, high = np.percentile(values, [2.5, 97.5])
            assert found[way]["intervals"][name] == pytest.approx([low, high], abs=1 if "rank" in name else 0.03)
    assert found["num_rows"] == 40
    assert found["published"]["text_to_image"] == {"recall_at_10": 0.455}
    json.dumps(found)
    monkeypatch.setattr(retrieval, "_BLOCK", 3 * 40)
    assert retrieval_scores(image, text, texts) == found


def test_equal_similarities_count_as_an_order_of_chance_and_rows_without_both_are_left_out():
    same = np.tile(unit(1, 0), (20, 1))
    texts = [f"text {row}" for row in range(20)]
    found = retrieval_scores(same, same, texts)
    for way in WAYS:
        assert {name: found[way][name] for name in found[way]["chance"]} == pytest.approx(found[way]["chance"])
        assert found[way]["median_rank"] == 10.5
    same[4:] = unit(16, 1)
    same[10], text = 0, same.copy()
    ceilings = {way: {"recall_at_1": 0.9} for way in WAYS}
    found = retrieval_scores(same, text, [*texts[:10], None, *texts[11:]], ceilings=ceilings)
    assert found["num_rows"] == 19
    assert found["text_to_image"]["recall_at_1"] == pytest.approx((15 + 4 / 4) / 19)
    assert found["text_to_image"]["ceiling"] == {"recall_at_1": 0.9}
    assert "published" not in found


def test_a_contrastive_models_evaluation_and_documents_have_it(tiny_model, tiny_processor, paintings, tmp_path):
    model = copy.deepcopy(tiny_model)
    model.config.contrastive, model.logit_scale = True, torch.nn.Parameter(torch.ones(1))
    about = {"model": "model", "data": "data", "split": "test"}
    options = {"about": about, "batch_size": 4, "device": "cpu", "precision": "fp32"}
    results, outcomes, _ = write_evaluation(tmp_path, model, tiny_processor, paintings, **options)
    classify = ArtClassificationPipeline(model=model, processor=tiny_processor, device="cpu", precision="fp32")
    vectors = classify.embed(paintings.select_columns(["image", "text"]), batch_size=4)
    is_whole = vectors["image"].any(1) & vectors["text"].any(1)
    sides = (vectors["image"], vectors["text"], np.array(paintings["text"]))
    expected = retrieval_scores(*(side[is_whole] for side in sides))
    assert json.loads((tmp_path / "results.json").read_text())["retrieval"] == expected
    assert results["retrieval"]["num_rows"] == 8
    rows = [[str(cell) for cell in row] for row in retrieval_table(results["retrieval"]).rows]
    assert [row[0] for row in rows[:3]] == ["a picture by its text", "– by chance", "– best published, on SemArt"]
    assert rows[2][1:] == ["–", "–", "45.5", "–"]
    page = write_evaluation_report(tmp_path, results, outcomes, paintings).read_text()
    assert '<h2 id="search">' in page
    assert "among 8 paintings" in page
    plain, *_ = write_evaluation(tmp_path, tiny_model, tiny_processor, paintings, about=about, device="cpu")
    assert "retrieval" not in plain
