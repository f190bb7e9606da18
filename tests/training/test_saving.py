import pytest
import timm.utils
import torch
from rounding import rounding
from small_trainer import STEPS_ALONE, losses_of, make_model, make_trainer
from torch import nn

from semart_hf.model.pipeline_semart import ArtClassificationPipeline


def state_of(model):
    state = {"attention": model.text_tower.config._attn_implementation}
    for name, module in model.named_modules():
        hooks = [len(module._forward_pre_hooks), len(module._forward_hooks)]
        state[name] = [type(module), module.training, getattr(module, "fused_attn", None), hooks, sorted(vars(module))]
    for name, parameter in model.named_parameters():
        state[f"{name} as tensor"] = [parameter.stride(), parameter.requires_grad, parameter.dtype]
    return state


VIT = [("test_vit", *case) for case in (("fp32", False), ("bf16", False), ("bf16", True))]


@pytest.mark.parametrize(("vision", "precision", "has_amx"), [*VIT, ("test_efficientnet", "bf16", False)])
def test_a_run_that_saves_at_every_step_is_one_that_does_not(parts, tmp_path, pretend_cpu, vision, precision, has_amx):
    pretend_cpu(amx_tile=has_amx, avx512_bf16=True)
    losses, weights = [], []
    for strategy in ("no", "steps"):
        often = {"save_strategy": strategy, "eval_strategy": strategy, "save_steps": 1, "eval_steps": 1}
        model = make_model(parts, vision=vision)
        options = {**STEPS_ALONE, **often, "max_steps": 4, "logging_steps": 1, "precision": precision}
        trainer = make_trainer(parts, tmp_path / strategy, model, **options)
        states, saving = [], trainer.save_model

        def save(*args, trainer=trainer, states=states, saving=saving, **kwargs):
            before = state_of(trainer.model)
            saving(*args, **kwargs)
            states.append((before, state_of(trainer.model)))

        trainer.save_model = save
        kinds = [type(module) for module in model.modules()]
        losses.append(losses_of(trainer))
        assert [type(module) for module in model.modules()] == kinds
        for state, later in states:
            assert {name: later[name] for name in state if later[name] != state[name]} == {}
        assert len(states) == (4 if strategy == "steps" else 0)
        weights.append(model.state_dict())
    assert len(losses[0]) == 4
    assert losses[0] == losses[1]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("vision", ["test_vit", "test_resnet"])
def test_a_pipeline_leaves_its_model_as_it_was(parts, multiplies_in_bf16, vision):
    model = make_model(parts, vision=vision)
    trainer = make_trainer(parts, "unused", model=model)
    before = state_of(model)
    pipeline = ArtClassificationPipeline(model=model, processor=trainer.processing_class, device="cpu")
    answers = pipeline([{"text": "a view"}, {"text": "a saint"}], batch_size=2)
    assert len(answers) == 2
    assert state_of(model) == before


def freeze(model):
    timm.utils.freeze(model.vision_tower.timm_model, ["layer1", "layer2", "layer3", "layer4"])
    return model


@pytest.mark.parametrize("change", [nn.SyncBatchNorm.convert_sync_batchnorm, freeze])
def test_replacing_norms_after_pipeline_and_trainer_changes_no_answer(parts, tmp_path, change):
    model = make_model(parts)
    trainer = make_trainer(parts, tmp_path, model, max_steps=1, **STEPS_ALONE)
    trainer.train()
    ArtClassificationPipeline(model=model, processor=trainer.processing_class, device="cpu")({"text": "a view"})
    pixels = torch.randn(8, 3, 64, 64)
    with torch.no_grad():
        expected = model.eval()(pixel_values=pixels).logits
        found = change(model).eval()(pixel_values=pixels).logits
    for task in expected:
        # 30 layers of at most 1,024 terms.
        torch.testing.assert_close(found[task], expected[task], rtol=0, atol=rounding(1024, layers=30))
