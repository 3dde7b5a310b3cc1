"""A W&B project's workspace and report: python -m gapclose.dashboards --project gapclose [--entity TEAM].

Saves both online and prints their addresses. With --output FILE.json it saves nothing, needs no account and no network,
and writes what it would save into the file.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import wandb

from gapclose.errors import UserError, command
from gapclose.files import replacing

SIGN_IN = "sign in by wandb login (or set WANDB_API_KEY), or write the specification by --output FILE.json"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m gapclose.dashboards",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--project", default="gapclose", help="of the runs: the setting logger.project (%(default)s)")
    parser.add_argument("--entity", help="user or team that the project belongs to; by default, that of the API key")
    parser.add_argument("--swept", nargs="+", metavar="KEY", help="configuration keys of parallel coordinates")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write the specification, save nothing")
    args = parser.parse_args()
    with command():
        build(args.project, args.entity, args.swept, args.output)


def build(project: str, entity: str | None, swept: list[str] | None, output: Path | None) -> None:
    """Builds workspace and report, and saves them online or writes them into a file.

    Args:
        project: of the runs.
        entity: user or team; none is that of the API key.
        swept: configuration keys of parallel coordinates; none are those of `panels.SWEPT`.
        output: a file to write instead.

    Raises:
        UserError: wandb-workspaces is not installed, or a name is impossible; or, without `output`, there is no valid
            key or no connection.
    """
    check_names(project, swept or [])
    try:
        from gapclose.dashboards.pages import report, workspace
        from gapclose.dashboards.panels import SWEPT
    except ModuleNotFoundError as error:
        raise UserError(f'There is no {error.name}; install it by pip install "gapclose[dashboards]".') from error
    if output is None:
        entity = signed_in(entity)
    pages = {
        "workspace": workspace(entity or "", project, swept or SWEPT),
        "report": report(entity or "", project, swept or SWEPT),
    }
    if output is not None:
        try:
            with replacing(output) as temporary:
                temporary.write_text(json.dumps({name: specification(page) for name, page in pages.items()}, indent=2))
        except (OSError, ValueError) as error:
            raise UserError(f"{str(output)!r} cannot be written ({error}); give the name of a file.") from error
        print(f"Everything is in {output}.")
        return
    for name, page in pages.items():
        try:
            page.save()
        except Exception as error:  # Of the library's own and of its transport there are too many kinds.
            raise UserError(f"W&B did not take the {name} ({error}); {SIGN_IN}.") from error
        print(f"The {name} is at {page.url}.")


def check_names(project: str, swept: list[str]) -> None:
    """Refuses names that W&B does not give to projects, and what cannot be a configuration key."""
    try:
        wandb.Settings(project=project)
    except wandb.errors.UsageError as error:
        raise UserError(f"--project cannot be used ({error}); give the setting logger.project of the runs.") from error
    for key in swept:
        if not re.fullmatch(r"\w+(\.\w+)*", key):
            raise UserError(f"--swept is {key!r}; give configuration keys, such as planner.horizon seed.")


def signed_in(entity: str | None) -> str:
    """The entity, or else that of the API key, after making sure that the key is valid.

    Raises:
        UserError: there is no valid key, or no connection.
    """
    try:
        if wandb.login(prompt=False):
            return entity or wandb.Api().default_entity
    except Exception as error:  # Of the library's own and of its transport there are too many kinds.
        reason = str(error).rstrip(".")
        raise UserError(f"W&B cannot be signed in to ({reason}); check key and connection, or {SIGN_IN}.") from error
    raise UserError(f"There is no W&B key; {SIGN_IN}.")


def specification(page: Any) -> dict[str, Any]:
    """What W&B would be sent of a workspace or report; the library has no public way to it."""
    return page._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)


if __name__ == "__main__":
    main()
