"""Checkpoints with a model of sentencepiece and no tokenizer.json: what transformers makes of it (sentencepiece)."""

import hashlib
import importlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import transformers
from transformers import PreTrainedTokenizerBase

_NAMES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_LIKE_LLAMA = {"LlamaTokenizer", "CodeLlamaTokenizer", "TokenizersBackend"}
"""Classes whose first tokenizers handed every text to sentencepiece as it is.

Others, such as those of ALBERT and XLNet, change the text before, so that a difference would say nothing.
"""


def model_file(folder: Path) -> Path | None:
    """The model of sentencepiece in a folder of tokenizer files; None if there is none, or a tokenizer.json beside it.

    A file of tiktoken may have the same name; it is base64, and no message of protobuf as sentencepiece writes it.
    """
    if (folder / "tokenizer.json").is_file():
        return None
    for path in (folder / name for name in _NAMES):
        if path.is_file():
            with path.open("rb") as file:
                if file.read(1) == b"\n":  # the tag of the list of pieces
                    return path
    return None


def missing_packages() -> list[str]:
    """Those of the packages that transformers reads a model of sentencepiece with that are not installed."""
    packages = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}
    return [package for module, package in packages.items() if not _is_installed(module)]


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # of a package above that is not there, or of a module without a spec
        return False


class SentencePieceModel:
    """The tokens that sentencepiece itself makes of texts, beside those of what transformers built from its model."""

    def __init__(self, path: Path, built: PreTrainedTokenizerBase) -> None:
        content = path.read_bytes()
        package: Any = importlib.import_module("sentencepiece")
        self.identity = hashlib.sha256(content).hexdigest()
        self._processor: Any = package.SentencePieceProcessor(model_proto=content)
        self._built = built
        self._name = path.name
        self._added = [token.content for token in built.added_tokens_decoder.values()]

    def remark(self, texts: Sequence[str], ids: Sequence[Sequence[int]]) -> str | None:
        """A sentence with the first difference between these ids of transformers and sentencepiece; None if none.

        Texts that spell out a special token are not compared: sentencepiece takes it for text, and models do not.
        """
        for text, built in zip(texts, ids, strict=True):
            if any(token in text for token in self._added):
                continue
            own: list[int] = self._processor.encode(text)
            if own == list(built):
                continue
            ours = [str(self._built.convert_ids_to_tokens(id_)) for id_ in built]
            theirs = [str(self._processor.id_to_piece(id_)) for id_ in own]
            if ours == theirs:  # the class numbers them in another way
                continue
            pairs = zip(ours, theirs, strict=False)
            at = next((i for i, pair in enumerate(pairs) if pair[0] != pair[1]), min(len(ours), len(theirs)))
            return (
                f"The tokens are those that {type(self._built).__name__} of transformers {transformers.__version__} "
                f"makes; sentencepiece makes others of this text with {self._name} "
                f"({_shown(ours[at : at + 3])} for {_shown(theirs[at : at + 3])})."
            )
        return None


def sentencepiece_model(folder: Path, built: PreTrainedTokenizerBase) -> SentencePieceModel | None:
    """The model of sentencepiece to compare with, if the class of `built` should make the same tokens as it."""
    path = model_file(folder) if type(built).__name__ in _LIKE_LLAMA else None
    return None if path is None or missing_packages() else SentencePieceModel(path, built)


def _shown(pieces: Sequence[str]) -> str:
    return " ".join(map(ascii, pieces)) or "nothing"
