"""Ways in which labelled images are damaged: the images themselves, folders, lists, tables and archives."""

import csv
import io
import json
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from small_sets import CLASSES, KINDS, SIZE, Labelled, as_table, encoded, write_folder, write_lines

NAMES = (
    "..",
    "-rf",
    "a\nb",
    "\x1b[31mred",
    "nul\u2028",
    "über",
    "x" * 250,
    ".hidden",
    "con.png",
    "a:b",
    "%2e%2e",
    "\udcff\udcfe",
)
"""Hostile names; the last is none in UTF-8."""
PATHS = ("../../escaped.png", "/tmp/elixir-escaped.png", "a/../../b.png", "./././c.png", "d//e.png", "f\\g.png", "")
JUNK = (None, "", "junk", -1, 2**70, 1e308, float("nan"), True, [], {}, [[["deep"]]], {"a": {"b": [1, {"c": None}]}})


def _cut(rng: np.random.Generator, data: bytes) -> bytes:
    return data[: int(rng.integers(len(data)))] if data else data


def _flip(rng: np.random.Generator, data: bytes) -> bytes:
    flipped = bytearray(data)
    for place in rng.integers(8 * max(1, len(data)), size=int(rng.integers(1, 20))) if data else ():
        flipped[place // 8] ^= 1 << (place % 8)
    return bytes(flipped)


def _blank(rng: np.random.Generator, data: bytes) -> bytes:
    start = int(rng.integers(len(data) + 1))
    return data[:start] + bytes(len(data[start : start + 512])) + data[start + 512 :]


def _repeat(rng: np.random.Generator, data: bytes) -> bytes:
    start = int(rng.integers(len(data) + 1))
    return data[:start] + data[max(0, start - 100) :]


BYTES: dict[str, Callable[[np.random.Generator, bytes], bytes]] = {
    "truncated": _cut,
    "flipped bits": _flip,
    "blanked": _blank,
    "repeated": _repeat,
    "emptied": lambda rng, data: b"",
    "junk": lambda rng, data: rng.bytes(int(rng.integers(1, 3000))),
}
"""What befalls any file."""


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(width: int, height: int, data: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG file that says so of itself, whatever `data` holds."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(data, 9)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, 256, (*shape, 3)).astype(float)


def _animated(rng: np.random.Generator, data: bytes) -> bytes:
    frames = [Image.fromarray(_noise(rng, SIZE, SIZE).astype(np.uint8)) for _ in range(3)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


def _deep(rng: np.random.Generator, data: bytes) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 2**16, (SIZE, SIZE)).astype(np.uint16)).save(file, "PNG")
    return file.getvalue()


IMAGES: dict[str, Callable[[np.random.Generator, bytes], bytes]] = {
    **BYTES,
    "swapped header": lambda rng, data: encoded(_noise(rng, SIZE, SIZE), "JPEG")[:12] + data[12:],
    "another's header": lambda rng, data: data[:8] + encoded(_noise(rng, SIZE, SIZE), "BMP")[8:],
    "huge": lambda rng, data: png_of(int(rng.integers(2**16, 2**31)), int(rng.integers(2**16, 2**31)), data),
    "large and empty": lambda rng, data: png_of(7000, 7000, bytes(100)),
    "bomb": lambda rng, data: png_of(20000, 20000, bytes(20000 * 2501), depth=1, colour=0),
    "no pixels": lambda rng, data: png_of(0, int(rng.integers(2)), b""),
    "one pixel": lambda rng, data: encoded(_noise(rng, 1, 1)),
    "a thread": lambda rng, data: encoded(_noise(rng, 1, int(rng.integers(300, 3000)))),
    "another format": lambda rng, data: encoded(
        _noise(rng, SIZE, SIZE), str(rng.choice(["JPEG", "BMP", "TIFF", "WEBP", "PPM", "GIF", "ICO", "TGA"]))
    ),
    "cut JPEG": lambda rng, data: _cut(rng, encoded(_noise(rng, 64, 64), "JPEG")),
    "flipped JPEG": lambda rng, data: _flip(rng, encoded(_noise(rng, 64, 64), "JPEG")),
    "flipped TIFF": lambda rng, data: _flip(rng, encoded(_noise(rng, SIZE, SIZE), "TIFF")),
    "flipped WebP": lambda rng, data: _flip(rng, encoded(_noise(rng, SIZE, SIZE), "WEBP")),
    "flipped GIF": lambda rng, data: _flip(rng, _animated(rng, data)),
    "animated": _animated,
    "16 bit": _deep,
    "drawing": lambda rng, data: b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "pickle": lambda rng, data: b"\x80\x04cos\nsystem\n(S'touch /tmp/elixir-escaped.png'\ntR.",
    "pointer": lambda rng, data: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
}
"""What befalls single images, wherever they lie."""


def damage_images(rng: np.random.Generator, name: str, images: Sequence[Labelled]) -> tuple[list[Labelled], set[int]]:
    """The images, one to five of them damaged, and which those are."""
    hit = set(rng.choice(len(images), int(rng.integers(1, 6)), replace=False).tolist())
    return [
        Labelled(IMAGES[name](rng, image), label) if number in hit else Labelled(image, label)
        for number, (image, label) in enumerate(images)
    ], hit


def damage_a_file(rng: np.random.Generator, name: str, place: Path) -> None:
    """Damage one of the files in a folder that are no images, or the file at `place`."""
    files = [place] if place.is_file() else [file for file in sorted(place.rglob("*")) if file.is_file()]
    files = [file for file in files if file.suffix not in (".png", ".md")] or files
    file = files[int(rng.integers(len(files)))]
    file.write_bytes(BYTES[name](rng, file.read_bytes()))


def _any(rng: np.random.Generator, root: Path) -> Path:
    files = sorted(root.rglob("*.png"))
    return files[int(rng.integers(len(files)))]


def _rename(rng: np.random.Generator, root: Path) -> None:
    for name in rng.choice(NAMES, 3, replace=False).tolist():
        file = _any(rng, root)
        file.rename(file.with_name(f"{name}.png"))


def _rename_class(rng: np.random.Generator, root: Path) -> None:
    (root / CLASSES[0]).rename(root / str(rng.choice([name for name in NAMES if name != ".."])))


def _link(rng: np.random.Generator, root: Path) -> None:
    targets = ("nowhere", "loop.png", "/etc/passwd", "/dev/zero", "..", ".", str(_any(rng, root)))
    for name in ("loop.png", "other.png", "more"):
        (root / CLASSES[1] / name).symlink_to(str(rng.choice(targets)))


def _special(rng: np.random.Generator, root: Path) -> None:
    os.mkfifo(root / CLASSES[0] / "pipe.png")
    os.mkfifo(root / "pipe.txt")
    (root / CLASSES[1] / "folder.png").mkdir()


def _endings(rng: np.random.Generator, root: Path) -> None:
    for ending in rng.choice([".jpg", ".txt", ".PNG", ".npy", "", ".parquet", ".tar", ".csv", ".gz"], 4).tolist():
        file = _any(rng, root)
        file.rename(file.with_suffix(ending))


def _deeper(rng: np.random.Generator, root: Path) -> None:
    for depth in range(3):
        file = _any(rng, root)
        folder = file.parent.joinpath(*["deeper"] * int(rng.integers(1, 20)), str(depth))
        folder.mkdir(parents=True)
        file.rename(folder / file.name)
    (root / "empty").mkdir()
    (root / CLASSES[2] / ".elixir").mkdir()
    (root / CLASSES[2] / ".elixir" / "run.json").write_text("{}")
    (root / "loose.png").write_bytes(_any(rng, root).read_bytes())


FOLDERS: dict[str, Callable[[np.random.Generator, Path], None]] = {
    "hostile names": _rename,
    "hostile class": _rename_class,
    "links": _link,
    "pipes": _special,
    "wrong endings": _endings,
    "odd folders": _deeper,
}
"""What befalls a tree of files."""


def _damage_list(rng: np.random.Generator, name: str, images: Sequence[Labelled], place: Path) -> None:
    """A CSV list, of which the rows, their paths or their encoding are odd."""
    KINDS["list"](images, place)
    file = place / "labels.csv"
    rows = list(csv.reader(file.read_text().splitlines()))
    some = rng.choice(np.arange(1, len(rows)), 5, replace=False).tolist()
    for row in some:
        if name == "odd labels":
            rows[row][1] = str(
                rng.choice(["", "NaN", "null", "-1", "SPOT ", "\x1b[2J", "spot,bar", "../x", "=1+1", "ÿ" * 300])
            )
        elif name == "odd paths":
            rows[row][0] = str(rng.choice([*PATHS, "images/none.png", rows[1][0], "http://127.0.0.1:9/x.png", "\0"]))
        elif name == "odd rows":
            rows[row] = [[], rows[row][:1], [*rows[row], "more"], ['"'], ["\0"] * 3, rows[row] * 200][rng.integers(6)]
    if name == "odd columns":
        rows[0] = [["a", "b", "c"], ["file", "file", "file"], ["label", "file", "note"], ["", "", ""]][rng.integers(4)]
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_MINIMAL, escapechar="\\").writerows(rows)
    data = text.getvalue().encode()
    if name == "odd encoding":
        coding = str(rng.choice(["utf-16", "utf-8-sig", "utf-32", "utf-16-le"]))
        data = text.getvalue().encode(coding) if rng.random() < 0.7 else data[:40] + b"\xff\xfe\x00" + data[40:]
    file.write_bytes(data)


def _damage_lines(rng: np.random.Generator, name: str, images: Sequence[Labelled], place: Path) -> None:
    """Likewise of JSON lines."""
    write_lines(images, place)
    file = place / "metadata.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rng.choice(len(rows), 5, replace=False).tolist():
        if name == "odd labels":
            rows[row]["label"] = JUNK[rng.integers(len(JUNK))]
        elif name == "odd paths":
            rows[row]["file_name"] = [*PATHS, *JUNK][rng.integers(len(PATHS) + len(JUNK))]
        elif name == "odd rows":
            rows[row] = JUNK[rng.integers(len(JUNK))]
        elif name == "odd columns":
            rows[row] |= {"objects": JUNK[rng.integers(len(JUNK))], "\0": 1}
    text = "\n".join(json.dumps(row) for row in rows)
    if name == "odd encoding":
        text = "[" * int(rng.integers(1, 100000)) + text if rng.random() < 0.5 else text.replace("\n", "")
    file.write_text(text)


LISTS = ("odd labels", "odd paths", "odd rows", "odd columns", "odd encoding")
"""What befalls a list of images."""


def _other_labels(rng: np.random.Generator, table: pa.Table) -> pa.Table:
    labels = table["label"].to_pylist()
    kinds: list[Callable[[], pa.Array]] = [
        lambda: pa.array([float(label) for label in labels]),
        lambda: pa.array([CLASSES[label] for label in labels]).dictionary_encode(),
        lambda: pa.array([CLASSES[label].encode() + b"\xff" for label in labels], pa.binary()),
        lambda: pa.array([[label] * (label + 1) for label in labels]),
        lambda: pa.array([{"a": label, "b": {"c": [label]}} for label in labels]),
        lambda: pa.array([label == 1 for label in labels]),
        lambda: pa.nulls(len(labels)),
        lambda: pa.array([10**9 * label for label in labels], pa.timestamp("s")),
        lambda: pa.array([(2**63, 1, 2)[label] for label in labels], pa.uint64()),
        lambda: pa.array([(float("nan"), float("inf"), 2.5)[label] for label in labels]),
        lambda: pa.array([str(rng.choice([*NAMES[:5], "spot"])) for _ in labels]),
        lambda: pa.array([[("a", label)] for label in labels], pa.map_(pa.string(), pa.int64())),
    ]
    return table.set_column(1, "label", kinds[rng.integers(len(kinds))]())


def _other_images(rng: np.random.Generator, table: pa.Table) -> pa.Table:
    images = [value["bytes"] for value in table["image"].to_pylist()]
    kinds: list[Callable[[], pa.Array]] = [
        lambda: pa.array(images, pa.binary()),
        lambda: pa.array(images, pa.large_binary()),
        lambda: pa.array([image.hex() for image in images]),
        lambda: pa.array([{"bytes": None, "path": str(rng.choice([*PATHS, "/dev/zero"]))} for _ in images]),
        lambda: pa.array([{"path": "x.png", "bytes": image, "more": 1} for image in images]),
        lambda: pa.array([[{"bytes": image, "path": None}] for image in images]),
        lambda: pa.array([[[1, 2], [3, 4]] for _ in images]),
        lambda: pa.array([str(rng.choice(PATHS)) for _ in images]),
        lambda: pa.array(range(len(images))),
        lambda: pa.nulls(len(images)),
        lambda: pa.array([{"bytes": list(image)[:9], "path": 1} for image in images]),
    ]
    return table.set_column(0, "image", kinds[rng.integers(len(kinds))]())


def _holes(rng: np.random.Generator, table: pa.Table) -> pa.Table:
    for place, name in enumerate(table.column_names):
        values = table[name].to_pylist()
        for row in rng.choice(len(values), 4, replace=False).tolist():
            values[row] = {"bytes": None, "path": None} if name == "image" and rng.random() < 0.5 else None
        table = table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))
    return table


def _more_columns(rng: np.random.Generator, table: pa.Table) -> pa.Table:
    nested = pa.array([[{"a": [b"\xff", None], "b": {"c": number}}] for number in range(len(table))])
    names = ["image", "label", "objects", "image.bytes", "", "\x1b[2J", "__index_level_0__", "source_usable"]
    return table.append_column(str(rng.choice(names)), nested)


def _about(rng: np.random.Generator, table: pa.Table) -> pa.Table:
    good = {
        "info": {"features": {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}}
    }
    told: list[object] = [good, good["info"], *JUNK, {"info": {"features": {"label": {"_type": "ClassLabel"}}}}]
    told += [{"info": {"features": {"label": {"names": JUNK[n], "_type": "ClassLabel"}}}} for n in range(len(JUNK))]
    text = json.dumps(told[rng.integers(len(told))]).encode()
    return table.replace_schema_metadata({"huggingface": _flip(rng, text) if rng.random() < 0.5 else text})


TABLES: dict[str, Callable[[np.random.Generator, pa.Table], pa.Table]] = {
    "other labels": _other_labels,
    "other images": _other_images,
    "nulls": _holes,
    "more columns": _more_columns,
    "odd description": _about,
    "no rows": lambda rng, table: table[:0],
    "one column": lambda rng, table: table.select([int(rng.integers(3))]),
}
"""What befalls a table."""


def _damage_table(rng: np.random.Generator, name: str, kind: str, images: Sequence[Labelled], place: Path) -> None:
    table = as_table(images)
    half = len(table) // 2
    if kind == "parquet":
        (place / "data").mkdir(parents=True)
        whole = rng.random() < 0.5  # else the shards are of two minds
        parts = [TABLES[name](rng, table[:half]), table[half:]]
        if whole:
            damaged = TABLES[name](rng, table)
            parts = [damaged[:half], damaged[half:]]
        for number, part in enumerate(parts):
            pq.write_table(part, place / "data" / f"train-{number:05d}-of-00002.parquet", row_group_size=16)
        return
    KINDS["hf"](images, place)
    (file,) = place.glob("*.arrow")
    damaged = TABLES[name](rng, table.replace_schema_metadata(pa.ipc.open_stream(file.read_bytes()).schema.metadata))
    with pa.OSFile(str(file), "wb") as out, pa.ipc.new_stream(out, damaged.schema) as writer:
        writer.write_table(damaged)


ARCHIVES = ("hostile names", "links", "devices", "wrong sizes", "doubled", "missing fields", "odd labels", "odd fields")
"""What befalls the members of shards."""


def _damage_shards(rng: np.random.Generator, name: str, images: Sequence[Labelled], place: Path) -> None:
    KINDS["webdataset"](images, place)
    file = place / "train-000.tar"
    with tarfile.open(file) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    for at in rng.choice(len(members), 5, replace=False).tolist():
        member, data = members[at]
        suffix = member.name.rpartition(".")[2]
        if name == "hostile names":
            stem = str(rng.choice([*NAMES, *PATHS]))
            members[at] = (_member(f"{stem}.{suffix}", data), data)
        elif name in ("links", "devices"):
            odd = _member(member.name, b"")
            odd.type = (tarfile.SYMTYPE, tarfile.LNKTYPE)[rng.integers(2)] if name == "links" else tarfile.CHRTYPE
            odd.linkname = str(rng.choice(["../../../etc/passwd", member.name, "000.png", "/dev/zero"]))
            members[at] = (odd, b"")
        elif name == "wrong sizes":
            member.size = int(rng.choice([0, 1, 511, 513, 10**6, 2**40]))
        elif name == "doubled":
            members.insert(int(rng.integers(len(members))), (member, data))
        elif name == "missing fields":
            members[at] = (_member(f"more-{at}.txt", b"x"), b"x")
        elif name == "odd labels":
            data = str(rng.choice(["", "-1", "1e9", "NaN", "9" * 40, "bar", "\0", "[1, 2]"])).encode()
            members[at] = (_member(f"{member.name.partition('.')[0]}.cls", data), data)
        elif name == "odd fields":
            data = json.dumps(JUNK[rng.integers(len(JUNK))]).encode()
            members[at] = (_member(f"{member.name.partition('.')[0]}.json", data), data)
    with file.open("wb") as out:
        for member, data in members:
            try:
                out.write(member.tobuf(errors="surrogateescape"))
            except (UnicodeError, ValueError):
                continue
            out.write(data + bytes(-len(data) % 512))
        out.write(bytes(1024))


def _member(name: str, data: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    return member


def _damage_zip(rng: np.random.Generator, name: str, images: Sequence[Labelled], place: Path) -> None:
    write_zip(images, place)
    with zipfile.ZipFile(place / "set.zip", "a") as archive:
        for number in range(3):
            path = str(rng.choice([*NAMES[:-1], *PATHS])) + ("" if name == "hostile names" else f"/{number}.png")
            entry = zipfile.ZipInfo(path.replace("\0", "") or "x")
            if name == "links":
                entry.external_attr = 0o120777 << 16
            if name == "doubled":
                entry.filename = archive.namelist()[number]
            archive.writestr(entry, b"/etc/passwd" if name == "links" else images[number].image)


def write_zip(images: Sequence[Labelled], place: Path) -> Path:
    """A zip archive of a folder for each class."""
    place.mkdir(parents=True)
    folder = write_folder(images, place / "set")
    file = place / "set.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
                path.unlink()
            else:
                path.rmdir()
    folder.rmdir()
    return file


def write_arrays(images: Sequence[Labelled], place: Path) -> Path:
    """An .npz file of pixels and numbers of classes."""
    place.mkdir(parents=True)
    np.savez(place / "set.npz", images=_pixels(images), labels=np.array([label for _, label in images]))
    return place / "set.npz"


def _pixels(images: Sequence[Labelled]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(io.BytesIO(image))) for image, _ in images])


def _damage_arrays(rng: np.random.Generator, name: str, images: Sequence[Labelled], place: Path) -> None:
    file, pixels, labels = write_arrays(images, place), _pixels(images), np.array([label for _, label in images])
    odd = pixels / 255.0
    odd[3, 0, 0, 0] = (np.nan, np.inf, -0.5, 300.0)[rng.integers(4)]
    shapes = [pixels[..., 0], pixels[None], pixels[:, :0], pixels[:7], pixels.transpose(0, 3, 1, 2), pixels.reshape(-1)]
    types = [odd, odd.astype(np.float16), pixels.astype(int), pixels > 99, pixels + 1j, pixels.astype(object)]
    types += [np.array([image for image, _ in images], object), pixels.astype(str), pixels.astype(">u2") * 257]
    others = [labels + 0.5, labels - 1, labels[:9], np.eye(3)[labels], labels[:, None], labels * 2**40, labels == 1]
    others += [np.where(labels == 1, np.nan, labels), np.array(NAMES[:3])[labels], labels.astype(object), labels * 1j]
    if name == "other shapes":
        pixels = shapes[rng.integers(len(shapes))]
    elif name == "other types":
        pixels = types[rng.integers(len(types))]
    elif name == "other labels":
        labels = others[rng.integers(len(others))]
    more = {str(rng.choice(["../x", "train_images", "y", "\x1b[2J"])): labels} if name == "odd names" else {}
    np.savez(file, images=pixels, labels=labels, **more)


WRITERS = {**KINDS, "lines": write_lines, "zip": write_zip, "arrays": write_arrays}


def damages(kind: str) -> list[tuple[str, str]]:
    """What may befall a source of a kind: images, bytes, or what it is made of; each with a name."""
    own = {
        "folder": FOLDERS,
        "list": LISTS,
        "lines": LISTS,
        "parquet": TABLES,
        "hf": TABLES,
        "webdataset": ARCHIVES,
        "zip": ("hostile names", "links", "doubled"),
        "arrays": ("other shapes", "other types", "other labels", "odd names"),
    }[kind]
    of_images = [] if kind == "arrays" else [("images", name) for name in IMAGES]
    of_bytes = [] if kind == "folder" else [("bytes", name) for name in BYTES]
    return of_images + [*of_bytes, *(("structure", name) for name in own)] * 2


def write_damaged(
    rng: np.random.Generator, kind: str, images: Sequence[Labelled], place: Path, damage: tuple[str, str]
) -> tuple[Path, set[int]]:
    """Write a damaged source; its path, and the numbers of the images that are damaged."""
    what, name = damage
    if what == "images":
        damaged, hit = damage_images(rng, name, images)
        return WRITERS[kind](damaged, place), hit
    if what == "bytes":
        path = WRITERS[kind](images, place)
        damage_a_file(rng, name, path)
        return path, set()
    if kind == "folder":
        FOLDERS[name](rng, write_folder(images, place))
    elif kind == "list":
        _damage_list(rng, name, images, place)
    elif kind == "lines":
        _damage_lines(rng, name, images, place)
    elif kind == "webdataset":
        _damage_shards(rng, name, images, place)
    elif kind == "zip":
        _damage_zip(rng, name, images, place)
        return place / "set.zip", set()
    elif kind == "arrays":
        _damage_arrays(rng, name, images, place)
        return place / "set.npz", set()
    else:
        _damage_table(rng, name, kind, images, place)
    return place, set()
