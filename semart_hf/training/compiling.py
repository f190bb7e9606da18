"""Compiling the parts of a model whose inputs keep their form."""

from accelerate import Accelerator
from accelerate.utils import DynamoBackend

from semart_hf.model.modeling_semart import SemArtForArtClassification


def compile_towers(model: SemArtForArtClassification, accelerator: Accelerator) -> None:
    """Compile the vision tower and each layer of the text tower in place, where the accelerator would compile it all.

    The forward as a whole chooses the rows that have a picture or a text, which splits its graph and compiles it again
    for other numbers of them. A tower alone is compiled once, and once more for any number of rows.

    Args:
        model: The model; names of its parameters stay.
        accelerator: Says how to compile; it then compiles nothing itself.
    """
    plugin = accelerator.state.dynamo_plugin
    if plugin.backend == DynamoBackend.NO:
        return
    # The plugin's own choice is never: a graph for every number of rows.
    how = {**plugin.to_kwargs(), "dynamic": None}
    for part in (model.vision_tower, *model.text_tower.transformer.layer):
        part.compile(**how)
    plugin.backend = DynamoBackend.NO
