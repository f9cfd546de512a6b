"""HTML that cannot be broken by a file name: every plain string is escaped, only `Html` is taken as it is."""

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence


class Html(str):
    """A string that is HTML already."""

    __slots__ = ()


def element(tag: str, /, *children: str, **attributes: str | int | None) -> Html:
    """Return one element; children and attributes are escaped unless they are `Html`, and None is left out.

    An underscore at the end of an attribute's name is dropped (`class_`), one inside becomes a hyphen.

    >>> element("td", "<b> & co", class_="name")
    '<td class="name">&lt;b&gt; &amp; co</td>'
    """
    words = [tag]
    for key, value in attributes.items():
        if value is not None:
            words.append(f'{key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"')
    opening = f"<{' '.join(words)}>"
    return Html(opening if tag in ("img", "meta") else f"{opening}{join(children)}</{tag}>")


def join(parts: Iterable[str], separator: str = "") -> Html:
    """Concatenate strings, escaping those that are not `Html`."""
    return Html(_escaped(separator).join(map(_escaped, parts)))


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, class_: str = "") -> Html:
    """Return a table that scrolls sideways where it is wider than the page; the first cell of a row is its header."""
    head = element("tr", *(element("th", cell, scope="col") for cell in header))
    body = (
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in cells))
        for first, *cells in rows
    )
    content = element(
        "table", element("caption", caption), element("thead", head), element("tbody", *body), class_=class_ or None
    )
    return element("div", content, class_="scroll", role="region", tabindex=0, aria_label=caption)


def definitions(pairs: Mapping[str, str]) -> Html:
    """Return a list of terms and what they are."""
    groups = (element("div", element("dt", term), element("dd", value)) for term, value in pairs.items())
    return element("dl", *groups)


def picture(png: bytes, alt: str, **attributes: str | int) -> Html:
    """Return an image that carries its bytes with it."""
    source = "data:image/png;base64," + base64.b64encode(png).decode()
    return element("img", src=source, alt=alt, **attributes)


def chart(svg: str, label: str, *, name: str, colours: Mapping[str, str]) -> Html:
    """Return an SVG file's text as an inline picture that takes the page's colours and face.

    Args:
        svg: the file's text, as matplotlib writes it.
        label: what a screen reader says instead.
        name: unique on the page; it sets the picture's ids apart from those of others.
        colours: colour in the file -> colour on the page, such as a CSS variable.
    """
    text = svg[svg.index("<svg") :]
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)  # would style the page
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    for there, here in colours.items():
        text = text.replace(there, here)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    inside = text[text.index(">") + 1 :].strip()
    return Html(f'<svg class="chart" {box[0]} role="img" aria-label="{html.escape(label)}">{inside}')


def _escaped(text: str) -> str:
    return text if isinstance(text, Html) else html.escape(text)
