"""The HTML report in a real browser, where there is one."""

from __future__ import annotations

import html as html_module
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.constraints import parse
from autotune.report.html import render_html
from autotune.report.summary import StudySummary, words
from autotune.store import TrialRecord

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=10000",
    "--enable-logging=stderr",
)
WHEN_READY = """
<script>
const wait = setInterval(() => {
  if (document.documentElement.dataset.drawn === undefined) return;
  clearInterval(wait);
  SCRIPT
}, 20);
</script>
"""
Browse = Callable[..., tuple[str, str]]


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    """Opens a page: the document after its scripts ran, and what the console said."""

    def call(html: str, script: str = "", *options: str) -> tuple[str, str]:
        file = tmp_path / "report.html"
        file.write_text(html + WHEN_READY.replace("SCRIPT", script), encoding="utf-8")
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        done = subprocess.run(
            [str(CHROMIUM), *OPTIONS, *options, profile, "--dump-dom", file.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        said = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        return done.stdout, "\n".join(said)

    return call


def rows(document: str) -> list[int]:
    """The trials of the table, as it is shown."""
    table = document[document.index('<table id="trials"') :]
    body = table[table.index("<tbody>") : table.index("</tbody>")]
    return [int(number) for number in re.findall(r'<tr[^>]* data-trial="(\d+)"', body)]


def detail(document: str) -> str:
    """The panel of one trial; empty where it is hidden."""
    panel = document[document.index('<aside id="detail"') :]
    panel = panel[: panel.index("</aside>")]
    return "" if 'hidden=""' in panel[: panel.index(">")] else panel


def titles(document: str) -> list[str]:
    """Of the axes of all charts."""
    return re.findall(r'class="[xy]title"[^>]*>(.*?)</text>', document)


def test_report_draws_its_charts_without_errors(summary: StudySummary, browse: Browse) -> None:
    document, said = browse(render_html(summary))
    assert said == ""
    assert document.count('class="plot-container') == 4
    assert document.count('class="point"') >= len(summary.points)
    assert rows(document) == [trial.number for trial in summary.trials]
    assert detail(document) == ""
    for name, point in summary.picks.items():
        assert f'<tr><th scope="row">{name.replace("_", " ")}<small>' in document
        assert f"trial {point.number}</small>" in document


def test_table_sorts_and_searches(summary: StudySummary, browse: Browse) -> None:
    html = render_html(summary)
    heading = 'const heading = document.querySelectorAll("#trials th button")[3];'
    document, said = browse(html, f"{heading} heading.click(); heading.click();")
    assert said == ""
    best_first = rows(document)
    assert best_first[0] == summary.picks["fastest"].number
    assert best_first[-4:] == [9, 17, 26, 33]  # without a value, whichever way is up
    document, _ = browse(html, type_into("#search", "out of memory"))
    assert rows(document) == [9, 33]


def test_long_table_has_pages(summary: StudySummary, browse: Browse) -> None:
    turn = 'document.querySelectorAll("#pager button")[2].click();'
    long = render_html(StudySummary.of(summary.study, many(summary, 120)))
    document, said = browse(long, turn)
    assert said == ""
    assert rows(document) == list(range(50, 100))
    assert "51 to 100 of 120" in document


def many(summary: StudySummary, count: int) -> list[TrialRecord]:
    """The same trials again, under other numbers."""
    known = [trial for trial in summary.trials if trial.recipe]
    again = [known[i % len(known)] for i in range(count - 1)]
    return [
        summary.trials[0],
        *(trial.model_copy(update={"number": n}) for n, trial in enumerate(again, start=1)),
    ]


def type_into(selector: str, text: str) -> str:
    return f"""
    const input = document.querySelector({selector!r});
    input.value = {text!r};
    input.dispatchEvent(new Event("input", {{ bubbles: true }}));"""


def test_axes_are_chosen_from_all_metrics_and_progress_is_shown_over_time(
    summary: StudySummary, browse: Browse
) -> None:
    script = """
    const axis = document.getElementById("y-axis");
    axis.value = "energy_per_output_token_joules";
    axis.dispatchEvent(new Event("change"));
    document.querySelector("input[name=over][value=minutes]").click();"""
    document, said = browse(render_html(summary), script)
    assert said == ""
    shown = titles(document)
    assert any("lower is better" in title and "(mJ)" in title for title in shown)
    assert not any("output tokens/s, higher" in title for title in shown)
    assert "minutes since the first trial began" in shown
    assert "trial" not in shown


def test_limits_filter_points_and_rows_as_constraints_do(
    summary: StudySummary, browse: Browse
) -> None:
    place = [kind.name for kind in summary.columns].index("kld_mean_nats")
    script = type_into(f"#filters .filter:nth-child({place + 1}) input[type=number]", "0.004")
    document, said = browse(render_html(summary), script)
    assert said == ""
    limit = parse("kld_mean_nats<=0.004")
    wanted = [p.number for p in summary.points if limit.violation(p.metrics) <= 0]
    assert 0 < len(wanted) < len(summary.points)
    assert rows(document) == wanted
    assert f"{len(wanted)} of {len(summary.points)} measured trials keep these limits." in document
    told = re.search(r'--pick "(.*?)"</code>', html_module.unescape(document))
    assert told is not None
    assert summary.choose(told[1]).number in wanted


def test_slider_never_shuts_out_what_it_stands_at(summary: StudySummary, browse: Browse) -> None:
    """At its strictest at least one trial is left, of a metric that is better higher and of one
    that is better lower."""
    for place, strictest in ((1, "max"), (2, "min")):
        script = f"""
        const slider = document.querySelectorAll("#filters input[type=range]")[{place - 1}];
        slider.value = slider.{strictest};
        slider.dispatchEvent(new Event("input"));"""
        document, said = browse(render_html(summary), script)
        assert said == ""
        assert 0 < len(rows(document)) < len(summary.points)


CLICK_A_POINT = """
const chart = document.getElementById("scatter");
const trace = chart.data.findIndex((t) => t.name === "pick");
const { x, y } = chart.data[trace];
const drag = chart.querySelector(".nsewdrag");
const box = drag.getBoundingClientRect();
const { xaxis, yaxis } = chart._fullLayout;
const [clientX, clientY] = [box.left + xaxis.d2p(x[0]), box.top + yaxis.d2p(y[0])];
const place = { clientX, clientY, bubbles: true };
drag.dispatchEvent(new MouseEvent("mousemove", place));
setTimeout(() => {
  drag.dispatchEvent(new MouseEvent("mousedown", place));
  document.dispatchEvent(new MouseEvent("mouseup", place));
}, 200);
"""


def test_click_on_a_point_shows_the_trial(summary: StudySummary, browse: Browse) -> None:
    document, said = browse(render_html(summary), CLICK_A_POINT)
    assert said == ""
    number = min(point.number for point in summary.picks.values())
    point = summary.by_number[number]
    panel = html_module.unescape(detail(document))
    assert f"Trial {number}<" in panel
    assert words(point) in panel
    assert summary.against_baseline(point) in panel
    assert re.search(rf'<tr class="[^"]*selected[^"]*" data-trial="{number}"', document)
    assert "hoverlayer" in document


def test_click_on_a_row_or_a_failure_shows_the_trial(
    summary: StudySummary, browse: Browse
) -> None:
    script = """
    const panel = document.getElementById("detail");
    const shown = [];
    document.querySelector("#trials tr[data-trial='9'] td").click();
    shown.push(panel.innerText);
    document.querySelector("button[data-trial='26']").click();
    shown.push(panel.innerText);
    dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
    document.body.append(...shown.map((text) => Object.assign(document.createElement("q"), {
      textContent: text,
    })));"""
    document, said = browse(render_html(summary), script)
    assert said == ""
    row, failure = re.findall(r"<q>(.*?)</q>", document, re.DOTALL)
    assert "needed 2.1 GiB more" in row
    assert "SIGSEGV in prepare" in failure
    assert "torch._inductor: &lt;lambda&gt;" in failure
    assert detail(document) == ""


def test_dark_screens_get_a_dark_page_and_dark_charts(
    summary: StudySummary, browse: Browse
) -> None:
    tell = "document.body.dataset.paper = getComputedStyle(document.body).backgroundColor;"
    dark = "--blink-settings=preferredColorScheme=0"
    document, said = browse(render_html(summary), tell, dark)
    assert said == ""
    assert 'data-paper="rgb(20, 23, 27)"' in document
    for chart in ("scatter", "parallel", "effects", "progress"):
        drawn = document[document.index(f'id="{chart}"') :]
        assert "background: rgb(20, 23, 27)" in drawn[: drawn.index("<defs")]


@pytest.mark.parametrize(
    "condition", ["empty", "baseline only", "nothing measured", "one objective", "hostile"]
)
def test_report_of_an_odd_study_has_no_errors(
    summary_of: Callable[[str], StudySummary], condition: str, browse: Browse
) -> None:
    document, said = browse(render_html(summary_of(condition)))
    assert said == ""
    assert "<h1>" in document
    assert 'data-drawn="' in document


def test_nothing_that_others_wrote_runs(summary: StudySummary, browse: Browse) -> None:
    bad = "</script><script>document.title='owned'</script><img src=x onerror=document.title='x'>"
    hostile = []
    for trial in summary.trials:
        assert trial.result is not None
        result = trial.result.model_copy(update={"explanation": bad, "notes": (bad,), "log": bad})
        recipe = {**trial.recipe, "batch": {"size": bad}} if trial.recipe else {}
        hostile.append(trial.model_copy(update={"recipe": recipe, "result": result}))
    study = summary.study.model_copy(update={"environment": {bad: bad}, "notes": (bad,)})
    row = 'document.querySelectorAll("#trials tbody tr")[3].click();'
    document, said = browse(render_html(StudySummary.of(study, hostile)), row + CLICK_A_POINT)
    assert said == ""
    assert "owned" in detail(document)
    assert "<title>tiny-llama_cpu" in document
    assert "<img" not in document.replace("&lt;img", "")
