"""A cluster that wants its machine back sends SIGTERM: training saves itself and ends with a status of its own."""

import ctypes
import signal
import sys
import threading
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

#: Exit status of a training that saved itself and can go on: EX_TEMPFAIL of sysexits.h, "try again later".
PREEMPTED_STATUS = 75
# Processes agree on stopping only every so many steps: to ask each other costs more than a small step itself.
STEPS_BETWEEN_AGREEMENTS = 8


class PreemptionCallback(TrainerCallback):
    """Ends training with a checkpoint at the next step after SIGTERM, in all processes at the same step."""

    def __init__(self) -> None:
        self.is_asked = False
        self.is_agreed = False
        self._previous: Any = None

    def on_train_begin(self, *_: Any, **kwargs: Any) -> None:
        """Listen to the signal, where Python lets it: in the main thread."""
        if self._previous is None and threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, lambda *_: setattr(self, "is_asked", True))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Ask for a checkpoint if the signal came to any process."""
        self.is_agreed = self.is_asked
        if args.world_size > 1:
            self.is_agreed = False
            if state.global_step % STEPS_BETWEEN_AGREEMENTS == 0:
                is_asked = torch.tensor(float(self.is_asked), device=args.device)
                torch.distributed.all_reduce(is_asked, op=torch.distributed.ReduceOp.MAX)
                self.is_agreed = bool(is_asked)
        control.should_save |= self.is_agreed

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: Any, **kwargs: Any) -> None:
        """End the process with `PREEMPTED_STATUS` if the checkpoint was written for the signal's sake."""
        if self.is_agreed:
            if state.is_world_process_zero:
                message = "the checkpoint is written. The same command continues from it."
                print(f"SIGTERM at step {state.global_step}: {message}", file=sys.stderr)
            raise SystemExit(PREEMPTED_STATUS)

    def stop_listening(self) -> None:
        """Leave the signal to whoever listened before."""
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
            self._previous = None


def end_with_parent() -> None:
    """Let Linux send this process SIGTERM when its parent ends; other systems have no such call.

    `accelerate launch` does not pass on the SIGTERM that it gets: the training would go on without it.
    """
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
        ctypes.CDLL(None).prctl(set_parent_death_signal, int(signal.SIGTERM))
