"""JUnit XML as junitparser reads it."""

from xml.etree import ElementTree

from fake_result import fake_result
from junitparser import Failure, JUnitXml, Skipped

from elixir.cli.junit import junit_xml
from elixir.result import Result


def suite(result: Result):
    (only,) = JUnitXml.fromstring(junit_xml(result).encode())
    cases = list(only)
    counted = (only.tests, only.failures, only.skipped, only.errors)
    only.update_statistics()  # by what is there
    assert counted == (only.tests, only.failures, only.skipped, only.errors)
    return only, cases


def test_a_label_is_a_case():
    only, cases = suite(fake_result(attacked=True, not_judged=("", "", "few\x1b")))
    assert [case.name for case in cases] == ["cat", r"<dog> & \x1b[31m", r"owl\ufffe"]
    (failure,), passed, (skipped,) = (case.result for case in cases)
    assert isinstance(failure, Failure)
    assert (failure.type, failure.message) == ("attack", "under attack: 2 of 2 samples flagged, score 0.900, joint")
    assert failure.text == "disagrees = 0.5"
    assert passed == []
    assert isinstance(skipped, Skipped)
    assert skipped.message == r"not judged: few\x1b"
    assert (only.name, only.tests, only.failures, only.skipped) == (r"elixir pets\x1b", 3, 1, 1)


def test_the_summary_is_the_output_and_the_last_element():
    """The order that the schema of Jenkins asks for; time in seconds."""
    root = ElementTree.fromstring(junit_xml(fake_result()).encode())
    assert root.tag == "testsuites"
    assert root[0].attrib["time"] == "1.500"
    assert [child.tag for child in root[0]] == ["testcase"] * 3 + ["system-out"]
    assert "no label under attack" in (root[0][-1].text or "")


def test_a_result_that_says_nothing_of_any_label_is_skipped():
    result = fake_result()
    result.labels.clear()
    only, cases = suite(result)
    assert (len(cases), only.tests, only.skipped) == (1, 1, 1)
