"""Reports in a browser."""

import re

import pytest

from gapclose.report.folder import write_report
from tests.report.conftest import gap

NOW = ".panel[data-side=left] .now.executed"
OUTPUT = "() => document.querySelector('#player output').textContent"


def position(page, selector=NOW):
    """The position of a mark in the drawing."""
    return page.eval_on_selector(selector, "mark => [mark.cx.baseVal.value, mark.cy.baseVal.value]")


def test_the_page_loads_without_network_or_errors_and_shows_the_models_before_and_after_side_by_side(make_run, visit):
    path = write_report(make_run())
    seen = visit(path)
    assert seen.problems == []
    assert seen.requests == [path.resolve().as_uri()]
    left, right = (seen.page.inner_text(f".panel[data-side={side}] figcaption") for side in ("left", "right"))
    assert left.startswith("✗ Goal missed.")
    assert not any(seen.page.eval_on_selector_all("svg .figure", "all => all.map(path => path.getAttribute('d'))"))
    assert right.startswith("✓ Goal reached.")
    middle = 500
    assert position(seen.page)[0] < middle < position(seen.page, ".panel[data-side=left] .now.imagined")[0]
    assert seen.page.locator(".panel[data-side=left] .separation").is_visible()
    assert not seen.page.locator(".panel[data-side=right] .separation").is_visible()
    groups = seen.page.eval_on_selector_all("#player .task optgroup", "all => all.map(group => group.label)")
    assert groups == ["missed → reached (3)", "reached → reached (1)"]


def test_figures_move_with_what_they_show(make_run, visit, flagged):
    page = visit(write_report(make_run(simulator=flagged)), charts=False).page
    figures = {kind: f".panel[data-side=left] .figure.{kind}" for kind in ("goal", "imagined", "executed")}
    end = {kind: page.get_attribute(name, "d") for kind, name in figures.items()}
    assert all(path.count("M") == 2 for path in end.values())
    assert page.get_attribute(".panel[data-side=left] .radius", "r") != "0"
    page.fill("#player .time", "2")
    now = {kind: page.get_attribute(name, "d") for kind, name in figures.items()}
    assert [kind for kind in figures if now[kind] != end[kind]] == ["imagined", "executed"]
    for kind in ("imagined", "executed"):
        x, y = position(page, f".panel[data-side=left] .now.{kind}")
        found = [float(number) for number in now[kind][1 : now[kind].index("L")].split()]
        assert found == pytest.approx([x, y], abs=1)


def test_a_diverged_model_is_shown_as_diverged(make_run, visit):
    seen = visit(write_report(make_run(baseline=gap(0.0, None))))
    assert seen.problems == []
    caption = seen.page.inner_text(".panel[data-side=left] figcaption")
    assert "promised to end infinitely far from the goal" in caption
    assert re.search("separate at step [123]", caption)


def test_the_player_plays_scrubs_and_changes_tasks_models_and_ways(make_run, visit):
    page = visit(write_report(make_run()), charts=False).page
    end = position(page)
    page.fill("#player .time", "2")
    scrubbed = position(page)
    assert scrubbed != end
    assert page.evaluate(OUTPUT) == "2 of 8"
    page.click("#player .play")
    page.wait_for_function("() => document.querySelector('#player .time').value > 4")
    assert position(page) != scrubbed
    page.wait_for_function("() => document.querySelector('#player .play').textContent.includes('Play')")
    assert position(page) == end
    task = page.input_value("#player .task")
    page.click("#player .next")
    assert page.input_value("#player .task") != task
    page.click("#player .previous")
    assert page.input_value("#player .task") == task
    page.select_option("#player .way", "mpc")
    assert page.get_attribute(".panel[data-side=left] .path.imagined:not(.later)", "d").count("M") == 4
    page.select_option(".panel[data-side=left] .model", "oracle")
    assert page.inner_text(".panel[data-side=left] figcaption").startswith("✓")


def test_the_player_can_be_used_by_keyboard(make_run, visit):
    page = visit(write_report(make_run()), charts=False).page
    page.focus("#player")
    end = position(page)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(OUTPUT) == "6 of 8"
    assert position(page) != end
    page.keyboard.press("ArrowRight")
    assert page.evaluate(OUTPUT) == "7 of 8"
    task = page.input_value("#player .task")
    page.keyboard.press("n")
    assert page.input_value("#player .task") != task
    page.keyboard.press("Space")
    assert "Pause" in page.inner_text("#player .play")
    page.keyboard.press("Space")
    assert "Play" in page.inner_text("#player .play")
    unnamed = "all => all.filter(one => !one.labels?.length && !one.ariaLabel && !one.textContent.trim()).length"
    assert page.eval_on_selector_all("select, input, button", unnamed) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(make_run, visit, scheme):
    page = visit(write_report(make_run()), viewport={"width": 360, "height": 640}, color_scheme=scheme).page
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    ink, paper = (
        page.evaluate(f"getComputedStyle(document.documentElement).{name}") for name in ("color", "backgroundColor")
    )
    assert (sum(channels(ink)) > sum(channels(paper))) == (scheme == "dark")
    label = page.eval_on_selector(".chart .xtick text", "text => getComputedStyle(text).fill")
    assert channels(label) == channels(ink)


def channels(color):
    """Red, green and blue of `rgb(…)`."""
    return [int(channel) for channel in color.removeprefix("rgb(").removesuffix(")").split(",")]


def test_the_printed_page_is_light_and_has_no_controls(make_run, visit):
    page = visit(write_report(make_run()), color_scheme="dark").page
    page.emulate_media(media="print")
    assert not page.locator("#player .play").is_visible()
    assert page.locator(".panel[data-side=left] .title").inner_text() == "before finetuning"
    assert channels(page.evaluate("getComputedStyle(document.documentElement).backgroundColor")) == [255] * 3
    page.wait_for_function(
        "() => getComputedStyle(document.querySelector('.chart .xtick text')).fill === 'rgb(28, 36, 48)'"
    )


def test_a_single_model_has_one_drawing(make_run, visit):
    seen = visit(write_report(make_run(models=("oracle",), finetune="none")), charts=False)
    assert seen.problems == []
    assert seen.page.locator(".panel:visible").count() == 1


def test_an_old_browser_shows_a_warning(browser, make_run):
    page = browser.new_page()
    page.add_init_script("delete window.DecompressionStream")
    page.goto(write_report(make_run()).resolve().as_uri())
    assert page.locator("#too-old").is_visible()
    assert page.locator("td", has_text="40,000").count() == 2
    page.close()


def test_the_table_of_a_sweep_is_sorted_by_a_click(make_run, visit):
    for model, seed in (("mlp", 0), ("mlp", 1), ("ensemble", 0), ("ensemble", 1)):
        overrides = ("finetune=online", f"model={model}", f"seed={seed}")
        folder = make_run(f"sweep/{model}{seed}", overrides=overrides, model=model, seed=seed).parent
    seen = visit(write_report(folder), viewport={"width": 360, "height": 640})
    assert seen.problems == []
    assert seen.page.evaluate("document.documentElement.scrollWidth") == 360
    runs = "table >> nth=1"
    cells = "rows => rows.map(row => row.cells[0].textContent)"
    seen.page.click(f"{runs} >> th button >> nth=0")
    assert seen.page.eval_on_selector_all(f"{runs} >> tbody tr", cells) == ["mlp1", "mlp0", "ensemble1", "ensemble0"]
    seen.page.click(f"{runs} >> th button >> nth=0")
    assert seen.page.eval_on_selector_all(f"{runs} >> tbody tr", cells) == ["ensemble0", "ensemble1", "mlp0", "mlp1"]
    assert seen.page.locator("th[aria-sort=ascending]").count() == 1
