"""Python objects as sources: torch datasets and what else gives images and labels, arrays, .npz files, streams."""

import gc
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset, random_split
from torchvision.datasets import ImageFolder

from elixir.api import restore
from elixir.data.image import decode
from elixir.data.objects.targets import UNNAMED, target_of
from elixir.data.open import open_source
from elixir.data.overlap import refuse_overlap
from elixir.data.source import Source
from elixir.errors import ElixirError

from .conftest import change_some, emit, image_bytes, keep, make_tree, open_table, table

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 9, 3), dtype=np.uint8)
PICTURES = [Image.fromarray(pixels) for pixels in PIXELS]
LABELS = [2, 0, 1, 0, 2, 1]


class Torch(torch.utils.data.Dataset):
    def __init__(self, images, labels, **attributes) -> None:
        self.images, self.labels = images, labels
        vars(self).update(attributes)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


def test_torch_dataset() -> None:
    array = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    images = [Image.fromarray(array), array, tensor, tensor / 255, tensor[:1], array[..., 0], array / 255]
    source = open_table(Torch(images, [0, 1, torch.tensor(1), np.int64(3), 0, 0, 0]))
    assert source.kind == "hf"
    assert source.classes == ["0", "1", "2", "3"]
    assert [sample.label for sample in source.samples] == [0, 1, 1, 3, 0, 0, 0]
    for index in (0, 1, 2, 3, 6):
        np.testing.assert_array_equal(decode(source.read(index)).rgb, array)
    for index in (4, 5):
        picture = decode(source.read(index))
        assert picture.grey
        np.testing.assert_array_equal(picture.rgb[..., 0], array[..., 0])
    assert source.fingerprint() == open_source(Torch(images, [0, 1, 1, 3, 0, 0, 0])).fingerprint()


def test_torch_dataset_with_names_and_targets() -> None:
    images = [Image.new("RGB", (2, 2))] * 2
    source = open_source(Torch(images, [None, None], targets=[1, 0], classes=["stop", "yield"]))
    assert source.classes == ["stop", "yield"]
    assert [sample.label for sample in source.samples] == [1, 0]


def test_torch_dataset_that_was_normalised() -> None:
    with pytest.raises(ElixirError, match=r"outside \[0,1\]"):
        open_source(Torch([torch.randn(3, 4, 4) * 9], [0])).read(0)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((4, 4), 256, np.uint16), r"outside 0\.\.255"),
        (np.full((4, 4, 3), -1), r"outside 0\.\.255"),
        (np.full((4, 4), np.nan), r"outside \[0,1\]"),
        (np.zeros((0, 4), np.uint8), "of shape"),
        (Image.new("F", (4, 4)), "PNG does not hold"),
    ],
)
def test_torch_dataset_of_odd_images(image, message: str) -> None:
    with pytest.raises(ElixirError, match=message):
        open_source(Torch([image], [0])).read(0)


def test_torch_dataset_of_random_images() -> None:
    rng = np.random.default_rng(0)

    class Augmented:
        targets = (0, 1)

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            return rng.integers(0, 256, (4, 4, 3), np.uint8), index

    with pytest.raises(ElixirError, match="leave out its random transforms"):
        open_source(Augmented()).fingerprint()


def labels_of(source: Source) -> list[int]:
    return [sample.label for sample in source.samples]


def names_of(source: Source) -> list[str | None]:
    """The name of the class of every sample."""
    return [source.classes[sample.label] if sample.label >= 0 else None for sample in source.samples]


def check_pixels(source: Source, pixels: Any = PIXELS) -> None:
    for index, wanted in enumerate(pixels):
        rgb = decode(source.read(index)).rgb
        np.testing.assert_array_equal(rgb, wanted if wanted.ndim == 3 else np.repeat(wanted[..., None], 3, 2))


class Watched:
    """Counts which samples are asked for."""

    def __init__(self, samples: list[Any], **attributes: Any) -> None:
        self.given, self.asked = samples, set()
        vars(self).update(attributes)

    def __len__(self) -> int:
        return len(self.given)

    def __getitem__(self, index: int) -> Any:
        self.asked.add(index)
        return self.given[index]


@pytest.mark.parametrize(
    "labels",
    [
        np.array(LABELS)[:, None],
        np.array(LABELS, np.uint8),
        np.array(LABELS, np.float32),
        torch.tensor(LABELS)[:, None],
        [np.array([label]) for label in LABELS],
        [torch.tensor([[label]]) for label in LABELS],
        [[label] for label in LABELS],
        [np.float64(label) for label in LABELS],
        [float(label) for label in LABELS],
    ],
    ids=lambda labels: f"{type(labels).__name__}-{getattr(labels, 'dtype', type(labels[0]).__name__)}",
)
@pytest.mark.parametrize("attribute", ["", "targets", "labels", "_labels", "y"])
def test_labels_as_people_have_them(labels, attribute: str) -> None:
    attributes = {attribute: labels} if attribute else {}
    source = open_source(Watched(list(zip(PICTURES, labels, strict=True)), **attributes))
    assert (source.classes, labels_of(source)) == (["0", "1", "2"], LABELS)
    assert source.notes == [UNNAMED]
    check_pixels(source)


def test_no_label() -> None:
    for none in (None, -1, -1.0, np.int8(-1), torch.tensor([-1]), float("nan"), " "):
        source = open_source([(PICTURES[0], 1), (PICTURES[1], none), (PICTURES[2], 0), (PICTURES[3], none)])
        assert labels_of(source) == [1, -1, 0, -1]
        assert source.classes == ["0", "1"]
        assert source.notes[0] == "2 of 4 samples have no label and are set aside"
    with pytest.raises(ElixirError, match="no image has a label"):
        open_source([(picture, None) for picture in PICTURES])


def test_names_as_labels() -> None:
    samples = [(PICTURES[0], "owl"), (PICTURES[1], np.str_("cat")), (PICTURES[2], None), (PICTURES[3], "owl")]
    source = open_source(samples)
    assert source.classes == ["cat", "owl"]
    assert labels_of(source) == [1, 0, -1, 1]
    assert UNNAMED not in source.notes
    assert open_source(Watched(samples, classes=["owl", "dog", "cat"])).classes == ["owl", "dog", "cat"]
    assert names_of(open_source(Watched(samples, classes=["owl", "dog", "cat"]))) == ["owl", "cat", None, "owl"]
    assert open_source(Watched(samples, classes=["owl", "dog"])).classes == ["cat", "owl"]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (1.5, r"dataset\[5\]: the label 1.5 is no whole number; give the number or the name"),
        (float("inf"), "the label inf is no whole number"),
        (-2, "the label -2 is no class; number the classes from 0, and give -1 for no label"),
        (2**31 - 1, "the label 2147483647 is no class"),
        ("cat", "both names, such as 'cat', and numbers"),
        ([0, 1, 0], r"of shape \(3,\) are one-hot; give their numbers, labels.argmax"),
        (np.array([0.0, 1.0]), "one-hot"),
        (torch.tensor([1, 1, 0]), r"\(3,\) are not one for each image; give the one class of each"),
        (np.zeros(4), "are not one for each image"),
        (("cat", "dog"), "are not one for each image"),
        ([], "are not one for each image"),
        ({"boxes": [], "labels": []}, "a label of type dict is no class"),
        (PICTURES[0], "a label of type Image is no class"),
    ],
)
def test_labels_that_are_none(label, message: str) -> None:
    with pytest.raises(ElixirError, match=message):
        open_source([*zip(PICTURES[:5], LABELS[:5], strict=True), (PICTURES[5], label)])


def test_labels_of_attributes_spare_the_images() -> None:
    samples = [(PICTURES[index % 6], index % 3) for index in range(200)]
    labels = [index % 3 for index in range(200)]
    stored = [
        {"targets": labels},
        {"_labels": labels, "y": list(range(200))},
        {"labels": np.array(labels), "targets": np.eye(3)[labels]},
        {"_samples": [(f"{index}.png", label) for index, label in enumerate(labels)]},
    ]
    for attributes in stored:
        dataset = Watched(samples, **attributes)
        assert labels_of(open_source(dataset)) == labels
        assert len(dataset.asked) == 16
    other = Watched(samples, targets=labels[::-1])  # as a target_transform or a poisoning wrapper leave them
    assert labels_of(open_source(other)) == labels
    assert len(other.asked) == 200


def test_label_that_an_attribute_contradicts() -> None:
    labels = [index % 3 for index in range(200)]
    samples = [(PICTURES[index % 6], 2 if index == 5 else index % 3) for index in range(200)]
    source = open_source(Watched([samples[0], *samples[1:]], targets=[*labels[:5], 1, *labels[6:]]))
    source.read(4)
    with pytest.raises(ElixirError, match=r"dataset\[5\] has the label 2, which is 1 elsewhere; set its attribute"):
        source.read(5)


def test_dicts() -> None:
    samples = [{"id": 7, "img": picture, "fine_label": label} for picture, label in zip(PICTURES, LABELS, strict=True)]
    source = open_table(samples)
    assert (source.image, source.label) == ("img", "fine_label")
    assert labels_of(source) == LABELS
    assert source.notes[0] == (
        "of each sample, 'img' and 'fine_label' are read; not looked at and not in the output: id"
    )
    check_pixels(source)
    odd = [{"picture 1": picture, "kind": label} for picture, label in zip(PICTURES, LABELS, strict=True)]
    with pytest.raises(ElixirError, match="has the images; name it with image=: picture 1, kind"):
        open_source(odd)
    with pytest.raises(ElixirError, match="has the labels; name it with label="):
        open_source(odd, image="picture 1")
    assert labels_of(open_source(odd, image="picture 1", label="kind")) == LABELS
    with pytest.raises(ElixirError, match=r"dataset\[1\] has no part 'fine_label'"):
        open_source([samples[0], {"img": PICTURES[0]}])


def test_samples_of_more_parts() -> None:
    source = open_source([[picture, label, "a.png"] for picture, label in zip(PICTURES, LABELS, strict=True)])
    assert labels_of(source) == LABELS
    assert source.notes[0].startswith("samples have 3 parts: the first is read as the image and the second as the")
    with pytest.raises(ElixirError, match="another one each time, as numbers of samples are"):
        open_source([(picture, number, LABELS[number]) for number, picture in enumerate(PICTURES)])


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ((PICTURES[0], PICTURES[1]), "two images, such as a picture and its mask"),
        ((PIXELS[0], PIXELS[0, ..., 0]), "two images"),
        ((torch.zeros(3, 4, 4), torch.zeros(4, 4)), "two images"),
        ((0, PICTURES[0]), "begins with a int, which is no image; give pairs of an image"),
        (("a.png", 0), "begins with a str"),
        ((PICTURES[0],), "is one tuple and not an image and a label"),
        (PICTURES[0], "is one Image and not"),
        (PIXELS[0], "is one ndarray and not"),
        ((PIXELS, 0), r"of shape \(6, 8, 9, 3\)"),
        ((np.zeros((5, 6, 6), np.uint8), 0), r"of shape \(5, 6, 6\)"),
        ((np.full((4, 4), "x"), 0), "images of <U1"),
    ],
)
def test_samples_that_are_none(sample, message: str) -> None:
    with pytest.raises(ElixirError, match=message):
        open_source([sample] * 3)


def test_images_of_other_layouts() -> None:
    images = [PIXELS[0].transpose(2, 0, 1), torch.from_numpy(PIXELS[0]), torch.from_numpy(PIXELS[0] / 255).float()]
    check_pixels(open_source([(image, 0) for image in images]), [PIXELS[0]] * 3)
    mask = PIXELS[0, ..., 0] > 128
    check_pixels(open_source([(mask, 0), (torch.tensor(mask).bfloat16(), 0)]), [mask * np.uint8(255)] * 2)


def test_sample_that_cannot_be_read() -> None:
    class Broken(Watched):
        def __getitem__(self, index: int) -> Any:
            if index == 3:
                raise OSError("broken data stream")
            return super().__getitem__(index)

    samples = list(zip(PICTURES, LABELS, strict=True))
    with pytest.raises(ElixirError, match=r"dataset\[3\] cannot be read: OSError: broken data stream; .*Subset"):
        open_source(Broken(samples))
    broken: Any = Broken(samples)
    good = open_source(Subset(broken, [0, 1, 2, 4, 5]))
    assert labels_of(good) == [2, 0, 1, 2, 1]


def test_class_names() -> None:
    samples = list(zip(PICTURES, LABELS, strict=True))
    names = ["cat", "dog", "owl"]
    named = [
        {"classes": tuple(names)},
        {"classes": ["x", "y", "z"], "class_to_idx": {"dog": 1, "owl": 2, "cat": 0}},
        {"categories": names},
        {"info": {"label": {"1": "dog", "0": "cat", "2": "owl"}}},
    ]
    for attributes in named:
        source = open_source(Watched(samples, **attributes))
        assert source.classes == names
        assert source.notes == []
    assert open_source(Watched(samples, classes=[("cat", "tabby"), ("dog",), ("owl",)])).classes[0] == "cat, tabby"
    for odd in (["cat", "dog"], ["cat", "cat", "owl"]):
        source = open_source(Watched(samples, classes=odd))
        assert source.classes == ["0", "1", "2"]
        assert "labels are called by their numbers" in source.notes[0]


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    """18 images of three classes."""
    files = {f"{name}/{number}.png": image_bytes(number) for name in ("cat", "dog", "owl") for number in range(6)}
    return ImageFolder(str(make_tree(tmp_path / "images", files)))


def test_wrappers_keep_class_names(folder: ImageFolder, tmp_path: Path) -> None:
    indices = [17, 0, 7, 6]
    tensor: Any = torch.tensor(indices)
    one, two = random_split(folder, [10, 8], torch.Generator().manual_seed(0))
    wrapped = {
        "subset": (Subset(folder, indices), indices),
        "tensor": (Subset(folder, tensor), indices),
        "nested": (Subset(Subset(folder, indices), [3, 0]), [6, 17]),
        "concat": (ConcatDataset([one, Subset(two, [2])]), [*one.indices, two.indices[2]]),
        "split": (one, list(one.indices)),
    }
    for dataset, rows in wrapped.values():
        source = open_source(dataset)
        assert source.classes == ["cat", "dog", "owl"]
        assert labels_of(source) == [folder.targets[row] for row in rows]
        assert source.notes == []
        with pytest.raises(ElixirError, match="lies inside the source"):
            refuse_overlap(source, tmp_path / "images/cat/clean")
    plain: Any = [folder[row] for row in range(18)]
    assert open_source(Subset(plain, indices)).notes == [UNNAMED]


def test_wrapper_that_gives_other_labels(folder: ImageFolder) -> None:
    class Merged:
        dataset, indices = folder, range(18)

        def __len__(self) -> int:
            return 18

        def __getitem__(self, index: int) -> Any:
            return folder[index][0], int(folder[index][1] == 0)

    source = open_source(Merged())
    assert source.classes == ["0", "1"]
    assert labels_of(source) == [1] * 6 + [0] * 12
    assert source.notes == [UNNAMED]


def concatenated(*parts: Any) -> Any:
    return ConcatDataset(parts)


def test_names_of_labels_that_are_transformed(folder: ImageFolder) -> None:
    folder.target_transform = lambda label: 2 - label
    for dataset in (folder, Subset(folder, range(18)), concatenated(folder)):
        source = open_source(dataset)
        assert (source.classes, source.notes) == (["0", "1", "2"], [UNNAMED])
        assert labels_of(source) == [2] * 6 + [1] * 6 + [0] * 6
    folder.target_transform = np.array  # which changes nothing
    assert open_source(folder).classes == ["cat", "dog", "owl"]


def test_concatenated_classes() -> None:
    samples = list(zip(PICTURES, LABELS, strict=True))
    one, other = Watched(samples, classes=["cat", "dog", "owl"]), Watched(samples, classes=["a", "b", "c"])
    whole = concatenated(one, other)
    with pytest.raises(ElixirError, match="have other classes: cat, dog, owl and a, b, c; clean them one by one, or"):
        open_source(whole)
    whole.classes = ["x", "y", "z"]
    assert open_source(whole).classes == ["x", "y", "z"]
    assert labels_of(open_source(concatenated(one, one))) == LABELS * 2


def test_tensors_and_loaders() -> None:
    tensors = TensorDataset(torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255, torch.tensor(LABELS))
    source = open_source(tensors)
    assert labels_of(source) == LABELS
    check_pixels(source)
    assert open_source(tensors).fingerprint() == source.fingerprint()
    with pytest.raises(ElixirError, match="a DataLoader: give what is in its attribute `dataset`"):
        open_source(DataLoader(tensors))
    with pytest.raises(ElixirError, match=r"in a DataFrame: give datasets\.Dataset\.from_pandas"):
        open_source(table().to_pandas())
    with pytest.raises(ElixirError, match="has no split 'test' but train"):
        open_source(tensors, split="test")
    with pytest.raises(ElixirError, match="has no samples"):
        open_source([])


ARRAYS = {
    "hwc": PIXELS,
    "chw": PIXELS.transpose(0, 3, 1, 2),
    "float": PIXELS.astype(np.float32) / 255,
    "tensor": torch.from_numpy(PIXELS).permute(0, 3, 1, 2),
    "tensor hwc": torch.from_numpy(PIXELS / 255),
    "int": PIXELS.astype(np.int64),
    "list": list(PIXELS),
    "objects": np.array([*map(Image.fromarray, PIXELS), None], object)[:-1],
}


@pytest.mark.parametrize("form", ARRAYS)
def test_arrays(form: str) -> None:
    source = open_source((ARRAYS[form], np.array(LABELS)[:, None]))
    assert source.kind == "hf"
    assert labels_of(source) == LABELS
    check_pixels(source)
    assert source.fingerprint() == open_source((ARRAYS[form], LABELS)).fingerprint()
    assert names_of(open_source([ARRAYS[form], ["b", "a", "c"] * 2])) == ["b", "a", "c"] * 2
    check_pixels(open_source({"images": ARRAYS[form], "labels": LABELS}))


def test_grey_arrays() -> None:
    for grey in (PIXELS[..., 0], PIXELS[..., :1], PIXELS[..., :1].transpose(0, 3, 1, 2)):
        source = open_source((grey, LABELS))
        assert decode(source.read(0)).grey
        check_pixels(source, PIXELS[..., 0])


def test_fingerprint_of_arrays() -> None:
    changed = PIXELS.copy()
    changed[3, 1, 2, 0] ^= 1
    given = [(PIXELS, LABELS), (changed, LABELS), (PIXELS, LABELS[::-1]), (PIXELS[..., 0], LABELS)]
    assert len({open_source(arrays).fingerprint() for arrays in given}) == 4


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (PIXELS, LABELS[:5], "there are 6 images and 5 labels; give one label for each image"),
        (list(PIXELS), LABELS[:5], "there are 6 images and 5 labels"),
        (PIXELS, 3, "6 images and a int"),
        (PIXELS, None, "6 images and a NoneType"),
        (PIXELS, np.array(3), "6 images and a ndarray"),
        (PIXELS, np.eye(6, dtype=int), r"of shape \(6, 6\) are one-hot; give their numbers, labels.argmax"),
        (PIXELS, np.ones((6, 14), int), r"of shape \(6, 14\) are not one for each image"),
        (PIXELS, [[0], [1, 2], [0], [1], [2], [0]], "are not one for each image"),
        (PIXELS.reshape(6, -1), LABELS, r"of shape \(6, 216\) holds no images; give \(images, labels\), with images"),
        (np.zeros((6, 8, 8, 8), np.uint8), LABELS, "holds no images"),
        (np.zeros((6, 3, 8, 3), np.uint8), LABELS, r"which axis has the channels; .*transpose\(0, 2, 3, 1\)"),
        (PIXELS.astype(np.float32), LABELS, r"float images outside \[0,1\]; .* divide 0..255 by 255"),
        (PIXELS.astype(np.int16) - 300, LABELS, r"outside 0\.\.255"),
    ],
)
def test_arrays_that_do_not_fit(images, labels, message: str) -> None:
    with pytest.raises(ElixirError, match=message):
        open_source((images, labels))


@pytest.mark.parametrize(
    "names",
    [
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_data", "train_targets", "test_data", "test_targets"),
        ("images", "labels", "test_images", "test_labels"),
        ("data", "targets", "rows", "more"),
        ("x", "y", "rows", "more"),
        ("arr_0", "arr_1", "rows", "more"),
    ],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path: Path, names: tuple[str, ...], save: Any) -> None:
    arrays = dict(zip(names, (PIXELS, np.array(LABELS, np.uint8)[:, None], PIXELS[:2], [1, 1]), strict=True))
    save(tmp_path / "set.npz", **arrays)
    source = open_source(tmp_path / "set.npz")
    assert (source.kind, source.classes, labels_of(source)) == ("hf", ["0", "1", "2"], LABELS)
    check_pixels(source)
    left = f"arrays that were not looked at and are not in the output: {names[2]}, {names[3]}"
    assert source.notes == [UNNAMED, left]
    assert source.fingerprint() == open_source(str(tmp_path / "set.npz")).fingerprint()
    assert labels_of(open_source(np.load(tmp_path / "set.npz"))) == LABELS
    if names[2] != "rows":
        assert labels_of(open_source(tmp_path / "set.npz", split="test")) == [1, 1]
        assert labels_of(open_source(tmp_path / "set.npz", usual="test")) == [1, 1]
        with pytest.raises(ElixirError, match="has no split 'val' but train, test"):
            open_source(tmp_path / "set.npz", split="val")
    with pytest.raises(ElixirError, match="source and destination are the same"):
        refuse_overlap(source, tmp_path / "set.npz")


def test_npz_of_named_arrays(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    np.savez(file, images=PIXELS, labels=LABELS, fine_label=LABELS[::-1], class_names=["cat", "dog", "owl"])
    with pytest.raises(ElixirError, match="two arrays of labels, labels and fine_label; name one of each with --image"):
        open_source(file)
    with pytest.raises(ElixirError, match="only 'fine_label' is named; name the images"):
        open_source(file, label="fine_label")
    with pytest.raises(ElixirError, match="no array 'x' but images, labels"):
        open_source(file, image="x", label="labels")
    source = open_source(file, image="images", label="fine_label")
    assert names_of(source) == [["cat", "dog", "owl"][label] for label in LABELS[::-1]]
    assert source.notes == ["arrays that were not looked at and are not in the output: labels"]
    np.savez(file, a=PIXELS, b=LABELS)
    with pytest.raises(ElixirError, match="no pair of images and labels but a, b; call them images and labels"):
        open_source(file)
    np.savez(file, train_images=PIXELS, test_labels=LABELS)
    with pytest.raises(ElixirError, match="no pair of images and labels"):
        open_source(file)


class Trap:
    """Unpickled, it leaves a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


def test_bad_npz(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    trap = np.empty(6, object)
    trap[:] = [Trap(tmp_path / "trapped")] * 6
    np.savez(file, images=PIXELS, labels=trap)
    with pytest.raises(ElixirError, match=r"cannot be read as arrays.*no Python objects"):
        open_source(file)
    for name, data in {"images": pickle.dumps(trap), "labels": b"", "more": image_bytes(0)}.items():
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("images.npy", data)
            archive.writestr("labels.npy", data)
        with pytest.raises(ElixirError, match="cannot be read as arrays"):
            open_source(file)
        assert name
    assert not (tmp_path / "trapped").exists()
    np.savez(file, images=PIXELS, labels=LABELS)
    whole = file.read_bytes()
    for data in (whole[:-100], whole[:500] + bytes(300) + whole[800:], b"", b"PK"):
        file.write_bytes(data)
        with pytest.raises(ElixirError, match=r"set\.npz cannot be read as arrays"):
            open_source(file)
    np.save(tmp_path / "set.npy", PIXELS)
    with pytest.raises(ElixirError, match=r"is one array; give an \.npz file of images and labels"):
        open_source(tmp_path / "set.npy")


def test_npz_that_is_larger_than_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "set.npz", images=PIXELS, labels=LABELS)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(ElixirError, match=r"which has 0\.0; set TMPDIR to a place with more"):
        open_source(tmp_path / "set.npz")


def test_temporary_files_go_with_their_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    np.savez(tmp_path / "set.npz", images=PIXELS, labels=LABELS)
    for src in (tmp_path / "set.npz", table().to_iterable_dataset()):
        source = open_source(src)
        assert len(list((tmp_path / "tmp").iterdir())) == 1
        assert source.read(0)
        del source
        gc.collect()
        assert not any((tmp_path / "tmp").iterdir())


def stream_of(kind: str, place: Path) -> tuple[Any, list[bytes]]:
    """A stream of four images of the classes "cat" and "dog", and their bytes."""
    files = {f"{name}/{number}.png": image_bytes(number) for number, name in enumerate(("cat", "cat", "dog", "dog"))}
    make_tree(place / "images", files)
    stored = datasets.Dataset.from_list(
        [{"image": {"bytes": data, "path": name}, "label": int("dog" in name)} for name, data in files.items()],
        datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}),
    )
    stored.to_parquet(str(place / "set.parquet"))
    if kind == "folder":
        loaded = datasets.load_dataset("imagefolder", data_dir=str(place / "images"), split="train", streaming=True)
    elif kind == "parquet":
        loaded = datasets.load_dataset("parquet", data_files=str(place / "set.parquet"), split="train", streaming=True)
    elif kind == "map":
        loaded = stored.to_iterable_dataset(2).map(lambda row: row, features=stored.features)
    else:
        loaded = stored.to_iterable_dataset()
    return loaded, list(files.values())


@pytest.mark.parametrize("kind", ["folder", "parquet", "map", "object"])
def test_streams(tmp_path: Path, kind: str) -> None:
    stream, images = stream_of(kind, tmp_path)
    source = open_table(stream)
    assert (source.kind, source.classes, labels_of(source)) == ("hf", ["cat", "dog"], [0, 0, 1, 1])
    if kind == "map":  # it decodes images and encodes them again
        for index, data in enumerate(images):
            np.testing.assert_array_equal(decode(source.read(index)).rgb, decode(data).rgb)
    else:
        assert [source.read(index) for index in (3, 0, 2, 1)] == [images[index] for index in (3, 0, 2, 1)]
    assert source.fingerprint() == open_source(stream).fingerprint()
    assert source.fingerprint() != open_source(stream.take(3)).fingerprint()
    assert source.notes == []


def test_streams_of_several_splits(tmp_path: Path) -> None:
    stream, _ = stream_of("object", tmp_path)

    def never() -> Any:
        raise AssertionError("it is not to be read")
        yield

    unread = datasets.IterableDataset.from_generator(never, features=stream.features)
    splits = datasets.IterableDatasetDict({"test": unread, "train": stream})
    source = open_table(splits)
    assert (source.split, len(source.samples)) == ("train", 4)
    assert source.notes == ["other splits were not looked at and are not in the output: test"]
    with pytest.raises(ElixirError, match="has no split 'dev' but test, train"):
        open_source(splits, split="dev")


def test_stream_that_breaks(tmp_path: Path) -> None:
    stream, images = stream_of("object", tmp_path)

    def breaks() -> Any:
        for number in range(40):
            yield {"image": {"bytes": images[0], "path": None}, "label": number % 2}
        raise ConnectionError("reset by peer")

    with pytest.raises(ElixirError, match="the stream breaks at row 40: ConnectionError: reset by peer; run again, or"):
        open_source(datasets.IterableDataset.from_generator(breaks, features=stream.features))
    with pytest.raises(ElixirError, match=r"does not tell the types of its columns; pass features=.* to map"):
        open_source(datasets.IterableDataset.from_generator(breaks))


def test_stream_that_names_a_missing_file(tmp_path: Path) -> None:
    stream, images = stream_of("folder", tmp_path)
    (tmp_path / "images/cat/1.png").unlink()
    source = open_source(stream)
    assert source.read(0) == images[0]
    with pytest.raises(ElixirError, match="no image is stored"):
        source.read(1)


OBJECTS: dict[str, Any] = {
    "pairs": lambda _: list(zip(PICTURES, LABELS, strict=True)),
    "names": lambda _: [{"pixel_values": p, "label": "ab"[n % 2]} for n, p in enumerate(PICTURES)],
    "unlabelled": lambda _: Watched([(p, n % 3 - 1) for n, p in enumerate(PICTURES)], classes=["cat", "dog"]),
    "arrays": lambda _: (PIXELS, np.array(LABELS)),
    "stream": lambda place: stream_of("folder", place)[0],
}


@pytest.mark.parametrize("kind", ["hf", "parquet", "folder"])
@pytest.mark.parametrize("form", OBJECTS)
def test_round_trip(tmp_path: Path, form: str, kind: Any) -> None:
    source = open_table(OBJECTS[form](tmp_path))
    emit(source, kind, tmp_path / "kept", keep)
    emit(source, kind, tmp_path / "dst", change_some(3))
    if kind == "hf":
        loaded: Any = datasets.load_from_disk(str(tmp_path / "kept"))
        assert loaded.features[source.label].names == source.classes
        assert loaded[source.label] == labels_of(source)
        for index, row in enumerate(loaded):
            np.testing.assert_array_equal(np.asarray(row[source.image]), decode(source.read(index)).rgb)
    restore(tmp_path / "dst", tmp_path / "back")
    back: Any = datasets.load_from_disk(str(tmp_path / "back"))
    plain = back.cast_column(source.image, datasets.Image(decode=False))
    assert [row[source.image]["bytes"] for row in plain] == [source.read(n) for n in range(len(source.samples))]
    assert list(back[source.label]) == labels_of(source)
    assert back.features[source.label].names == source.classes


def test_target_of_is_exact() -> None:
    assert [target_of(value) for value in (True, np.bool_(False), 3.0, b"cat", [[["x"]]])] == [1, 0, 3, "cat", "x"]
    assert target_of(2**53 + 1) == 2**53 + 1
    assert not re.match("[01]", str(target_of("2")))
