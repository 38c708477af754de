"""Lists as files: what is understood, what is refused, and that rows which do not change stay byte for byte."""

import json
from pathlib import Path

import pyarrow.json
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elixir.data.files import lists
from elixir.data.files.lists import ListFile, read_list
from elixir.errors import ElixirError


def read(tmp_path: Path, name: str, data: bytes | str) -> ListFile:
    (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_list(tmp_path / name, name)


@pytest.mark.parametrize(
    ("name", "data", "rows"),
    [
        ("a.csv", "path,label\na.png,cat\nb.png,dog\n", ["a.png", "b.png"]),
        ("a.csv", "\ufeffpath,label\r\na.png,cat\r\n\r\nb.png,dog", ["a.png", "b.png"]),
        ("a.csv", "path;label\n\"a;\n1.png\";'x,y,z'\nb.png;\n", ["a;\n1.png", "b.png"]),
        ("a.tsv", "path\tlabel, with a comma, or two\na.png\tcat\n", ["a.png"]),
        ("a.csv", "path,label\ra.png,cat\rb.png,dog\r", ["a.png", "b.png"]),
        ("a.csv", "label,path\ncat\ncat,b.png,more\n", [None, "b.png"]),
        ("a.csv", b"path,label\ncaf\xe9.png,cat\n", ["caf\udce9.png"]),
        ("a.jsonl", '{"path": "a.png"}\n\n{"label": 3,"path":"b.png"}', ["a.png", "b.png"]),
        ("a.json", '[{"path": "a.png"}, {"path": "b.png", "x": [1, {"y": null}]}]', ["a.png", "b.png"]),
        ("a.json", '\ufeff\n[\n  {"path": "a.png"}\n  ,{\n"path": "b.png"}\n]\n', ["a.png", "b.png"]),
        ("a.json", "[]", []),
    ],
)
def test_rows_and_the_same_bytes(tmp_path: Path, name: str, data: bytes | str, rows: list[str]) -> None:
    listed = read(tmp_path, name, data)
    assert [row.values.get("path") for row in listed.rows] == rows
    assert listed.with_rows(listed.rows) == (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", "", "a.csv is empty"),
        ("a.csv", "\ufeff \n", "a.csv is empty"),
        ("a.csv", 'path,label\na.png,"cat\n', "line 2, cannot be understood as CSV: .*; correct it"),
        ("a.csv", "path,path\na.png,cat\n", "two columns of one name"),
        ("a.csv", "path,label\na.png,cat\n".encode("utf-16"), "no text in UTF-8"),
        ("a.csv", "path\n" + "x" * 200_000, "field larger than"),
        ("a.jsonl", '{"path": "a.png"}\n{"path": \n', "line 2, cannot be understood as JSON"),
        ("a.jsonl", "[" * 100_000, "cannot be understood as JSON"),
        ("a.jsonl", '{"a":' * 100_000, "line 1, cannot be understood as JSON"),
        ("a.jsonl", '{"path": "a.png", "path": "b.png"}', "two values of one name"),
        ("a.jsonl", '{"path": "\\ud800.png"}', "line 1, has text that is none"),
        ("a.jsonl", '{"path": "a.png"}\n3\n', "line 2, is no JSON object"),
        ("a.json", '[{"path": "a.png"}\n,\n3]', "line 3, is no JSON object"),
        ("a.json", '[{"path": "a.png"}] x', "not one JSON array"),
        ("a.json", '[{"path": "a.png"},]', "cannot be understood as JSON"),
    ],
)
def test_what_is_no_list(tmp_path: Path, name: str, data: bytes | str, message: str) -> None:
    with pytest.raises(ElixirError, match=message):
        read(tmp_path, name, data)


def test_too_large_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "LARGEST_LIST", 10)
    with pytest.raises(ElixirError, match=r"a.csv is too large .* \(17 bytes\)"):
        read(tmp_path, "a.csv", "path,label\na,cat\n")
    with pytest.raises(ElixirError, match=r"b.csv cannot be read: no such file"):
        read_list(tmp_path / "b.csv", "b.csv")


@pytest.mark.parametrize(
    ("name", "data", "wanted"),
    [
        (
            "a.csv",
            'path,label,"x"\r\na.png,cat,"1, 2"\r\nb.png,"dog",2',
            b'path,label,"x"\r\na.png,"d\n,",\
"1, 2"\r\nb.png,"dog",2',
        ),
        ("a.csv", "path,label,x\na.png\n", b'path,label,x\na.png,"d\n,",\n'),
        ("a.tsv", "path\tlabel\na.png\tcat", b'path\tlabel\na.png\t"d\n,"'),
        (
            "a.jsonl",
            '{"path":"a.png","label":"cat","x":1.50}\n{}',
            b'{"path": "a.png", "label": "d\\n,", "x": 1.5}\n{}',
        ),
        ("a.jsonl", '{"path":"\u00e9.png","label":"cat"}\n', '{"path":"\u00e9.png","label":"d\\n,"}\n'.encode()),
        ("a.jsonl", '{"path": "\\u00e9.png", "label": "cat"}\r\n', b'{"path": "\\u00e9.png", "label": "d\\n,"}\r\n'),
        ("a.json", '[ {"label": "cat"},\n {"path": 1} ]', b'[ {"label": "d\\n,"},\n {"path": 1} ]'),
        ("a.json", '[{\n  "label": "cat"\n}]', b'[{\n  "label": "d\\n,"\n}]'),
    ],
)
def test_changed_row(tmp_path: Path, name: str, data: str, wanted: bytes) -> None:
    listed = read(tmp_path, name, data)
    first, *others = listed.rows
    assert listed.with_rows([listed.changed(first, {"label": "d\n,"}), *others]) == wanted


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
def test_rows_left_out(tmp_path: Path, name: str) -> None:
    rows = [{"path": f"{number}.png", "label": number} for number in range(3)]
    texts = {
        "a.csv": "path,label\n0.png,0\n1.png,1\n2.png,2",
        "a.jsonl": "\n".join(map(json.dumps, rows)),
        "a.json": json.dumps(rows),
    }
    listed = read(tmp_path, name, texts[name])
    for kept in ([], [0], [1], [2], [0, 2], [1, 2]):
        again = read(tmp_path, f"b{name}", listed.with_rows(listed.rows[number] for number in kept) or b"{}")
        found = [str(row.values.get("label")) for row in again.rows if row.values]
        assert found == [str(number) for number in kept]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_adopted_row(tmp_path: Path, end: str) -> None:
    one = read(tmp_path, "a.csv", f"path;label{end or chr(10)}a.png;cat{end}")
    other = read(tmp_path, "b.csv", "label,path\ndog,b.png\n")
    written = one.with_rows([*one.rows, one.adopted(other.rows[0])]).decode()
    assert written == (end or "\n").join(["path;label", "a.png;cat", f"b.png;dog{end}"])
    array = read(tmp_path, "c.json", '[\n{"path": "a.png"}\n]')
    assert json.loads(array.with_rows([*array.rows, array.adopted(array.rows[0])])) == [{"path": "a.png"}] * 2


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5), TEXT, st.sampled_from(["a.csv", "a.tsv", "a.jsonl"]))
def test_any_text_comes_back(tmp_path: Path, pairs: list[tuple[str, str]], new: str, name: str) -> None:
    rows = [{"path": f"{one}.", "label": other} for one, other in pairs]
    if name == "a.jsonl":
        listed = read(tmp_path, name, "".join(json.dumps(row) + "\n" for row in rows))
    else:
        empty = read(tmp_path, name, "path\tlabel\nx.\ty\n" if name == "a.tsv" else "path,label\nx.,y\n")
        changed = [empty.changed(empty.rows[0], row) for row in rows]
        listed = read(tmp_path, name, empty.with_rows(changed))
    assert [row.values for row in listed.rows] == rows
    changed = [listed.changed(listed.rows[0], {"label": new}), *listed.rows[1:]]
    data = listed.with_rows(changed)
    again = read(tmp_path, name, data)
    assert [row.values for row in again.rows] == [rows[0] | {"label": new}, *rows[1:]]
    assert data.endswith(b"".join(row.text.encode() for row in listed.rows[1:]))
    if name == "a.jsonl":
        assert pyarrow.json.read_json(tmp_path / name).num_rows == len(rows)
