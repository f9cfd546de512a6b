"""report.html: one page that opens offline and by itself, written from the files of a run folder."""

from collections.abc import Sequence
from pathlib import Path

from tfseg import runs
from tfseg.report import background, pictures, results
from tfseg.report.markup import Html, element, join
from tfseg.report.record import Record, read_record

PHANTOM = (
    "PHANTOM: every image of this run was simulated by a computer. The numbers show that the software works; "
    "they say nothing about patients."
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # the page could not load anything if it tried


def write_report(run: Path) -> Path:
    """Write report.html, and the pictures in it as files under figures/, and return the path of the page.

    Equal files give equal bytes: no time of writing is in it. What was not measured is not in it either.

    Raises:
        InputError: `run` is no run folder, or one of its files is damaged.
    """
    record = read_record(run)
    path = run / runs.REPORT
    runs.write_whole(path, _page(record))
    return path


def page(title: str, lead: Html, sections: Sequence[tuple[str, Html]], *, caution: str = "") -> Html:
    """Return a whole page.

    Args:
        title: its heading.
        lead: what stands below that.
        sections: heading and content of each; one without content is left out.
        caution: where any of it comes from simulated images, what that means; the page is then marked PHANTOM.
    """
    filled = [(name, name.lower().replace(" ", "-").replace(",", ""), content) for name, content in sections if content]
    links = (element("li", element("a", name, href=f"#{anchor}")) for name, anchor, _ in filled)
    banner = element("strong", "PHANTOM"), element("span", "simulated images, no patients")
    eyebrow = element("p", "tfseg report", class_="eyebrow")
    warning = element("p", caution, class_="caution") if caution else ""
    body = element(
        "body",
        element("aside", *banner, class_="phantom", aria_label="PHANTOM") if caution else "",
        element(
            "main",
            element("header", eyebrow, element("h1", title), warning, lead),
            element("nav", element("ul", *links), aria_label="Contents"),
            *(
                element("section", element("h2", name, id=anchor), content, aria_labelledby=anchor)
                for name, anchor, content in filled
            ),
        ),
    )
    style = Html(Path(__file__).with_name("report.css").read_text(encoding="utf-8"))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"tfseg: {title}"),
        element("style", style),
    )
    return join([Html("<!doctype html>\n"), element("html", head, body, lang="en"), "\n"])


def _page(record: Record) -> Html:
    title = f"{record.recipe.model} on {record.data['name']}{', PHANTOM' if record.phantom else ''}"
    sections = [
        ("Scores", results.scores(record)),
        ("The files that ship", results.deployment(record)),
        ("Found and missed", pictures.distribution(record)),
        ("Best, median and worst", pictures.cases(record)),
        ("Training", pictures.training(record)),
        ("Data", background.data(record)),
        ("What was run", background.procedure(record)),
        ("How the numbers are made", _points(background.method(record))),
        ("Limits", _points(background.limits(record))),
    ]
    return page(title, results.headline(record), sections, caution=PHANTOM if record.phantom else "")


def _points(points: Sequence[str]) -> Html:
    return element("ul", *(element("li", point) for point in points))
