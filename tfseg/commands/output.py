"""What commands print: lines for people on stderr, tables and answers on stdout."""

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfseg.tables import Table


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def print_table(table: "Table") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table as RichTable

    console = Console(width=None if sys.stdout.isatty() else 200)
    shown = RichTable(*table.header, title=table.title, title_justify="left")
    for row in table.rows:
        shown.add_row(*(escape(cell.replace(" [", "\n[")) for cell in row))
    console.print(shown, table.note, sep="\n")


def print_summary(summary: dict[str, Any], *, as_json: bool, comparison_only: bool = False) -> None:
    """Print a summary to stdout, and to stderr what one must know before one trusts it."""
    from tfseg.tables import caution_texts, comparison_table, fold_tables, measure_tables

    for text in caution_texts(summary):
        say(text)
    if as_json:
        print(json.dumps(summary, indent=2))
        return
    comparison = comparison_table(summary)
    scores = [] if comparison_only else [*fold_tables(summary), *measure_tables(summary)]
    for table in [*scores, *([comparison] if comparison else [])]:
        print_table(table)
