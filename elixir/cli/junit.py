"""A result as JUnit XML, which CI servers show: a test case for each label."""

from xml.etree import ElementTree

from elixir.data.paths import printable
from elixir.detection.reports import LabelReport
from elixir.result import Result


def junit_xml(result: Result) -> str:
    """An XML document: a label under attack has failed, one that was not judged was skipped, any other has passed.

    A result that says nothing of any label has one test case for the whole set, which was skipped.
    """
    reports = result.labels or [LabelReport(-1, "all labels", 0, not_judged="this recipe judges no labels")]
    attacked = {label.label: label for label in result.attacked}
    counts = {"tests": str(len(reports)), "failures": str(len(attacked)), "errors": "0"}
    root = ElementTree.Element("testsuites", counts)
    seconds = f"{sum(cost.seconds for cost in result.costs.values()):.3f}"
    skipped = str(sum(bool(report.not_judged) for report in reports))
    attributes = {"name": f"elixir {printable(result.config['source'])}", **counts, "skipped": skipped, "time": seconds}
    suite = ElementTree.SubElement(root, "testsuite", attributes)
    for report in reports:
        case = ElementTree.SubElement(suite, "testcase", {"classname": "elixir.labels", "name": printable(report.name)})
        if label := attacked.get(report.label):
            evidence = "\n".join(f"{name} = {value}" for name, value in label.evidence.items())
            message = f"under attack: {label.flagged} of {report.samples} samples flagged"
            failure = {"message": f"{message}, score {label.score:.3f}, {label.detector}", "type": "attack"}
            ElementTree.SubElement(case, "failure", failure).text = evidence
        elif report.not_judged:
            ElementTree.SubElement(case, "skipped", {"message": f"not judged: {printable(report.not_judged)}"})
    ElementTree.SubElement(suite, "system-out").text = "\n".join(map(printable, result.summary().split("\n")))
    ElementTree.indent(root)
    return ElementTree.tostring(root, "utf-8", xml_declaration=True).decode() + "\n"
