"""Weights from files, folders and the Hugging Face hub: safetensors, because nothing in them can run code."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from elixir.data.io import replacing
from elixir.errors import ElixirError

Net = TypeVar("Net", bound=nn.Module)

SHIPPED = Path(__file__).parent.parent / "weights"
PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib"}


def sha256_of(model: str | Path | None) -> str | None:
    """SHA-256 of a file, a folder, FILE in "timm:NAME@FILE" or all shipped weights (None); None of any other model."""
    path = SHIPPED if model is None else Path(model)
    if not path.exists():
        path = Path(str(model).partition("@")[2] or path)
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    if not path.is_dir():
        return None
    files = sorted(file for file in path.rglob("*") if file.suffix in (".safetensors", ".json"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors from any device as safetensors, through a temporary name; the same tensors give the same bytes.

    The order of `metadata` in the file is random: where bytes matter, it has at most one entry.
    """
    copies = {name: t.cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    with replacing(path, path.with_name(path.name + ".partial")) as partial:
        partial.write_bytes(save(copies, None if metadata is None else dict(metadata)))


def check_output(path: Path) -> None:
    """Raise ElixirError, before a long training, if a weight file cannot be written there or has another ending."""
    if path.suffix != ".safetensors":
        raise ElixirError(f"{str(path)!r} must end with .safetensors, or no command will know what it is")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ElixirError(f"{str(path)!r} cannot be written: it is a folder, or the folder for it is missing")


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; an ElixirError for any other file, in particular a pickle."""
    if not path.is_file():
        raise ElixirError(f"there is no weight file {str(path)!r}")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        if path.suffix.lower() in PICKLES:
            what = "a pickle, which can run code when opened: convert it to safetensors"
            raise ElixirError(f"{str(path)!r} looks like {what}") from error
        raise ElixirError(f"{str(path)!r} is not a readable safetensors file (truncated?): {error}") from error


def save_network(
    net: nn.Module, path: Path, kind: str, record: Mapping[str, object], dtype: torch.dtype = torch.float32
) -> None:
    """Write the weights of a network on any device through a temporary name, those that fit into `dtype` as this.

    `kind` ("elixir.prior", "elixir.consistency", "elixir.impure" or "elixir.classifier") is the key of the metadata,
    and `record` its plain values, as JSON.
    """
    tensors = {name: t.to(dtype) if _fits(t, dtype) else t for name, t in net.state_dict().items()}
    write_weights(path, tensors, {kind: json.dumps(dict(record))})


def _fits(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Whether a tensor is of floating-point numbers, none of which overflows in `dtype`."""
    return tensor.is_floating_point() and bool((tensor.abs() <= torch.finfo(dtype).max).all())


def load_network(path: Path, kinds: tuple[str, ...], build: Callable[[dict[str, Tensor], dict[str, Any]], Net]) -> Net:
    """A network of one of these `kinds` written by `save_network`, with its weights; an ElixirError for any other file.

    `build` makes it for the tensors and the record of the file, and may change the tensors.
    """
    tensors, metadata = read_weights(path)
    name = kinds[0].removeprefix("elixir.")
    kind = next((kind for kind in kinds if kind in metadata), None)
    if kind is None:
        raise ElixirError(f"{str(path)!r} holds no {name} of elixir's: give a file written by `elixir train {name}`")
    try:
        net = build(tensors, json.loads(metadata[kind]))
        net.load_state_dict(tensors)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise ElixirError(f"{str(path)!r} does not fit this version's {name}: train it again") from error
    return net


@contextmanager
def silenced(logging: Any) -> Iterator[None]:
    """Keep progress bars and warnings of transformers or diffusers, whose `utils.logging` this is, off the screen."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def model_folder(model: str) -> Path:
    """The folder `model`, or "owner/name" from the hub without its pickles; an ElixirError without safetensors."""
    folder = Path(model)
    if not folder.is_dir():
        folder = _download(model)
    if not any(folder.rglob("*.safetensors")):
        raise ElixirError(
            f"{model!r} has no safetensors file: pickled weights can run code and are not opened; convert them where "
            "you trust them, with save_pretrained(folder, safe_serialization=True), and give that folder"
        )
    return folder


def _download(model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(model, allow_patterns=["*.json", "*.safetensors"]))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ElixirError(
            f"{model!r} is neither a folder nor a model that can be had from the hub ({type(error).__name__}): "
            "check the name and the network, or download it and give the folder"
        ) from error
