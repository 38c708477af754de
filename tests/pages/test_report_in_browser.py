"""The report in a real browser: filters, pages, keys, export, hostile names, contrast, and how fast it opens."""

import io
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from report_world import CLASSES, confirmed, kept, relabelled, result_of, set_aside, unreadable, write_made_report
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from elixir.data.decision_files import read_decisions
from elixir.data.decisions import HumanDecision
from elixir.data.manifest import ManifestRow

BROWSER, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs the programs chromium and chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)
PAGE = 48
HOSTILE = [
    "</script><img src=x onerror=document.title='owned'>",
    "<!--<script>",
    "\u202egnp.exe",
    'a"b,c',
    "line\nline\r\nline\rline",
    "=cmd|' /C calc'!A0",
    "@SUM(1)",
    " space ",
    "tab\t\x1b[31m",
    "\ufeffbyte order",
    "пример/例/😀.png",
    "'; rm -rf ~",
]


class Report:
    """A page that is open, and what a person does with it."""

    def __init__(self, driver: webdriver.Chrome, path: Path, downloads: Path) -> None:
        self.driver = driver
        self.path = path
        self.downloads = downloads

    def open(self) -> None:
        self.driver.get(self.path.as_uri())

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        element = self.find(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def cards(self) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, "#gallery .card")

    def names(self) -> list[str]:
        return self.driver.execute_script(
            "return [...document.querySelectorAll('#gallery .card .name')].map((node) => node.textContent)"
        )

    def press(self, *keys: str) -> None:
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def current(self) -> str:
        """Name of the sample with the frame; "" if none has it."""
        return self.driver.switch_to.active_element.get_attribute("aria-label") or ""

    def choose(self, name: str, word: str) -> None:
        Select(self.find(f"#filters [name={name}]")).select_by_visible_text(word)

    def type(self, name: str, text: str) -> None:
        field = self.find(f"#filters [name={name}]")
        field.clear()
        field.send_keys(text)

    def count(self) -> str:
        return self.find("#count").text

    def pressed(self) -> dict[str, str]:
        """What the buttons of each card on the page say is decided."""
        pressed = self.driver.find_elements(By.CSS_SELECTOR, ".choice [aria-pressed=true]")
        return {
            button.find_element(By.XPATH, "ancestor::li").get_attribute("aria-label") or "": button.text
            for button in pressed
        }

    def export(self, classes: Sequence[str] = CLASSES) -> list[HumanDecision]:
        file = self.downloads / "decisions.csv"
        file.unlink(missing_ok=True)
        self.click("#export")
        WebDriverWait(self.driver, 20).until(lambda _: file.exists() and file.stat().st_size > 0)
        return read_decisions(file, classes)

    def complaints(self) -> list[str]:
        """What the console has said since the last time."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    yield driver
    driver.quit()


def rows_of(count: int) -> list[ManifestRow]:
    """Samples "0000.png" ... in the order of the report: one in ten set aside, the others relabelled in turns."""
    rows: list[ManifestRow] = []
    for number in range(count):
        name, confidence = f"{number:04d}.png", 0.5 + 0.2 * number / count
        aside = replace(set_aside(name, confidence=confidence), reason="poisoned")
        changed = relabelled(name, 1 + number % 2, 0.52 + 0.4 * number / count, confidence)
        rows.append(changed if number % 10 else aside)
    return rows


@pytest.fixture
def report(
    request: pytest.FixtureRequest, driver: webdriver.Chrome, tmp_path: Path, downloads: Path
) -> Iterator[Report]:
    """The page of the rows that a test is parametrised with, of 100 by default; it must not complain at any time."""
    rows = getattr(request, "param", rows_of(100))
    write_made_report(result_of(tmp_path / "my data's", rows))
    report = Report(driver, tmp_path / "my data's/.elixir/report.html", downloads)
    report.complaints()
    report.open()
    yield report
    driver.execute_script("localStorage.clear(); decided.clear()")
    assert report.complaints() == []


def test_pages(report: Report):
    assert report.count() == "100 of 100 samples"
    assert report.names() == [f"{number:04d}.png" for number in range(PAGE)]
    assert report.find("#page").text == "page 1 of 3"
    assert not report.find("#previous").is_enabled()
    report.click("#next")
    report.click("#next")
    assert report.names() == [f"{number:04d}.png" for number in range(2 * PAGE, 100)]
    assert not report.find("#next").is_enabled()
    report.click("#previous")
    assert report.names()[0] == f"{PAGE:04d}.png"


def test_filters(report: Report):
    report.choose("action", "quarantined")
    assert report.names() == [f"{number:04d}.png" for number in range(0, 100, 10)]
    assert report.count() == "10 of 100 samples"
    report.click("#filters [type=reset]")
    report.choose("newLabel", "owl")
    assert report.names()[:3] == ["0001.png", "0003.png", "0005.png"]
    report.type("least", "0.9")
    shown = [number for number in range(1, 100, 2) if 0.52 + 0.004 * number >= 0.9]
    assert report.names() == [f"{number:04d}.png" for number in shown]
    report.type("search", "99.P")
    assert report.names() == ["0099.png"]
    report.type("search", "nothing")
    assert (report.names(), report.count(), report.find("#page").text) == ([], "0 of 100 samples", "page 1 of 1")
    report.click("#filters [type=reset]")
    report.choose("label", "cat")
    assert report.count() == "100 of 100 samples"
    report.type("most", "0.6")
    assert report.count() == "18 of 100 samples"


def test_keys(report: Report):
    report.press(Keys.ARROW_RIGHT)
    assert report.current() == "0000.png"
    report.press("k", Keys.ARROW_RIGHT, "d", Keys.ARROW_DOWN)
    columns = report.driver.execute_script("return columns()")
    assert columns > 1
    assert report.current() == f"{1 + columns:04d}.png"
    report.press("k", "k", Keys.ARROW_UP, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert report.current() == "0000.png"
    assert report.pressed() == {"0000.png": "Keep", "0001.png": "Drop"}
    report.press("u", "u", "u")
    assert report.pressed() == {"0000.png": "Keep"}
    report.press(*[Keys.ARROW_RIGHT] * PAGE)
    assert report.current() == f"{PAGE:04d}.png"
    assert report.find("#page").text == "page 2 of 3"
    report.press(Keys.ARROW_LEFT)
    assert report.current() == f"{PAGE - 1:04d}.png"


def test_relabel_by_key(report: Report):
    report.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, "r")
    assert report.find("#relabel-title").text == "Relabel 0001.png"
    assert Select(report.find("#relabel-to")).first_selected_option.text == "owl"  # as proposed
    Select(report.find("#relabel-to")).select_by_visible_text("dog")
    report.click("#relabel [value=relabel]")
    assert report.pressed() == {"0001.png": "→ dog"}
    assert report.current() == "0001.png"
    report.press(Keys.ARROW_RIGHT, "r", Keys.ESCAPE)
    assert report.pressed() == {"0001.png": "→ dog"}
    report.press(Keys.ARROW_LEFT, "r")
    assert report.pressed() == {}


def test_keys_in_a_field_are_text(report: Report):
    report.press(Keys.ARROW_RIGHT, "/")
    report.press("k", "d", "?", "u")
    assert report.find("#filters [name=search]").get_attribute("value") == "kd?u"
    assert report.find("#decided").text == "No decisions yet"
    assert not report.find("#help").is_displayed()


def test_help(report: Report):
    report.press("?")
    assert report.find("#help").is_displayed()
    report.press(Keys.ESCAPE)
    assert not report.find("#help").is_displayed()
    report.click("#help-button")
    report.click("#help button")
    assert not report.find("#help").is_displayed()


def test_all_that_the_filters_show_and_undo(report: Report):
    report.press(Keys.ARROW_RIGHT, "k")
    report.choose("action", "quarantined")
    report.click("#bulk [data-decision=drop]")
    assert report.find("#decided").text == "10 decisions: 10 drop"
    report.click("#filters [type=reset]")
    report.choose("decision", "none yet")
    assert report.count() == "90 of 100 samples"
    report.click("#bulk [data-decision=relabel]")
    assert report.find("#relabel-title").text == "Relabel 90 samples"
    report.click("#relabel [value=relabel]")
    assert report.find("#decided").text == "100 decisions: 90 relabel, 10 drop"
    report.click("#undo")
    report.click("#undo")
    assert report.find("#decided").text == "1 decision: 1 keep"
    report.click("#filters [type=reset]")
    report.click("#bulk [data-decision='']")
    assert not report.find("#export").is_enabled()


def test_export(report: Report):
    report.press(Keys.ARROW_RIGHT, "k", Keys.ARROW_RIGHT, "d", Keys.ARROW_RIGHT, "r", Keys.ENTER)
    report.find("#by").send_keys('Ann "the eye", Lee')
    decisions = report.export()
    assert [(d.id, d.decision, d.label) for d in decisions] == [
        ("0000.png", "keep", ""),
        ("0001.png", "drop", ""),
        ("0002.png", "relabel", "dog"),
    ]
    assert {d.by for d in decisions} == {'Ann "the eye", Lee'}
    assert all(datetime.fromisoformat(d.at).tzinfo for d in decisions)
    folder = str(report.path.parent.parent).replace("'", "'\"'\"'")
    assert report.find("#command").text == f"elixir decide '{folder}' --decisions decisions.csv"
    report.click("#undo")
    assert not report.find("#command").is_displayed()  # it would apply another file than there is


@pytest.mark.parametrize("report", [[relabelled(id) for id in HOSTILE]], indirect=True)
def test_hostile_names_are_shown_and_come_back(report: Report):
    assert report.driver.title == "elixir: poisoned"
    assert report.driver.find_elements(By.CSS_SELECTOR, "#gallery img") == []
    assert report.names()[0] == HOSTILE[0]
    assert report.names()[2] == r"\u{202e}gnp.exe"
    report.click("#bulk [data-decision=drop]")
    assert [decision.id for decision in report.export()] == HOSTILE
    assert "\"'=cmd" in (report.downloads / "decisions.csv").read_text()
    sizes = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    assert len(set(report.driver.execute_script(sizes))) == 1


def test_hostile_classes(report: Report, tmp_path: Path):
    write_made_report(result_of(tmp_path / "my data's", [relabelled("a", 1)], classes=["x", *HOSTILE]))
    report.open()
    report.press(Keys.ARROW_RIGHT, "r", Keys.ENTER)
    [decision] = report.export(["x", *HOSTILE])
    assert (decision.decision, decision.label) == ("relabel", HOSTILE[0])
    assert report.driver.title == "elixir: poisoned"


def test_decisions_outlive_the_page_until_they_are_applied(report: Report, tmp_path: Path):
    report.press(Keys.ARROW_RIGHT, "k", Keys.ARROW_RIGHT, "r", Keys.ENTER)
    report.driver.refresh()
    assert report.pressed() == {"0000.png": "Keep", "0001.png": "→ owl"}
    by = {"decided_by": HOSTILE[0], "decided_at": "2026-11-30"}
    first, second, third, *others = rows_of(100)
    applied = [replace(second, decision="relabel", **by), replace(third, decision="drop", **by)]
    write_made_report(result_of(tmp_path / "my data's", [first, *applied, *others]))
    report.driver.refresh()
    assert report.pressed() == {"0000.png": "Keep"}
    report.choose("decision", "decided")
    told = [node.text for node in report.driver.find_elements(By.CSS_SELECTOR, ".earlier")]
    assert told[0] == f"decided: relabel as owl, by {HOSTILE[0]}, 2026-11-30"
    assert len(told) == 2
    assert report.names() == ["0000.png", "0001.png", "0002.png"]


@pytest.mark.parametrize("count", [100, 1000])
def test_each_sample_is_beside_its_own_picture(report: Report, tmp_path: Path, count: int):
    """The colours are looked at on a screenshot; 1,000 samples have their sheets beside the page."""
    write_made_report(result_of(tmp_path / "my data's", rows_of(count)))
    report.open()
    assert (tmp_path / "my data's/.elixir/report").exists() == (count == 1000)
    report.type("search", "77.png")
    number = int(report.names()[0].removesuffix(".png"))
    for show, level in (("0", number % 200), ("1", number % 200 + 10), ("0 1", 40)):
        cell = report.find(f"[data-show='{show}']")
        report.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", cell)
        WebDriverWait(report.driver, 10).until(lambda _, cell=cell, level=level: middle(cell) == level)


def middle(cell: WebElement) -> int:
    """Grey level in the middle of an element."""
    image = Image.open(io.BytesIO(cell.screenshot_as_png)).convert("RGB")
    red, green, blue = image.getpixel((image.width // 2, image.height // 2))  # type: ignore[misc]
    return red if red == green == blue else -1


def test_pictures_are_loaded_as_one_scrolls(report: Report):
    loaded = "return document.querySelectorAll('.cell[style*=background-image]').length"
    before = report.driver.execute_script(loaded)
    assert before < 2 * PAGE
    report.driver.execute_script("document.querySelector('.card:last-child').scrollIntoView()")
    WebDriverWait(report.driver, 10).until(lambda driver: driver.execute_script(loaded) > before)


@pytest.mark.parametrize("report", [[unreadable("a"), kept("b", 0.009), confirmed("c")]], indirect=True)
def test_samples_without_a_second_picture(report: Report):
    assert {
        card.get_attribute("aria-label"): len(card.find_elements(By.CSS_SELECTOR, ".cell")) for card in report.cards()
    } == {
        "b": 1,
        "c": 1,
        "a": 0,
    }
    assert "quarantined: empty file" in report.cards()[2].text
    assert "kept: not flagged, poison score 0.009" in report.cards()[1].text


def test_an_injected_script_does_not_run(report: Report):
    text = report.path.read_text()
    injected = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"
    report.path.write_text(text.replace("<main>", f"<main>{injected}<p style='color: red'>"))
    report.open()
    assert report.driver.title == "elixir: poisoned"
    complaints = report.complaints()
    assert sum("Content Security Policy" in line for line in complaints) >= 3
    assert report.count() == "100 of 100 samples"  # the page's own script does


@pytest.mark.parametrize("count", [1000, 100_000])
def test_opens_fast(report: Report, tmp_path: Path, count: int):
    """Navigation to the end of loading, the first page of samples drawn; the best of three, as others use the machine.

    Most samples have no picture here, as these are loaded later and a hundred thousand take minutes to write.
    """
    rows = [replace(row, **({} if n < 500 else {"height": 0, "width": 0})) for n, row in enumerate(rows_of(count))]
    write_made_report(result_of(tmp_path / "my data's", rows))
    duration = "return performance.getEntriesByType('navigation')[0].duration"  # 0 before the end
    milliseconds = []
    for _ in range(3):
        report.open()
        milliseconds.append(WebDriverWait(report.driver, 20).until(lambda driver: driver.execute_script(duration)))
        assert len(report.cards()) == PAGE
    assert min(milliseconds) < 2000
    assert report.count() == f"{count:,} of {count:,} samples"
    report.click("#bulk [data-decision=keep]")
    assert report.find("#decided").text == f"{count} decisions: {count} keep"
    assert len(report.export()) == count


COLOURS = """
const parse = (text) => {
  const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
  return [r, g, b, a];
};
const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
const behind = (node) => {
  const layers = [];
  for (let at = node; at; at = at.parentElement) layers.unshift(parse(getComputedStyle(at).backgroundColor));
  return layers.reduce((below, top) => over(top, below), [255, 255, 255, 1]);
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.closest("script, title, :disabled")) continue;
  const style = getComputedStyle(node);
  const grounds = [behind(node)];
  if (node.ownerSVGElement) {
    const bands = [...node.ownerSVGElement.querySelectorAll(".band")].slice(0, 1);
    grounds.push(...bands.map((band) => over(parse(getComputedStyle(band).fill), grounds[0])));
  }
  const colour = parse(node.ownerSVGElement ? style.fill : style.color);
  for (const ground of grounds) found.push([walker.currentNode.data.trim().slice(0, 40), over(colour, ground), ground]);
}
return found;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(report: Report, scheme: str):
    """Every text that is shown has a contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3), also over bands of the chart."""
    emulated = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    report.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
    report.press(Keys.ARROW_RIGHT, "k", Keys.ARROW_RIGHT, "d", Keys.ARROW_RIGHT, "r", Keys.ENTER)
    report.export()
    texts = report.driver.execute_script(COLOURS)
    report.press("?")
    texts += report.driver.execute_script(COLOURS)
    assert len(texts) > 200
    grounds = {sum(ground[:3]) > 380 for _, _, ground in texts if ground}
    assert (scheme == "light") in grounds
    poor = {(text, round(contrast(a, b), 2)) for text, a, b in texts if contrast(a, b) < 4.5}
    assert poor == set()


def contrast(a: Sequence[float], b: Sequence[float]) -> float:
    def luminance(colour: Sequence[float]) -> float:
        linear = [c / 12.92 if (c := v / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for v in colour[:3]]
        return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_a_screen_reader_has_a_name_for_everything(report: Report):
    nodes: list[dict[str, Any]] = report.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "textbox", "searchbox", "combobox", "spinbutton", "image", "group", "listitem", "list", "region"}
    named = [node for node in nodes if not node["ignored"] and node.get("role", {}).get("value") in roles]
    assert {node["role"]["value"] for node in named} >= {"button", "searchbox", "combobox", "spinbutton", "image"}
    nameless = [node for node in named if not node.get("name", {}).get("value")]
    quiet = {"listitem", "group"}  # whose contents speak for themselves
    assert [node["role"]["value"] for node in nameless if node["role"]["value"] not in quiet] == []
    assert (
        report.find("#count").get_attribute("aria-live")
        == report.find("#decided").get_attribute("aria-live")
        == "polite"
    )


def test_tab_reaches_the_buttons_of_a_sample(report: Report):
    report.press(Keys.ARROW_RIGHT, Keys.TAB, Keys.TAB, Keys.TAB, Keys.SPACE)
    assert report.pressed() == {"0000.png": "Drop"}
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert report.driver.execute_script(outline) == "solid"


@pytest.mark.parametrize("report", [[relabelled("a/" * 60 + f"{n}.png") for n in range(9)]], indirect=True)
def test_a_phone_needs_no_sideways_scrolling(report: Report):
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    report.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        report.driver.refresh()
        sizes = "return [document.documentElement.scrollWidth, innerWidth]"
        assert report.driver.execute_script(sizes) == [390, 390]
        small = "return [...document.querySelectorAll('#gallery button')].filter((b) => b.offsetHeight < 32).length"
        assert report.driver.execute_script(small) == 0
    finally:
        report.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_data_is_read_as_it_was_written(report: Report):
    written = json.loads(report.driver.execute_script("return document.getElementById('data').textContent"))
    assert written["rows"]["id"] == [f"{number:04d}.png" for number in range(100)]
