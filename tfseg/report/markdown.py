"""Markdown that cannot be broken by a name: what means something to Markdown or HTML is escaped."""

import re
from collections.abc import Iterable, Sequence

from tfseg.tables import Table

# An underscore inside a word and brackets without a link behind them mean nothing: the text stays easy to read.
_SPECIAL = re.compile(r"([\\`*<|~]|(?<=\])\(|(?<![^\W_])_|_(?![^\W_]))")
_OPENING = re.compile(r"^([#>+-])")  # means something only where a line begins


def escaped(text: object) -> str:
    r"""Return a text on one line that Markdown shows as it is.

    >>> print(escaped("a_b|c <i> _d_ [1, 2] [x](y)"))
    a_b\|c \<i> \_d\_ [1, 2] [x]\(y)
    """
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def line(text: object) -> str:
    r"""Return a text as a line of its own, escaped.

    >>> print(line("# 1 < 2"))
    \# 1 \< 2
    """
    return _OPENING.sub(r"\\\1", escaped(text))


def code(text: str) -> str:
    """Return a text as code, on one line, whatever it holds.

    >>> code("a `b`")
    '``a `b` ``'
    """
    flat = " ".join(text.split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", flat)), default=0))
    return f"{fence}{flat}{' ' if flat.endswith('`') else ''}{fence}"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; every cell is escaped."""
    lines = [[escaped(cell) for cell in cells] for cells in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def titled(content: Table) -> str:
    """Return a table with its title above and its note below."""
    return f"**{escaped(content.title)}**\n\n{table(content.header, content.rows)}\n{line(content.note)}\n"


def points(texts: Iterable[str]) -> str:
    """Return a list."""
    return "".join(f"- {line(text)}\n" for text in texts)
