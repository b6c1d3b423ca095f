"""The tokenizers of checkpoints: text as token ids, those of tokenizer.json where there is one (tokenizers)."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from hf_llc.checkpoints.files import choose, has_tokenizer
from hf_llc.checkpoints.loading.config import folder_of, loading_options
from hf_llc.checkpoints.loading.errors import explained, quiet
from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import UnusableError
from hf_llc.tasks.text.gguf_tokenizer import repair_pre_tokenizer
from hf_llc.tasks.text.sentencepiece_files import missing_packages, model_file, sentencepiece_model
from hf_llc.tasks.text.tokenizer_files import class_name, encode_whole_texts, read_tokenizer_file

COMPARED_CHARACTERS = 1_000_000
"""How much text is compared to say that transformers builds another tokenizer than tokenizer.json, whose ids are used.

A tokenizer of a repository's own code is compared on all of the text, since nothing says which of the two is right.
"""

_CLASS_FAILURES = (TypeError, AttributeError, ValueError, KeyError, IndexError)
_ENCODERS = {"__call__", "_encode_plus", "_batch_encode_plus", "encode", "batch_encode_plus"}


class TextTokenizer:
    """Text to token ids, without special tokens and never cut.

    transformers builds the normaliser, the pre-tokeniser and the model of many classes (GPT-2, GPT-NeoX, Qwen2,
    Llama, Gemma, Cohere, …) from its own code, whatever tokenizer.json says. A model was trained with the latter, so
    its ids are used, and `remarks` names a difference.

    Attributes:
        eos_token_id: the end-of-text token that the checkpoint's tokenizer files name; None if they name none.
        remarks: sentences that a reader of the numbers must know about the ids made so far.
    """

    def __init__(
        self, source_id: str, built: PreTrainedTokenizerBase, folder: Path, remarks: Sequence[str] = ()
    ) -> None:
        self.remarks = list(remarks)
        self._first_remarks = "".join(f" {remark}" for remark in remarks)
        self._id = source_id
        self._built = built
        self._folder = folder
        # The plain class is read from the file, and no class's rules are put in its place.
        plain = type(built) is PreTrainedTokenizerFast
        file = None if plain else read_tokenizer_file(folder, getattr(built, "added_tokens_decoder", {}))
        own: Tokenizer | None = None if _encodes_in_python(built) else built.backend_tokenizer
        for tokenizer in (own, file):
            if tokenizer is not None:
                encode_whole_texts(tokenizer, special_as_text=bool(getattr(built, "split_special_tokens", False)))
        self._backend = own if file is None else file
        self._own = own
        self._pieces_model = sentencepiece_model(folder, built) if own is not None else None
        self._left_to_compare = float(COMPARED_CHARACTERS)
        if file is not None and own is None:
            self._left_to_compare = math.inf
        elif file is None and self._pieces_model is None:
            self._left_to_compare = 0.0
        self.eos_token_id: int | None = built.eos_token_id if isinstance(built.eos_token_id, int) else None
        if file is not None and self.eos_token_id is not None:
            # A class of transformers may have a default that this checkpoint does not know.
            self.eos_token_id = file.token_to_id(str(built.eos_token))

    @property
    def identity(self) -> str:
        """`sha256:<64 hex>` of everything that turns text into ids, or decides what is remarked about them."""
        kind = f"{type(self._built).__name__} {transformers.__version__}{self._first_remarks}"
        if self._backend is not None and self._own is not None:
            # What a tokenizer is written as does not say how it reads special tokens that are spelled out.
            as_text = " special as text" if self._backend.encode_special_tokens else ""
            pieces = f" {self._pieces_model.identity}" if self._pieces_model is not None else ""
            content = f"{kind}{as_text}{pieces} {self._backend.to_str()}"
        else:
            paths = (entry.relative_to(self._folder).as_posix() for entry in self._folder.rglob("*") if entry.is_file())
            names = choose(paths, trust_remote_code=True).small
            files = [f"{name} {hashlib.sha256((self._folder / name).read_bytes()).hexdigest()}" for name in names]
            content = f"{kind} {sorted(self._built.get_vocab().items())} {files}"
        return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"

    @property
    def built(self) -> PreTrainedTokenizerBase:
        """What transformers makes of the checkpoint's files, as a user of transformers calls it."""
        return self._built

    @property
    def identity_of_calls(self) -> str:
        """`identity`, and everything that decides how a call of `built` adds special tokens and cuts."""
        backend = getattr(self._built, "backend_tokenizer", None)
        rules = "" if backend is None else backend.to_str()
        special = sorted((name, str(token)) for name, token in self._built.special_tokens_map.items())
        content = f"{self.identity} {self._built.truncation_side} {self._built.model_input_names} {special} {rules}"
        return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"

    def decode(self, ids: list[int]) -> str:
        """The text of these ids."""
        return str(self._built.decode(ids))

    def ids(self, texts: list[str]) -> list[list[int]]:
        """The ids of each text.

        Raises:
            UnusableError: a text cannot be read, or two tokenizers of the checkpoint differ and either may be its own.
        """
        with _explained_text():
            if self._backend is None:
                return self._ids_of_built(texts)
            ids = _ids_of(self._backend, texts)
            self._compare(texts, ids)
        return ids

    def ids_with_starts(self, text: str) -> tuple[list[int], list[int]] | None:
        """The ids of one text and the characters at which they begin; None if the tokenizer does not tell.

        Raises:
            UnusableError: see `ids`.
        """
        if self._backend is None:
            return None
        with _explained_text():
            encoding = self._backend.encode(text, add_special_tokens=False)
            self._compare([text], [encoding.ids])
        return encoding.ids, [start for start, _ in encoding.offsets]

    def _ids_of_built(self, texts: list[str]) -> list[list[int]]:
        if self._own is not None:
            return _ids_of(self._own, texts)
        options: dict[str, Any] = {"return_attention_mask": False, "return_token_type_ids": False, "verbose": False}
        with quiet():
            encoded = self._built(texts, add_special_tokens=False, **options)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def _compare(self, texts: list[str], ids: list[list[int]]) -> None:
        """Note the first difference between these ids and those of what transformers built, or of sentencepiece."""
        if self._left_to_compare <= 0:
            return
        self._left_to_compare -= sum(map(len, texts))
        if self._pieces_model is not None:
            if remark := self._pieces_model.remark(texts, ids):
                self._left_to_compare = 0
                self.remarks.append(remark)
            return
        example = self._example(texts, ids)
        if example is None:
            return
        self._left_to_compare = 0
        name = type(self._built).__name__
        if self._own is None:
            raise UnusableError(
                f"{self._id} has two tokenizers that differ on this text, tokenizer.json and the code of {name} "
                f"({example}); keep the one that it was trained with in a copy of the checkpoint, and name that."
            )
        self.remarks.append(
            f"The tokens are those of tokenizer.json; {name} of transformers {transformers.__version__} makes "
            f"others of this text ({example})."
        )

    def _example(self, texts: list[str], ids: list[list[int]]) -> str | None:
        """Where these ids of tokenizer.json first differ from those of what transformers built; None if nowhere."""
        try:
            built = self._ids_of_built(texts)
        except Exception as error:
            if self._own is None or type(error) is not Exception:
                raise
            return f"none: {error}"
        for theirs, ours in zip(built, ids, strict=True):
            if theirs != ours:
                pairs = zip(theirs, ours, strict=False)
                at = next((i for i, pair in enumerate(pairs) if pair[0] != pair[1]), min(len(theirs), len(ours)))
                return f"{self._pieces(ours[at : at + 3])} for {self._pieces(theirs[at : at + 3])}"
        return None

    def _pieces(self, ids: list[int]) -> str:
        return " ".join(ascii(self._built.decode([id_])) for id_ in ids) or "nothing"


def load_tokenizer(source: ModelSource) -> TextTokenizer:
    """The checkpoint's tokenizer; that of the folder above, if its own folder is a subfolder without one.

    A GGUF file has its own, in whatever folder it is. An adapter without one has that of its base.

    Raises:
        UnusableError: it has none that transformers can read.
    """
    if source.base is not None and not _has_own(source):
        source = source.base
    options = loading_options(source)
    folder = folder_of(source) if "gguf_file" in options else _tokenizer_folder(source)
    with quiet(), explained(source, "its tokenizer; copy the tokenizer files of the model that it was made from"):
        built, class_remark = _build(source, folder, options)
        remark = repair_pre_tokenizer(folder / options["gguf_file"], built) if "gguf_file" in options else None
        if (folder / "tokenizer.json").is_file():
            remark = None  # whose rules are used
        tokenizer = TextTokenizer(source.id, built, folder, [each for each in (class_remark, remark) if each])
    # Without files transformers makes one that knows its special tokens only, and so no text at all.
    if not built.get_vocab().keys() - built.get_added_vocab().keys():
        raise UnusableError(f"{source.id} has no tokenizer; copy tokenizer.json of the model that it was made from.")
    return tokenizer


def _build(source: ModelSource, folder: Path, options: dict[str, Any]) -> tuple[PreTrainedTokenizerBase, str | None]:
    """What transformers makes of the files; of tokenizer.json alone, with a remark, where its class cannot take it."""
    try:
        built = AutoTokenizer.from_pretrained(folder, **options)
    except Exception as error:
        # Tokenizers are the code of hundreds of authors, and raise whatever they like.
        if "trust_remote_code" in str(error):
            raise
        file = model_file(folder)
        if file is not None and (missing := missing_packages()):
            raise UnusableError(
                f"{source.id} has {file.name} and no tokenizer.json, and {' and '.join(missing)} to read it is not "
                f"installed; install it with: pip install {' '.join(missing)}"
            ) from error
        name = class_name(folder)
        if name is None or "gguf_file" in options or not isinstance(error, _CLASS_FAILURES):
            raise
        return PreTrainedTokenizerFast.from_pretrained(folder), (
            f"The tokens are those of tokenizer.json alone; {name} of transformers {transformers.__version__} cannot "
            f"be built from it ({type(error).__name__})."
        )
    assert isinstance(built, PreTrainedTokenizerBase)
    return built, None


def _ids_of(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def _encodes_in_python(tokenizer: PreTrainedTokenizerBase) -> bool:
    """True if more than the tokenizers library decides about the ids: a slow tokenizer, or a repository's own class."""
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        return True
    own = (kind for kind in type(tokenizer).__mro__ if not kind.__module__.startswith(("transformers.", "builtins")))
    return any(_ENCODERS & vars(kind).keys() for kind in own)


@contextmanager
def _explained_text() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:  # which is what the tokenizers library raises, and nobody else
            raise
        raise UnusableError(
            f"The tokenizer cannot encode the text ({error}); add a token for unknown characters, or use other text."
        ) from error


def _has_own(source: ModelSource) -> bool:
    """True if there is a tokenizer in the folder of a checkpoint, or above it."""
    return has_tokenizer(entry.name for entry in _tokenizer_folder(source).iterdir())


def _tokenizer_folder(source: ModelSource) -> Path:
    own = folder_of(source)
    if source.subfolder is None or has_tokenizer(entry.name for entry in own.iterdir()):
        return own
    return own.parents[len(Path(source.subfolder).parts) - 1]
