"""A model as ONNX graphs, which run without torch: one for picture and text, one for each alone."""

import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn

from semart_hf.evaluation.predictions import agreement
from semart_hf.extras import optional
from semart_hf.files import output_folder, write_json
from semart_hf.model.loading_semart import digest_of_weights
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtProcessor
from semart_hf.model.techniques_semart import evaluation_mode
from semart_hf.model.towers_semart import most_text_tokens

#: By name of each graph, and of its file, what it gives after the tasks' logits.
FEATURES = {name: [f"{part}_features" for part in name.split("_")] for name in ("image_text", "image", "text")}
TOLERANCE = 1e-4  # of a logit, or a feature
_OWN_FILES = ("*.onnx", "*.onnx.data", "onnx.json", "config.json", "processor_config.json", "tokenizer*.json")

Run = Callable[[Mapping[str, Tensor]], list[Any]]


class _Answers(nn.Module):
    def __init__(self, model: SemArtForArtClassification, name: str) -> None:
        super().__init__()
        self.model, self.features = model, FEATURES[name]

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        output = self.model(**inputs)
        return (*output.logits.values(), *(output[name] for name in self.features))


def export_onnx(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    folder: Path,
    *,
    int8: bool = False,
    paintings: Dataset | None = None,
) -> dict[str, Any]:
    """What onnx.json says of a float32 model's graphs in a folder, which also gets the processor and config.json.

    With `int8`, weights of linear layers are 8-bit integers. On `paintings`, answers of graphs and model are compared.
    """
    for library in ("onnx", "onnxscript", "onnxruntime"):
        optional(library, "onnx")
    graphs: dict[str, Any] = {}
    with evaluation_mode(model), output_folder(folder, _OWN_FILES, "export") as unfinished:
        for name, features in FEATURES.items():
            path = unfinished / f"{name}.onnx"
            inputs = write_graph(model, name, path)
            difference = largest_difference(model, name, open_graph(path))
            if not difference <= TOLERANCE:
                apart = f"by up to {difference:.2g}. Allowed are {TOLERANCE:g}"
                raise ValueError(f"The graph {path.name} answers otherwise than the model, {apart}. Load float32.")
            about = {"file": path.name, "inputs": inputs, "features": features, "max_difference": difference}
            if int8:
                quantize(path)
                about["max_difference"] = largest_difference(model, name, open_graph(path))
            if paintings is not None:
                about["agreement"] = agreement(model, processor, paintings, open_graph(path), name.split("_"))
            graphs[name] = about
        model.config.save_pretrained(unfinished)
        processor.save_pretrained(unfinished)
        about = {"precision": "int8" if int8 else "fp32", "weights": digest_of_weights(model)}
        description = {"outputs": model.config.task_names, **about, "graphs": graphs}
        write_json(unfinished / "onnx.json", description)
    return description


def write_graph(model: SemArtForArtClassification, name: str, path: Path) -> list[str]:
    """Write one graph, with any batch size and any text length that the text tower takes, and give its inputs."""
    inputs = make_inputs(model, name, batch=3, tokens=16)
    axes = {key: {0: "batch"} if key == "pixel_values" else {0: "batch", 1: "tokens"} for key in inputs}
    with warnings.catch_warnings():
        # Two axes that are always equal get one name: that is what is meant.
        warnings.filterwarnings("ignore", message=".*The axis name.*")
        names: dict[str, Any] = {"input_names": [*inputs], "output_names": [*model.config.task_names, *FEATURES[name]]}
        settings: dict[str, Any] = {"dynamo": True, "dynamic_shapes": {"inputs": axes}, "verbose": False}
        program = torch.onnx.export(_Answers(model, name).eval(), (), kwargs=inputs, **names, **settings)
    for node in program.model.graph.all_nodes():  # type: ignore[union-attr]  # `None` is the older exporter's answer
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)  # which names folders of this machine
    program.save(str(path))  # type: ignore[union-attr]
    return list(inputs)


def open_graph(path: Path) -> Run:
    """A function from inputs to arrays, one a task in their order and then the features."""
    runtime = optional("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, {name: value.numpy() for name, value in inputs.items()})


def largest_difference(model: SemArtForArtClassification, name: str, run: Run) -> float:
    """The largest difference of a logit or feature between graph and model, over several sizes of batch and text."""
    differences = []
    for batch, tokens in ((1, 8), (5, 24), (2, 1)):
        inputs = make_inputs(model, name, batch, tokens)
        with torch.inference_mode():
            expected = _Answers(model, name)(**inputs)
        for values, answer in zip(expected, run(inputs), strict=True):
            differences.append((values - torch.from_numpy(answer)).abs().max())
    return float(torch.stack(differences).max())


def quantize(path: Path) -> None:
    """Make the weights of the towers' linear layers 8-bit integers.

    Convolutions would be slower so, and projections and heads, which cost nothing, less exact.
    """
    onnx, quantization = optional("onnx", "onnx"), optional("onnxruntime.quantization", "onnx")
    model = onnx.load(path)
    scopes = {
        node.name: [item.value for item in node.metadata_props if item.key == "pkg.torch.onnx.name_scopes"]
        for node in model.graph.node
    }
    del model.graph.value_info[:]  # shapes of weights that older versions of onnxruntime transpose in their place
    others = [name for name, found in scopes.items() if "_tower" not in "".join(found)]
    others += [f"{name}_MatMul" for name in others]  # what a Gemm becomes
    logging.disable(logging.WARNING)  # it recommends a preparation that only static quantisation needs
    try:
        quantization.quantize_dynamic(
            model,
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=quantization.QuantType.QUInt8,  # signed ones overflow on a CPU without VNNI
            nodes_to_exclude=others,
        )
    finally:
        logging.disable(logging.NOTSET)


def make_inputs(model: SemArtForArtClassification, name: str, batch: int, tokens: int) -> dict[str, Tensor]:
    """Inputs of a graph: noise and arbitrary tokens, the first row's text half as long as the others'."""
    text, size = model.config.text_config, model.config.vision_config.pretrained_cfg["input_size"]
    generator = torch.Generator().manual_seed(batch * 1000 + tokens)
    tokens = min(tokens, most_text_tokens(text))
    inputs = {}
    if "image" in name:
        inputs["pixel_values"] = torch.randn(batch, *size, generator=generator)
    if "text" in name:
        inputs["input_ids"] = torch.randint(0, text.vocab_size, (batch, tokens), generator=generator)
        inputs["attention_mask"] = torch.ones(batch, tokens, dtype=torch.long)
        inputs["attention_mask"][0, max(1, tokens // 2) :] = 0
    return inputs
