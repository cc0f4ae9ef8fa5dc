"""A result for people: lines for the terminal, and a page that shows which words decided."""

from __future__ import annotations

from html import escape

from cnnapps.apps.textcls.predict import TextResult
from cnnapps.core.errors import printable

__all__ = ["PAGE_END", "PAGE_START", "html_error", "html_item", "terminal"]

SHOWN = 8
"""n-grams shown in the terminal; the page and the JSON have all."""

PAGE_START = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>cnnapps textcls --explain</title>
<meta name="viewport" content="width=device-width">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
article { border-top: 1px solid #ccc; padding: 1rem 0 }
.text { font-size: 1.15rem; line-height: 2 }
.text span { padding: .15em 0; border-radius: .2em }
table { border-collapse: collapse; font-size: .9rem }
td { padding: .1rem 1rem .1rem 0 } td.n { text-align: right; font-variant-numeric: tabular-nums }
small { color: #555 }
</style>
<h1>Which words decided</h1>
<p>Each filter of the net answers to the n-gram that it likes best. An n-gram's number is what it
adds to the score (logit) of the label: the numbers and the bias add up to the score, exactly. In
the text, an n-gram's number is spread evenly over its characters: blue speaks for the label, orange
against it.</p>
"""
PAGE_END = "</html>"


def terminal(result: TextResult) -> str:
    """The answer, and below it the strongest n-grams when they were asked for."""
    lines = [str(result)]
    if result.contributions is not None and result.bias is not None:
        for row in result.contributions[:SHOWN]:
            lines.append(f"  {row.value:+8.3f}  {printable(row.ngram, 60)}")
        rest = result.contributions[SHOWN:]
        if rest:
            lines.append(f"  {sum(row.value for row in rest):+8.3f}  ({len(rest)} more n-grams)")
        lines.append(f"  {result.bias:+8.3f}  (bias)")
        lines.append(f"  {result.logit:8.3f}  score of {result.explained}")
    return "\n".join(lines)


_CONTROL = dict.fromkeys([*range(9), 11, 12, *range(14, 32), *range(127, 160)], "\ufffd")


def _shown(text: str) -> str:
    """Text for a page: escaped, without characters that HTML forbids."""
    return escape(text.translate(_CONTROL))


def html_error(text: str, reason: str) -> str:
    """An input that got no answer."""
    return (
        f'<article><p class="text" dir="auto">{_shown(text)}</p>'
        f"<p><b>error</b> {_shown(reason)}</p></article>"
    )


def html_item(text: str, result: TextResult) -> str:
    """One text with its words coloured by what they contributed, and the table of n-grams."""
    rows = result.contributions or ()
    share = [0.0] * len(text)
    for row in rows:
        for i in range(row.start, min(row.end, len(text))):
            share[i] += row.value / max(1, row.end - row.start)
    peak = max((abs(v) for v in share), default=0.0) or 1.0
    spans: list[str] = []
    start = 0
    for i in range(1, len(text) + 1):
        if i == len(text) or abs(share[i] - share[start]) > 1e-9:
            piece = _shown(text[start:i])
            strength = min(1.0, abs(share[start]) / peak)
            if strength > 0.02:
                colour = "37,99,235" if share[start] > 0 else "234,88,12"
                piece = (
                    f'<span style="background:rgba({colour},{0.75 * strength:.2f})">{piece}</span>'
                )
            spans.append(piece)
            start = i
    table = "".join(
        f'<tr><td class="n">{row.value:+.3f}</td><td><bdi>{_shown(row.ngram)}</bdi></td></tr>'
        for row in rows
    )
    return (
        f'<article><p class="text" dir="auto">{"".join(spans)}</p>'
        f"<p><b>{escape(result.label or 'none')}</b> {result.probability:.4f} "
        f"<small>score of {escape(result.explained or '')} {result.logit or 0.0:.3f}, "
        f"bias {result.bias or 0.0:+.3f}</small></p>"
        f"<details><summary>{len(rows)} n-grams</summary><table>{table}</table></details></article>"
    )
