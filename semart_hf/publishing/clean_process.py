"""Run by `check.py` in a process without the package: reads an order from standard input, answers on the output."""

import contextlib
import json
import sys
import traceback
from typing import Any


def load_parts(order: dict[str, Any]) -> dict[str, Any]:
    """What was loaded of `source`, and its `answers` to `paintings`; or the first part that `failed`, and how."""
    import transformers

    source, options = order["source"], {"trust_remote_code": True, "revision": order.get("revision") or "main"}
    result: dict[str, Any] = {"classes": {}}
    part = "config"
    try:
        for name in ("Config", "Model", "Tokenizer", "ImageProcessor", "Processor"):
            part = "image processor" if name == "ImageProcessor" else name.lower()
            loaded = getattr(transformers, f"Auto{name}").from_pretrained(source, **options)
            result["classes"][part] = type(loaded).__name__
        part = "pipeline"
        # Scores are compared with those of another process to five digits.
        classify = transformers.pipeline("art-classification", model=source, device="cpu", precision="fp32", **options)
        result["classes"][part] = type(classify).__name__
        part = "scores"
        result["answers"] = classify(order["paintings"], top_k=None)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other process shows it
        return {"failed": part, "error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    return result


if __name__ == "__main__":
    sys.modules["semart_hf"] = None  # type: ignore[assignment]  # as if it were not installed
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # libraries print too
        answer = load_parts(json.load(sys.stdin))
    print(json.dumps(answer), file=answers)
