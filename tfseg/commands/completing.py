"""tfseg completion."""

import argparse
from collections.abc import Iterator
from pathlib import Path


def completion(arguments: argparse.Namespace) -> None:
    """tfseg completion: shtab writes the script from the parser, so that it knows each flag of this version."""
    import shtab

    for action in _actions(arguments.parser):
        if action.type is Path:
            folders_only = action.metavar == "DIR"
            setattr(action, "complete", shtab.DIRECTORY if folders_only else shtab.FILE)  # noqa: B010 - shtab's own field
        elif names := _names(action):
            action.choices = names
    print(shtab.complete(arguments.parser, shell=arguments.shell), end="")


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every argument of a parser and of its commands."""
    for action in parser._actions:  # argparse has no public list of them; shtab reads this one too
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in dict.fromkeys(action.choices.values()):
                yield from _actions(command)


def _names(action: argparse.Action) -> list[str]:
    """What may follow --model, --dataset or `data get`; the parser does not know it, since it loads nothing."""
    from tfseg import models
    from tfseg.data import DATASETS

    if action.metavar != "NAME":
        return []
    return {"model": models.names(), "dataset": list(DATASETS), "name": list(DATASETS)}.get(action.dest, [])
