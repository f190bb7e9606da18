"""What a batch of the model's inputs may hold."""

from collections.abc import Sequence

from torch import Tensor


def check_text_forms(input_ids: Tensor | None, text_hidden: Tensor | None, *, reads_tokens: bool) -> None:
    """Refuse texts in two forms, or in one that the model cannot read.

    Args:
        input_ids: Token ids `(batch, tokens)`.
        text_hidden: Hidden states `(batch, tokens, dim)` in their place.
        reads_tokens: Whether the model has a lexicon, which reads the tokens beside hidden states.

    Raises:
        ValueError: If the form is not the model's.
    """
    if text_hidden is not None and input_ids is not None and not reads_tokens:
        raise ValueError("Got input_ids and text_hidden, but a text has one form. Leave one of the two out.")
    if text_hidden is not None and input_ids is None and reads_tokens:
        raise ValueError("Got text_hidden alone, but this model's lexicon reads the tokens. Give input_ids too.")


def check_inputs(
    pixel_values: Tensor | None, texts: Tensor | None, labels: Tensor | None, task_names: Sequence[str]
) -> int:
    """Number of rows of a batch.

    Args:
        pixel_values: Pictures `(batch, 3, height, width)`.
        texts: Token ids or hidden states `(batch, tokens, …)`.
        labels: `(batch, num_tasks)`.
        task_names: The model's.

    Raises:
        ValueError: If there are neither pictures nor texts, or numbers of rows or tasks disagree.
    """
    if pixel_values is None and texts is None:
        raise ValueError(
            "The batch has neither pixel_values nor input_ids: give pictures, texts or both, for example "
            "model(**processor(images=picture, text='A view of Delft'))."
        )
    sizes = {
        name: len(tensor)
        for name, tensor in (("pixel_values", pixel_values), ("input_ids", texts), ("labels", labels))
        if tensor is not None
    }
    if len(set(sizes.values())) != 1:
        raise ValueError(f"The inputs have different numbers of rows: {sizes}. Give one row a painting in each.")
    if labels is not None and labels.shape[1:] != (len(task_names),):
        raise ValueError(
            f"labels has shape {tuple(labels.shape)}, but it must be (batch, {len(task_names)}): one "
            f"column for each of {list(task_names)}, −100 where the label is unknown."
        )
    return next(iter(sizes.values()))
