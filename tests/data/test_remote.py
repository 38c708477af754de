import http.server
import os
import re
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import requests
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from moto.server import ThreadedMotoServer

from elixir.data.open import open_source
from elixir.data.overlap import refuse_overlap
from elixir.data.remote.mirror import Entry, home_of, mirror
from elixir.data.restore import restore
from elixir.errors import ElixirError

from .conftest import change_some, emit, image_bytes, keep, make_tree, read_tree, table

CLASSES = {f"{name}/{number}.png": image_bytes(number) for name in ("cat", "dog") for number in range(4)}


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of a real S3 server on this machine, to which s3:// URLs lead."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    told = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in told.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        yield client
        client.close()
    server.stop()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELIXIR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    files = MemoryFileSystem()
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]


class Broken(MemoryFileSystem):
    """The files of `MemoryFileSystem` over a connection that breaks after some bytes."""

    protocol = "broken"
    cachable = False
    left = 0
    fetched: list[str] = []  # noqa: RUF012 - of all instances

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.removeprefix("broken://"))

    def _open(self, path: str, *args: Any, **options: Any) -> Any:
        Broken.fetched.append(path.rpartition("/")[2])
        data = self.store[path].getvalue()
        whole: Any = MemoryFile(None, None, data)
        read = whole.read

        def until_it_breaks(size: int = -1) -> bytes:
            if len(data) > Broken.left:
                raise ConnectionResetError("peer has hung up")
            Broken.left -= len(data)
            whole.read = read
            return read(size)

        whole.read = until_it_breaks
        return whole


class Denied(MemoryFileSystem):
    protocol = "denied"

    def info(self, path: str, **options: Any) -> Any:
        raise PermissionError("Access Denied")


fsspec.register_implementation("broken", Broken)
fsspec.register_implementation("denied", Denied)


def put(s3: Any, prefix: str, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        s3.put_object(Bucket="bucket", Key=f"{prefix}{name}", Body=data)


def test_class_folders_in_a_bucket(s3: Any, tmp_path: Path, cache: Path) -> None:
    put(s3, "signs/", {**CLASSES, "empty/": b"", "readme.md": b"# signs"})
    source = open_source("s3://bucket/signs")
    assert (source.kind, source.location, source.classes) == ("folder", "s3://bucket/signs", ["cat", "dog", "empty"])
    assert [source.read(index) for index in range(8)] == list(CLASSES.values())
    assert f"s3://bucket/signs was copied to {cache}" in source.notes[-1]
    refuse_overlap(source, tmp_path / "dst")
    with pytest.raises(ElixirError, match="lies inside"):
        refuse_overlap(source, next(cache.glob("signs-*/data")) / "cat")

    emit(source, "folder", tmp_path / "dst", change_some(1))
    restore(tmp_path / "dst", tmp_path / "back")
    tree = {**CLASSES, "readme.md": b"# signs", "cat": None, "dog": None, "empty": None}
    assert read_tree(tmp_path / "back") == tree
    assert open_source("s3://bucket/signs/").fingerprint() == source.fingerprint()


def test_what_has_changed_in_a_bucket_is_followed(s3: Any, cache: Path) -> None:
    put(s3, "changing/", {**CLASSES, "dog/more/x.png": image_bytes(9), "cow/0.png": image_bytes(7)})
    before = open_source("s3://bucket/changing").fingerprint()
    (home,) = cache.glob("changing-*")
    kept = {path: path.stat().st_ino for path in home.rglob("[0-3].png") if path.parent.name != "cow"}
    s3.delete_object(Bucket="bucket", Key="changing/dog/more/x.png")
    s3.delete_object(Bucket="bucket", Key="changing/cow/0.png")
    put(s3, "changing/", {"cow": b"now a file", "cat/0.png": image_bytes(10)})
    source = open_source("s3://bucket/changing")
    tree = {**CLASSES, "cat/0.png": image_bytes(10), "cow": b"now a file", "cat": None, "dog": None}
    assert read_tree(home / "data") == tree
    assert [path.name for path in home.iterdir()] == ["data"]
    changed = [path.relative_to(home).as_posix() for path, inode in kept.items() if path.stat().st_ino != inode]
    assert changed == ["data/cat/0.png"]
    assert source.fingerprint() != before


def test_parquet_in_a_bucket(s3: Any, tmp_path: Path) -> None:
    for number in range(2):
        table(start=number * 20).to_parquet(tmp_path / "part.parquet")
        put(s3, "rows/", {f"year={number}/part {number}.parquet": (tmp_path / "part.parquet").read_bytes(), "x": b""})
    one = open_source("s3://bucket/rows/year=0/part 0.parquet")
    assert (one.kind, one.location) == ("parquet", "s3://bucket/rows/year=0/part 0.parquet")
    assert (one.read(0), len(one.samples)) == (image_bytes(0), 7)
    both = open_source("s3://bucket/rows/*/part*.parquet")
    assert (both.location, both.read(7)) == ("s3://bucket/rows/*/part*.parquet", image_bytes(20))
    assert [sample.id for sample in both.samples[6:8]] == ["part 0/00000006", "part 1/00000000"]
    assert len(open_source("parquet:s3://bucket/rows").samples) == 14

    emit(both, "parquet", tmp_path / "dst", keep)
    restore(tmp_path / "dst", tmp_path / "back")
    assert pq.read_table(tmp_path / "back/year=1/part 1.parquet") == pq.read_table(tmp_path / "part.parquet")
    with pytest.raises(ElixirError, match=re.escape("nothing lies at s3://bucket/rows/*.tar; check it")):
        open_source("s3://bucket/rows/*.tar")


def test_a_dataset_that_was_saved_to_a_bucket(s3: Any) -> None:
    table().save_to_disk("s3://bucket/saved")
    source = open_source("s3://bucket/saved")
    assert (source.kind, source.location, source.read(2)) == ("hf", "s3://bucket/saved", image_bytes(2))


def test_what_is_not_there(s3: Any) -> None:
    for url in ("s3://bucket/nothing", "s3://nothing/at-all", "s3://nothing"):
        with pytest.raises(ElixirError, match=rf"^{url} does not exist \(no such bucket"):
            open_source(url)
    put(s3, "single/", {"a.txt": b"text"})
    with pytest.raises(ElixirError, match=r"s3://bucket/single/a\.txt is a file"):
        open_source("s3://bucket/single/a.txt")


def test_errors_name_the_url_and_not_the_copy(memory: MemoryFileSystem, cache: Path) -> None:
    memory.pipe("/data/cat/readme.txt", b"no image")
    for url in ("memory://data", Path("memory://data")):
        with pytest.raises(ElixirError, match=r"^memory://data has no images") as caught:
            open_source(url)
        assert str(cache) not in str(caught.value)


def test_denied() -> None:
    with pytest.raises(ElixirError, match=r"denied://bucket/x is denied \(Access Denied\); give .* FSSPEC_DENIED"):
        open_source("denied://bucket/x")


def test_denied_by_a_server(s3: Any) -> None:
    put(s3, "private/", CLASSES)
    server = f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
    requests.post(server, data=b"0")  # keys are checked from now on
    try:
        with pytest.raises(ElixirError, match=r"^access to s3://bucket/private is denied .* AWS_PROFILE"):
            open_source("s3://bucket/private")
    finally:
        requests.post(server, data=b"inf")


def test_a_connection_that_breaks_is_gone_on_with(memory: MemoryFileSystem, cache: Path) -> None:
    for name, data in CLASSES.items():
        memory.pipe(f"/data/{name}", data)
    sizes = [len(data) for data in CLASSES.values()]
    Broken.left, Broken.fetched = sum(sizes[:5]), []
    message = "broken://data (/data/dog/1.png) is broken (peer has hung up); run the same command again"
    with pytest.raises(ElixirError, match=re.escape(message)):
        open_source("broken://data")
    assert len(list(cache.glob("data-*/data/*/*.png"))) == 5
    Broken.left, Broken.fetched = sum(sizes), []
    assert len(open_source("broken://data").samples) == 8
    assert Broken.fetched == ["1.png", "2.png", "3.png"]
    assert not list(cache.glob("*/partial"))


def test_a_failure_ends_the_other_downloads(tmp_path: Path) -> None:
    def fetch(key: str, target: Path, watch: fsspec.Callback) -> None:
        while key == "endless":
            watch.relative_update(1)
            time.sleep(0.001)
        raise ElixirError("no such key")

    entries = {key: Entry(key, 1, 0) for key in ("endless", "bad", "never begun")}
    with pytest.raises(ElixirError, match="no such key"):
        mirror(tmp_path / "home", entries, [], fetch, "here", quiet=True, parallel=2)
    assert list((tmp_path / "home/data").iterdir()) == []


def test_a_file_that_arrives_short_is_not_taken(memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.pipe("/data/a/0.png", image_bytes(0))
    get = memory.get_file
    short = lambda key, target, **options: (get(key, target, **options), os.truncate(target, 50))  # noqa: E731
    monkeypatch.setattr(MemoryFileSystem, "get_file", lambda self, *args, **options: short(*args, **options))
    with pytest.raises(ElixirError, match=r"50 of \d+ bytes of /data/a/0.png in memory://data have arrived; run"):
        open_source("memory://data")


@pytest.mark.parametrize(
    "name", ["../x.png", "cat/../../x.png", "/etc/x.png", "cat//x.png", "./x.png", "x\0.png", "a" * 300]
)
def test_names_that_are_no_paths_in_a_folder(memory: MemoryFileSystem, cache: Path, name: str) -> None:
    for key in (*CLASSES, name):
        memory.store[f"/data/{key}"] = MemoryFile(memory, f"/data/{key}", image_bytes(0))
    with pytest.raises(
        ElixirError, match=r"memory://data has '.*' in it, which is no path .*; rename or remove it there"
    ):
        open_source("memory://data")
    assert not list(cache.parent.rglob("*.png"))


@pytest.mark.parametrize("name", ["cat/A.png", "Cat/b.png", "cat", "cat/a.png/b.png"])
def test_names_that_are_the_same_on_some_file_systems(memory: MemoryFileSystem, cache: Path, name: str) -> None:
    for key in ("cat/a.png", name):
        memory.store[f"/data/{key}"] = MemoryFile(memory, f"/data/{key}", image_bytes(0))
    with pytest.raises(ElixirError, match="one and the same on some file systems"):
        open_source("memory://data")
    assert not list(cache.rglob("*.png"))


def test_a_key_outside_of_what_was_asked_for(memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.pipe("/data/a/0.png", image_bytes(0))
    found = {"/other/x.png": {"type": "file", "size": 3}}
    monkeypatch.setattr(MemoryFileSystem, "find", lambda *args, **options: found)
    with pytest.raises(ElixirError, match=r"lists '/other/x.png', which lies elsewhere"):
        open_source("memory://data")


def test_a_full_disk_is_told_before(memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.pipe("/data/a/0.png", image_bytes(0))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(ElixirError, match=r"0.0 GB are to be copied .* ELIXIR_CACHE"):
        open_source("memory://data")


def test_protocols(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ElixirError, match=r"htps://x/y begins with htps://, which is not known; did you mean 'https'\?"
    ):
        open_source("htps://x/y")
    with pytest.raises(ElixirError, match="is a chain of URLs"):
        open_source("zip://x::s3://bucket/y.zip")

    def missing(name: str) -> None:
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(ElixirError, match="a package is missing; pip install 'gcsfs'"):
        open_source("gs://bucket/x")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server for the folder "www", whose page "secret" wants a password."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/secret"):
                self.send_error(403)
            else:
                super().do_GET()

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    (tmp_path / "www").mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path / "www")) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_web_server(web: str, tmp_path: Path) -> None:
    table().to_parquet(tmp_path / "www/t.parquet")
    source = open_source(f"http://name:password@{web}/t.parquet?X-Amz-Signature=signed/ly#x")
    assert (source.location, source.read(1)) == (f"http://{web}/t.parquet", image_bytes(1))
    assert not re.search("name|password|Sign", " ".join([source.location, *source.notes]))
    with pytest.raises(ElixirError, match=f"^http://{web}/none.parquet does not exist"):
        open_source(f"http://name:password@{web}/none.parquet?token=hidden")
    with pytest.raises(ElixirError, match=f"^http://{web}/ is a page for people"):
        open_source(f"http://{web}/")
    with pytest.raises(ElixirError, match=rf"^access to http://{web}/secret.parquet is denied") as caught:
        open_source(f"http://{web}/secret.parquet?token=hidden")
    assert "hidden" not in str(caught.value)


def test_where_copies_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ELIXIR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert home_of("../a b", "key").parent == tmp_path / "xdg/elixir"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home_of("x", "key").parent == tmp_path / ".cache/elixir"
    assert home_of("x", "key") != home_of("x", "other key")
    assert re.fullmatch(r"[a-z0-9_.-]{1,120}", home_of("ü" * 300 + ".zip", "key").name)


def test_nothing_is_written_to_a_url(tmp_path: Path) -> None:
    source = open_source(make_tree(tmp_path / "src", CLASSES))
    for dst in ("s3://bucket/out", Path("s3://bucket/out")):
        with pytest.raises(ElixirError, match=r"^s3://bucket/out is a URL, where nothing is written"):
            refuse_overlap(source, dst)  # type: ignore[arg-type]


def test_the_copy_is_as_random_as_its_origin(memory: MemoryFileSystem) -> None:
    """Sizes alike, contents not: the modification time tells."""
    memory.pipe("/data/a/0.png", image_bytes(0))
    memory.pipe("/data/b/0.png", image_bytes(1))
    before = open_source("memory://data").fingerprint()
    other = bytearray(image_bytes(0))
    other[-1] = np.uint8(other[-1] ^ 1)
    memory.pipe("/data/a/0.png", bytes(other))
    source = open_source("memory://data")
    assert source.fingerprint() != before
    assert source.read(0) == other
