import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from semart_hf.cli.__main__ import COMMANDS, main
from semart_hf.cli.command import command, print_table
from semart_hf.documents.table import Table

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPTS = {"train": "train", "evaluate": "evaluate_model", "predict": "predict", "prepare": "prepare_data"}
SCRIPTS |= {"compare": "compare_towers", "push": "push_to_hub", "export": "export_onnx", "app": "app"}
HEAVY = {"numpy", "torch", "transformers", "timm", "datasets", "pandas", "sklearn", "matplotlib", "PIL", "gradio"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *((name, ["-m", "semart_hf.cli", name]) for name in COMMANDS),
        *((name, ["-m", f"semart_hf.cli.{name}"]) for name in ("train", "evaluate", "predict", "index", "prepare")),
        ("predict", ["scripts/predict.py"]),  # the others differ in the name alone, as is checked below
    ],
)
def test_help_of_every_command_imports_nothing_heavy(name, words):
    command, env = [sys.executable, "-X", "importtime", *words, "--help"], {**os.environ, "PYTHONIOENCODING": "latin1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=CHECKOUT, env=env)
    modules = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert done.stdout.startswith(f"usage: semart-hf {name} ")
    if name == "train":
        assert {"--vision", "--image_dropout", "--min_label_count", "--learning_rate,"} <= {*done.stdout.split()}
    assert not modules & HEAVY  # numpy and torch read the number of threads, which a command sets first


def test_an_answer_needs_neither_tables_nor_what_trains_and_evaluates(model, tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "delft.png")
    (tmp_path / "delft.txt").write_text("a view of delft", encoding="utf-8")
    words = ["-m", "semart_hf.cli.predict", "--model", str(model), "--input", str(tmp_path), "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words], capture_output=True, text=True, check=True, cwd=CHECKOUT
    )
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "delft.png" in done.stdout
    assert "torch" in modules  # as the lines are read
    assert not modules & (
        HEAVY - {"numpy", "torch", "transformers", "timm", "PIL"} | {"pyarrow", "evaluate", "scipy.stats"}
    )
    rooms = {module.split(".")[1] for module in modules if module.startswith("semart_hf.")}
    assert rooms == {"catalogue", "cli", "documents", "files", "memory", "model"}
    assert {module for module in modules if module.startswith("semart_hf.documents.")} == {"semart_hf.documents.table"}


def test_the_console_command_names_the_others(capsys):
    main([])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]] == list(COMMANDS)
    with pytest.raises(SystemExit, match=r"Got the command 'tarin'\. Allowed are train, .*\. Name one"):
        main(["tarin"])
    for name, script in SCRIPTS.items():
        program = 'if __name__ == "__main__":\n    run_command(main)\n'
        source = (CHECKOUT / "scripts" / f"{script}.py").read_text(encoding="utf-8")
        assert f"from semart_hf.cli.{name} import main\n" in source
        assert source.rpartition("\n\n")[2] == program


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("Got 3. Allowed is 2. Give 2."), r"^semart-hf weigh: Got 3\. Allowed is 2\. Give 2\.$"),
        (TypeError("Got an int. Allowed are texts. Give one."), "^semart-hf weigh: Got an int"),
        (FileNotFoundError(2, "No such file", "x"), "^semart-hf weigh: .*No such file: 'x'$"),
        (PermissionError(13, "Permission denied", "x"), r"denied: 'x'\. Allow this user .* give another place .*\.$"),
        (KeyboardInterrupt(), "^semart-hf weigh: interrupted$"),
        (TypeError("unsupported operand"), None),
    ],
)
def test_what_a_user_can_put_right_ends_with_a_sentence_and_a_fault_keeps_its_traceback(error, message):
    @command("weigh")
    def weigh(arguments):
        raise error

    with pytest.raises(SystemExit if message else type(error), match=message):
        weigh([])


def test_a_table_shows_names_as_they_are(capsys):
    print_table(Table(("painting", "rows"), [("[red]a[/red]", 7), ("b", "12")], "Two [bold]", total=("all", "19")))
    shown = capsys.readouterr().out
    assert all(words in shown for words in ("Two [bold]", "│ [red]a[/red] │    7 │", "│ all          │   19 │"))
    print_table(Table(("painting",), [("a",)]))
    assert "├" not in capsys.readouterr().out  # no total, no line above it


@pytest.mark.parametrize("thread", ["", "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()"])
def test_a_command_that_ends_at_once_has_written_everything(thread, tmp_path):
    program = f"""
import atexit, sys, tempfile, threading, time
sys.orig_argv += ["semart_hf.cli"]
from semart_hf.cli.command import run_command
folder = tempfile.TemporaryDirectory(dir={str(tmp_path)!r})
atexit.register(print, "at exit")
class Late:
    def __del__(self): print("taken apart")
late = Late()
def main():
    {thread}
    print("x" * 100_000)
run_command(main)
"""
    words = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert words[0] == "x" * 100_000
    assert " ".join(words[1:]) == ("thread at exit taken apart" if thread else "at exit")
    assert not [*tmp_path.iterdir()]


def test_a_program_that_runs_a_script_within_itself_goes_on():
    program = "import runpy, sys; sys.argv[:] = ['scripts/train.py']; "  # without a recipe it prints its help
    program += "runpy.run_path(sys.argv[0], run_name='__main__'); print('on')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout.endswith("\non\n")
