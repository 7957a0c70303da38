"""The page: one HTML file with its style inside, and a policy that lets it load nothing else."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path

from fabrique.charts import Chart
from fabrique.charts.svg import printable
from fabrique.language.say import Speaker
from fabrique.twin.compare import Comparison
from fabrique.twin.report import pictures
from fabrique.twin.said import difference_rows, notes, overview, reached_text

_LANGUAGES = {"fr-ca": "fr-CA"}


def page(say: Speaker, compared: Comparison) -> str:
    """The page in the speaker's language; hours are UTC."""
    say = pictures.at_utc(say)
    study, runs = compared.runs[0].study, compared.runs
    title = say.text("{trace} on {fleet}", trace=study.trace.source, fleet=study.fleet.name)
    body = [
        f"<h1>{_text(title)}</h1>",
        f"<p>{_text(_lead(say, compared))}</p>",
        _section(say.text("Figures"), [_table(*overview(say, compared)), *_differences(say, compared)]),
        _charts(say.text("Power under its cap"), say, [pictures.power(say, run) for run in runs]),
        _charts(say.text("Carbon against work"), say, [pictures.carbon(say, runs)]),
        _charts(
            say.text("Shares"), say, [c for run in runs for c in (pictures.shares(say, run), pictures.work(say, run))]
        ),
        _charts(say.text("Waits by class"), say, [pictures.waits(say, runs)]),
        _section(say.text("What these figures rest on"), [_list(notes(say, compared)), _certificates(say, compared)]),
    ]
    return _document(say, title, "\n".join(part for part in body if part))


def _lead(say: Speaker, compared: Comparison) -> str:
    """The answer first: what the last rule set changes against the first one, or how one did."""
    first, last = compared.runs[0], compared.runs[-1]
    f, jobs = last.summary.figures, len(last.replay.world)
    wait = say.duration(round(f["mean_wait_s"] or 0) * 1000)
    if first is last:
        return say.text("{jobs} jobs under {rules}: a mean wait of {wait}.", jobs=jobs, rules=f["rules"], wait=wait)
    before = say.duration(round(first.summary.figures["mean_wait_s"] or 0) * 1000)
    return say.text(
        "{jobs} jobs: the mean wait is {wait} under {rules}, {before} under {first}.",
        jobs=jobs,
        wait=wait,
        rules=f["rules"],
        before=before,
        first=first.rules.name,
    )


def _differences(say: Speaker, compared: Comparison) -> Iterable[str]:
    for index, run in enumerate(compared.runs[1:], 1):
        heading = say.text("{rules} against {first}:", rules=run.rules.name, first=compared.runs[0].rules.name)
        head = [say.text("figure"), say.text("difference"), say.text("95 % of resamples"), say.text("verdict")]
        yield f"<h3>{_text(heading)}</h3>"
        yield _table(head, list(difference_rows(say, compared, index)))
        for reached in compared.possible[index]:
            yield f"<p>{_text(reached_text(say, reached))}</p>"


def _certificates(say: Speaker, compared: Comparison) -> str:
    rows = [(run.rules.name, run.certificate) for run in compared.runs]
    words = say.text("Equal certificates mean equal rules, inputs and code, hence equal figures.")
    found = "".join(f"<p>{_text(name)} <code>{_text(value)}</code></p>" for name, value in rows)
    heading = say.text("Certificates")
    return f"<h3>{_text(heading)}</h3><p>{_text(words)}</p>{found}"


# --- pieces -------------------------------------------------------------------------------------------------------
def _text(value: object) -> str:
    return escape(printable(str(value)))


def _section(title: str, parts: Sequence[str]) -> str:
    return f"<section><h2>{_text(title)}</h2>{''.join(parts)}</section>"


def _charts(title: str, say: Speaker, found: Sequence[Chart | None]) -> str:
    drawn = [_figure(chart, say) for chart in found if chart is not None]
    unknown = say.text("Not known here.")
    return _section(title, drawn or [f'<p class="muted">{_text(unknown)}</p>'])


def _figure(chart: Chart, say: Speaker) -> str:
    table, opens = _table(chart.head, chart.rows, caption=chart.desc), say.text("As a table")
    return (
        f"<figure><figcaption>{_text(chart.title)}</figcaption>{chart.wide}{chart.narrow}"
        f"<details><summary>{_text(opens)}</summary>{table}</details></figure>"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    top = "".join(f'<th scope="col"{_num(i)}>{_text(name)}</th>' for i, name in enumerate(head))
    body = "".join(f"<tr>{_row(head, row)}</tr>" for row in rows)
    said = f"<caption>{_text(caption)}</caption>" if caption else ""
    return f"<table>{said}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _row(head: Sequence[str], row: Sequence[object]) -> str:
    first, *rest = row
    cells = (
        f'<td class="num" data-label="{_text(name)}">{_text(v)}</td>' for name, v in zip(head[1:], rest, strict=False)
    )
    return f'<th scope="row">{_text(first)}</th>{"".join(cells)}'


def _num(index: int) -> str:
    return ' class="num"' if index else ""


def _list(texts: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(text)}</li>' for text in texts)}</ul>" if texts else ""


@cache
def _style() -> str:
    return (Path(__file__).parent / "report.css").read_text(encoding="utf-8")


def _document(say: Speaker, title: str, body: str) -> str:
    style = _style()
    allowed = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'"
    language = _LANGUAGES.get(say.language, say.language)
    return (
        f'<!doctype html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
