"""W&B artifacts: which data and which baseline a run used, and which model it made."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb

from gapclose.logging.results import Files


def log_files(run: wandb.Run, files: Files, metrics: dict[str, Any]) -> None:
    """Declares the files of a run: data and baseline are used, the finetuned model is made.

    Data and baselines are named as their files are, by a hash of all that determines them, so that runs which share a
    file share its artifact; a checkpoint that was given may be called anything, and is named by its content. Runs that
    finetune the same baseline in the same way make versions of one model.
    """
    baseline = content_key(files.baseline) if files.baseline_given else files.baseline.stem
    use(run, artifact(files.data, f"data-{files.data.stem}", "dataset"))
    use(run, artifact(files.baseline, f"baseline-{baseline}", "model"))
    if files.finetuned:
        name = f"{metrics['finetune']}-{baseline}"
        made = artifact(files.finetuned, name, "model", metrics.get("finetuned"))
        run.log_artifact(made, aliases=[f"seed-{metrics['seed']}", run.id])


def content_key(path: Path) -> str:
    """A short name for the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=6)).hexdigest()


def artifact(path: Path, name: str, kind: str, metrics: dict[str, Any] | None = None) -> wandb.Artifact:
    """An artifact of one file, which is uploaded from where it lies: it is never written again."""
    made = wandb.Artifact(name, kind, metadata=metrics or {})
    made.add_file(str(path.absolute()), policy="immutable", skip_cache=True)
    return made


def use(run: wandb.Run, artifact: wandb.Artifact) -> None:
    """Declares that a run uses the artifact, also offline.

    `run.use_artifact` would refuse offline, and wait for the upload online. What it sends to the log is this.
    """
    run._log_artifact(artifact, is_user_created=True, use_after_commit=True)


@contextmanager
def staging(folder: Path) -> Iterator[None]:
    """Within it, what W&B keeps of tables and artifacts for a later `wandb sync` goes below a folder, not the home.

    W&B has no setting for this but the environment.
    """
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = str(folder.absolute())
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_DATA_DIR"]
        else:
            os.environ["WANDB_DATA_DIR"] = before
