"""tfseg doctor."""

import argparse
import dataclasses
import json

from tfseg.errors import WorkError


def doctor(arguments: argparse.Namespace) -> None:
    """tfseg doctor."""
    from tfseg import doctor

    parts = doctor.examine()
    fatal = [part for part in parts if part.fatal]
    if arguments.json:
        told = [dataclasses.asdict(part) | {"fatal": part.fatal} for part in parts]
        print(json.dumps({"ok": not fatal, "parts": told}, indent=2))
    else:
        for part in parts:
            print(f"{part.state:8} {part.name:30} {part.detail}")
            if part.state != doctor.OK:
                print(f"{'':8} without it: {part.needed_for or 'nothing can be relied on'}")
            if part.state != doctor.OK and part.remedy:
                print(f"{'':8} mend it:    {part.remedy}")
    if fatal:
        raise WorkError(f"tfseg does not work here: {', '.join(part.name for part in fatal)}; see above")
