"""Makes a W&B project's workspace and report: python -m gapclose.dashboards --project gapclose [--entity TEAM].

Saves both online and prints their addresses. With --output FILE.json it writes their specification into the file
instead, without an account or a network.
"""

import argparse
import json
import os
import re
from pathlib import Path
from typing import Any

import wandb

from gapclose.errors import UserError, reporting_errors
from gapclose.files import write_text

SIGN_IN = "sign in by wandb login (or set WANDB_API_KEY), or write the specification to a file by --output FILE.json"


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m gapclose.dashboards",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--project",
        default=os.environ.get("WANDB_PROJECT") or "gapclose",
        help="project of the runs: the setting logger.project (%(default)s)",
    )
    parser.add_argument("--entity", help="user or team that owns the project; by default that of the API key")
    parser.add_argument("--swept", nargs="+", metavar="KEY", help="configuration keys in the parallel coordinates")
    parser.add_argument(
        "--output", type=Path, metavar="FILE.json", help="write the specification to a file, save nothing online"
    )
    args = parser.parse_args()
    with reporting_errors():
        build(args.project, args.entity, args.swept, args.output)


def build(project: str, entity: str | None, swept: list[str] | None, output: Path | None) -> None:
    """Builds workspace and report, and saves them online or writes them to a file.

    Args:
        project: name of the runs' project.
        entity: user or team; by default that of the API key.
        swept: configuration keys in the parallel coordinates; by default `panels.SWEPT`.
        output: file to write instead of saving online.

    Raises:
        UserError: wandb-workspaces is not installed, or a name is invalid; or, without `output`, there is no valid
            key or no connection.
    """
    check_names(project, swept or [])
    try:
        from gapclose.dashboards.pages import report, workspace
        from gapclose.dashboards.panels import SWEPT
    except ModuleNotFoundError as error:
        raise UserError(
            f'The package {error.name} is missing; install it by pip install "gapclose[dashboards]".'
        ) from error
    if output is None:
        entity = signed_in(entity)
    pages = {
        "workspace": workspace(entity or "", project, swept or SWEPT),
        "report": report(entity or "", project, swept or SWEPT),
    }
    if output is not None:
        try:
            write_text(output, json.dumps({name: specification(page) for name, page in pages.items()}, indent=2))
        except (OSError, ValueError) as error:
            raise UserError(f"{str(output)!r} cannot be written ({error}); give the name of a file.") from error
        print(f"The specification is in {output}.")
        return
    for name, page in pages.items():
        try:
            page.save()
        except Exception as error:  # The library and its transport raise many kinds of errors.
            raise UserError(f"W&B refused the {name} ({error}); {SIGN_IN}.") from error
        print(f"The {name} is at {page.url}.")


def check_names(project: str, swept: list[str]) -> None:
    """Raises an error for invalid names of projects and of configuration keys."""
    try:
        wandb.Settings(project=project)
    except wandb.errors.UsageError as error:
        raise UserError(f"--project cannot be used ({error}); give the setting logger.project of the runs.") from error
    for key in swept:
        if not re.fullmatch(r"\w+(\.\w+)*", key):
            raise UserError(f"--swept is {key!r}; give configuration keys, such as planner.horizon seed.")


def signed_in(entity: str | None) -> str:
    """Checks the API key, and returns the entity, by default that of the key.

    Raises:
        UserError: there is no valid key, or no connection.
    """
    try:
        if wandb.login(prompt=False):
            return entity or wandb.Api().default_entity
    except Exception as error:  # The library and its transport raise many kinds of errors.
        reason = str(error).rstrip(".")
        raise UserError(f"W&B cannot sign you in ({reason}); check key and connection, or {SIGN_IN}.") from error
    raise UserError(f"There is no W&B key; {SIGN_IN}.")


def specification(page: Any) -> dict[str, Any]:
    """The content of a workspace or report as sent to W&B; the library has no public method for it."""
    return page._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)


if __name__ == "__main__":
    main()
