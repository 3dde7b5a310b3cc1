"""W&B artifacts: the data and the baseline that a run used, and the model that it made."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb

from gapclose.logging.results import Files


def log_files(run: wandb.Run, files: Files, metrics: dict[str, Any]) -> None:
    """Logs the files of a run: data and baseline as inputs, the finetuned model as output.

    Data and baselines have the names of their files, which contain a hash of all that determines them, so that runs
    which share a file share its artifact. A checkpoint given by the user may have any name, so it is named by its
    content. Runs that finetune the same baseline in the same way make versions of one model.
    """
    baseline = content_key(files.baseline) if files.baseline_given else files.baseline.stem
    mark_used(run, artifact(files.data, f"data-{files.data.stem}", "dataset"))
    mark_used(run, artifact(files.baseline, f"baseline-{baseline}", "model"))
    if files.finetuned:
        name = f"{metrics['finetune']}-{baseline}"
        finetuned = artifact(files.finetuned, name, "model", metrics.get("finetuned"))
        run.log_artifact(finetuned, aliases=[f"seed-{metrics['seed']}", run.id])


def content_key(path: Path) -> str:
    """A short hash of the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=6)).hexdigest()


def artifact(path: Path, name: str, kind: str, metrics: dict[str, Any] | None = None) -> wandb.Artifact:
    """Makes an artifact of one file. It is uploaded without a copy, because it is never changed."""
    made = wandb.Artifact(name, kind, metadata=metrics or {})
    made.add_file(str(path.absolute()), policy="immutable", skip_cache=True)
    return made


def mark_used(run: wandb.Run, artifact: wandb.Artifact) -> None:
    """Records that a run uses the artifact, also offline.

    `run.use_artifact` fails offline and waits for the upload online. This call writes the same record to the log.
    """
    run._log_artifact(artifact, is_user_created=True, use_after_commit=True)


@contextmanager
def staging_in(folder: Path) -> Iterator[None]:
    """Makes W&B store tables and artifacts for a later `wandb sync` below a folder instead of the home folder.

    W&B has only an environment variable for this.
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
