"""A Trainer whose every save and push is a whole repository, which a stranger can load."""

from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo
from transformers import Trainer
from transformers.trainer_utils import HubStrategy
from transformers.utils import PushInProgress

from semart_hf.model.pipeline_semart import save_repository

from .arguments import SemArtTrainingArguments
from .pushing import start_push


class PublishingTrainer(Trainer):
    """Saves models with processor, code and pipeline, and pushes each save as one commit."""

    args: SemArtTrainingArguments
    push_in_progress: PushInProgress | None = None

    @property
    def output_dir(self) -> Path:
        """Where the run writes."""
        return Path(self.args.output_dir or ".")

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Write a folder that loads by itself: weights, processor, and the code of model, processor and pipeline.

        The library's own version leaves out the pipeline, and adds a pickle of the arguments with the Hub's token.
        """
        if not self.args.should_save:
            return
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        save_repository(model, self.processing_class, output_dir or self.output_dir, state_dict=state_dict)

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **card: Any,
    ) -> Any:
        """The commit of the model as it is now, its code, and a card if it has none; `None` on ranks but the first.

        Args:
            commit_message: The commit's.
            blocking: Whether to wait for it; otherwise a future is given.
            token: The user's; `None`: `hub_token`, or the one that is logged in.
            revision: The branch; `None`: `hub_revision`, or main.
            private: Whether a new repository is private; `None`: `hub_private_repo`.
            **card: Further arguments of `create_model_card`.
        """
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        if not (self.output_dir / "README.md").exists():
            self.create_model_card(**{"model_name": self.hub_model_id.split("/")[-1], **card})
        self._finish_current_push()
        push = start_push(
            self.output_dir,
            self.hub_model_id,
            commit_message or "End of training",
            workspace=self.output_dir,
            token=token or self.args.hub_token,
            revision=revision or self.args.hub_revision,
        )
        return push.result() if blocking else push

    def push_folder(self, folder: Path, commit_message: str = "End of training") -> CommitInfo:
        """The commit of every file of a folder, such as an assembled repository; for the first process alone.

        Args:
            folder: Holds a model.
            commit_message: The commit's.
        """
        self._finish_current_push()
        push = start_push(
            folder,
            self.hub_model_id,
            commit_message,
            workspace=self.output_dir,
            names=sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()),
            token=self.args.hub_token,
            revision=self.args.hub_revision,
        )
        return push.result()

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        if self.push_in_progress is not None and not self.push_in_progress.is_done() and not self.args.hub_always_push:
            return
        name = Path(checkpoint_folder).name
        names = {HubStrategy.CHECKPOINT: "last-checkpoint", HubStrategy.ALL_CHECKPOINTS: name}
        push = start_push(
            checkpoint_folder,
            self.hub_model_id,
            f"Training in progress, {name}",
            workspace=self.output_dir,
            checkpoint_name=names.get(self.args.hub_strategy),
            token=self.args.hub_token,
            revision=self.args.hub_revision,
        )
        jobs = [] if self.push_in_progress is None else [job for job in self.push_in_progress.jobs if not job.done()]
        self.push_in_progress = PushInProgress([*jobs, push])
