"""Label Studio: tasks and a labelling configuration for it, and decisions from what it exports.

Formats: https://labelstud.io/guide/tasks (tasks with predictions), https://labelstud.io/guide/export (JSON),
https://labelstud.io/tags/choices (configuration).
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import elixir
from elixir.data.decisions import HumanDecision, checked, unique
from elixir.data.exchange.samples import Exported
from elixir.data.io import replace_text
from elixir.data.paths import escape, printable
from elixir.errors import ElixirError, explaining

IMAGES, TASKS, CONFIG = "images", "tasks.json", "labels.xml"
SERVED = "/data/local-files/?d="
"""Where Label Studio serves files below its LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT."""
CONTROL, IMAGE = "label", "image"  # names in the configuration
DROP = "(leave it out)"

_WRONG = "give the JSON export of a project with the tasks of `elixir export`"


def write_label_studio(
    folder: Path, name: str, samples: Iterable[Exported], pictures: dict[int, str], classes: Sequence[str]
) -> None:
    """Write the tasks and the configuration; the pictures are in `IMAGES` already.

    Args:
        name: of the folder below the document root.
        samples: those without a picture are left out.
        pictures: file name by row.
        classes: names of the labels.
    """
    choice = {name: text for text, name in _choices(classes).items()}
    served = f"{SERVED}{name}/{IMAGES}/"
    tasks = [
        _task(sample, served + pictures[sample.row], choice.get(sample.new_label))
        for sample in samples
        if sample.row in pictures
    ]
    replace_text(folder / TASKS, json.dumps(tasks, indent=1, ensure_ascii=False))
    replace_text(folder / CONFIG, _config(classes))


def read_label_studio(path: Path, classes: Sequence[str]) -> list[HumanDecision]:
    """What people have decided, from the JSON that Label Studio exports ("JSON", not "JSON-MIN").

    | choice | decision |
    |---|---|
    | the label in the output, of a sample that was changed | relabel, which leaves it as it is there |
    | the given label | keep |
    | another | relabel |
    | `DROP` | drop |

    Tasks without an annotation, or that were skipped, are no decisions. Of several annotations of a task those count
    that are ground truth, if there are any; if they agree, the last one does.

    Raises: ElixirError: it is no such export; a choice is none of `classes`; or people disagree about a task.
    """
    shown = escape(str(path))
    with explaining((OSError, ValueError, RecursionError), f"{shown} cannot be read", _WRONG):
        tasks = json.loads(path.read_text("utf-8"))
    if not isinstance(tasks, list):
        raise ElixirError(f"{shown} holds no list of tasks; {_WRONG}")
    return unique(_decisions(tasks, shown, classes), shown)


def _decisions(tasks: list[Any], shown: str, classes: Sequence[str]) -> Iterator[HumanDecision]:
    choices = _choices(classes)
    for number, task in enumerate(tasks):
        with explaining((KeyError, TypeError, AttributeError), f"task {number} of {shown} is of another form", _WRONG):
            data, where = task["data"], f"{shown}, task of {printable(str(task['data']['id']))!r}"
            done = [each for each in task["annotations"] if not each.get("was_cancelled") and _chosen(each)]
            done = [each for each in done if each.get("ground_truth")] or done
            if len({_chosen(each) for each in done}) > 1:
                raise ElixirError(f"{where}: annotations disagree; mark the right one as ground truth, export again")
            if done:
                last = max(done, key=_when)
                decision, label = _decided(_chosen(last), data, choices)
                person = HumanDecision(str(data["id"]), decision, label, _who(last), _when(last))  # type: ignore[arg-type]
                yield checked(person, where, classes)


def _decided(choice: str, data: dict[str, Any], choices: dict[str, str]) -> tuple[str, str]:
    """The decision and its label, of the text that was chosen."""
    label = choices.get(choice, choice)
    if choice == _drop(choices):
        return "drop", ""
    unchanged = data["action"] == "kept" or label != data["new_label"]
    return ("keep", "") if unchanged and label == data["given_label"] else ("relabel", label)


def _task(sample: Exported, url: str, prediction: str | None) -> dict[str, Any]:
    facts = sample.facts()
    given = f"given: {sample.given_label}; " if sample.given_label else ""
    now = f"{sample.action}, {sample.reason}" if sample.reason else sample.action
    task: dict[str, Any] = {"data": {IMAGE: url, **facts, "about": f"{given}{now}"}}
    if prediction is not None:
        result = {"id": "elixir", "from_name": CONTROL, "to_name": IMAGE, "type": "choices"}
        result["value"] = {"choices": [prediction]}  # type: ignore[assignment]
        score = {} if sample.confidence is None else {"score": sample.confidence}
        task["predictions"] = [{"model_version": f"elixir {elixir.__version__}", **score, "result": [result]}]
    return task


def _config(classes: Sequence[str]) -> str:
    choices = _choices(classes)
    lines = [f"    <Choice value={quoteattr(text)}/>" for text in (*choices, _drop(choices))]
    return "\n".join(
        [
            "<View>",
            '  <Header value="$about"/>',
            f'  <Image name="{IMAGE}" value="${IMAGE}" zoom="true"/>',
            f'  <Choices name="{CONTROL}" toName="{IMAGE}" choice="single" showInline="true">',
            *lines,
            "  </Choices>",
            "</View>\n",
        ]
    )


def _choices(classes: Sequence[str]) -> dict[str, str]:
    """The class of each text that is offered: its name, as far as XML can hold it, or with a number behind it."""
    choices: dict[str, str] = {}
    for name in classes:
        text = shown = printable(name).strip() or "(no name)"
        number = 1
        while text in choices:
            number += 1
            text = f"{shown} ({number})"
        choices[text] = name
    return choices


def _drop(choices: dict[str, str]) -> str:
    """The text for a sample that is to be left out, which no class has."""
    text = DROP
    while text in choices:
        text = f"({text})"
    return text


def _chosen(annotation: dict[str, Any]) -> str:
    """The text that was chosen, "" for none."""
    for result in annotation["result"]:
        if result["from_name"] == CONTROL and result["value"]["choices"]:
            return str(result["value"]["choices"][0])
    return ""


def _who(annotation: dict[str, Any]) -> str:
    person = annotation.get("completed_by") or ""
    return str(person.get("email") or person.get("id") or "") if isinstance(person, dict) else str(person)


def _when(annotation: dict[str, Any]) -> str:
    return str(annotation.get("updated_at") or annotation.get("created_at") or "")
