"""Run by `check.py` in a process of its own: loads a repository as people do who never installed the package.

It reads an order from standard input and answers on standard output. It stops at the first part that does not load.
The package cannot be imported in it, and its cache is fresh.
"""

import contextlib
import importlib.abc
import io
import json
import re
import sys
import traceback
from typing import Any


class _NotInstalled(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname.partition(".")[0] == "semart_hf":
            raise ModuleNotFoundError("No module named 'semart_hf'", name=fullname)


def load_parts(order: dict[str, Any]) -> dict[str, Any]:
    """`classes` that were loaded, `answers` and `printed`; or `failed`, the part's name, with `error` and `traceback`.

    Args:
        order: `source` (folder or repository) and `paintings` for the pipeline; if wanted, its `revision`, and `code`
            of the card to run.
    """
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
        part = "example"
        result["printed"] = run_example(order.get("code", ""))
    except Exception as error:  # noqa: BLE001 - whatever it is, the other process shows it
        return {"failed": part, "error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    return result


def run_example(code: str) -> str:
    """What the code prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    return re.sub(r"[ \t]+$", "", printed.getvalue(), flags=re.MULTILINE)


if __name__ == "__main__":
    sys.meta_path.insert(0, _NotInstalled())
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # libraries print too
        answer = load_parts(json.load(sys.stdin))
    print(json.dumps(answer), file=answers)
