"""Sequences of the tokens of one tokenizer: packed text, or conversations and completions with labels."""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hf_llc.checkpoints.identity import PinnedDataset
from hf_llc.checkpoints.loading.errors import quiet
from hf_llc.checkpoints.source import Corpus
from hf_llc.errors import SettingsError, UnusableError
from hf_llc.hub import client
from hf_llc.settings.data import SEPARATOR, DataSettings
from hf_llc.tasks import item_cache
from hf_llc.tasks.text import token_cache
from hf_llc.tasks.text.encoding import token_ids
from hf_llc.tasks.text.first_tokens import remark_on_first
from hf_llc.tasks.text.tokenizer import TextTokenizer
from hf_llc.tasks.text_generation.packing import PACKING, fingerprint, pack
from hf_llc.tasks.text_generation.targets import IDS, TargetTally, labelled_rows, tensors_of

if TYPE_CHECKING:
    from hf_llc.tasks.text.documents import Documents
    from hf_llc.tasks.text_generation.examples import Examples

Tell = Callable[[str], None]
MIN_SEQUENCES = 2
CONVERSATIONS, STRINGS = "conversations", "strings"
"""What labelled sequences were made from."""
FORMAT = 1
"""Of labelled sequences; changes whenever other ones are made from the same inputs."""


class SequenceMaker:
    """The sequences of one tokenizer and of datasets that are pinned: those on this disk, or new ones."""

    def __init__(
        self,
        *,
        data: DataSettings,
        model: str,
        encoder: TextTokenizer,
        longest: int,
        eos_id: int | None,
        first: list[int],
        vocabulary: int | None,
        datasets: Sequence[PinnedDataset],
        tell: Tell,
    ) -> None:
        self._data, self._model, self._encoder, self._longest = data, model, encoder, longest
        self._eos_id, self._first, self._vocabulary = eos_id, first, vocabulary
        self._datasets, self._tell = datasets, tell
        self.id = SEPARATOR.join(each.reference.id for each in datasets)

    def read(self) -> Corpus | None:
        """What an earlier call has made; None if there is none."""
        if self._data.loss_on in {"auto", "all"}:
            tokens = token_cache.read(self._path_of_tokens(), fingerprint, self._tell)
            if tokens is not None:
                return self._packed_corpus(tokens)
        stored = item_cache.read(self._path_of_items(), self._tell)
        return None if stored is None else self._labelled_corpus(stored)

    def make(self) -> Corpus:
        """Sequences that are packed or formatted now, and stored for later calls.

        Raises:
            HfLlcError: see `find_corpus`.
        """
        # Only now: what reads text takes a second to import, and tokens that are kept need none of it.
        from hf_llc.tasks.text import corpus as corpora
        from hf_llc.tasks.text.documents import Documents
        from hf_llc.tasks.text_generation.examples import EXAMPLES, Examples

        data, tell = self._data, self._tell
        opened = [
            corpora.read_hub(data, each.reference.id, each.revision, tell, EXAMPLES)
            if each.reference.path is None
            else corpora.read_local(data, each.reference.path, EXAMPLES)
            for each in self._datasets
        ]
        documents = [each for each in opened if isinstance(each, Documents)]
        examples = [each for each in opened if isinstance(each, Examples)]
        if len(documents) == len(opened):
            return self._packed(documents)
        if documents or len({each.loss_on for each in examples}) > 1:
            kinds = [
                f"{pinned.reference.id}: {'text' if isinstance(each, Documents) else each.loss_on}"
                for pinned, each in zip(self._datasets, opened, strict=True)
            ]
            raise UnusableError(f"The datasets are not of one kind ({', '.join(kinds)}); give those of one kind.")
        return self._labelled(examples)

    def _packed(self, opened: Sequence["Documents"]) -> Corpus:
        eos_id, data = self._eos_of_packing(), self._data
        body = self._longest - len(self._first)
        if body < 1:
            raise SettingsError(f"context_length must leave room behind the first token, got {self._longest}.")
        texts = itertools.chain.from_iterable(each.texts for each in opened)
        counter = _Counter(token_ids(self._encoder, texts, enough=data.max_sequences * body))
        tokens = pack(counter, eos_id, body, data.max_sequences)
        remarks = [*self._named([each.remarks() for each in opened]), *self._encoder.remarks]
        _refuse_too_few(self.id, tokens, counter.tokens, self._longest, remarks)
        if self._first:
            first = torch.tensor(self._first, dtype=torch.int32).expand(len(tokens), -1)
            tokens = torch.cat([first, tokens], dim=1)
        columns = [each.text_column for each in opened]
        notes = {"text_column": _once(columns), "remarks": json.dumps(remarks)}
        stored = token_cache.StoredTokens(tokens=tokens, fingerprint=fingerprint(tokens), notes=notes)
        token_cache.write(self._path_of_tokens(), stored)
        return self._packed_corpus(stored)

    def _labelled(self, opened: Sequence["Examples"]) -> Corpus:
        # Only now: it imports what reads tables.
        from hf_llc.tasks.text_generation.examples import LazyTemplate

        template, tally, data = LazyTemplate(self._encoder.built, self._model), TargetTally(), self._data
        texts = itertools.chain.from_iterable(each.rendered(template) for each in opened)
        with quiet():
            rows = list(
                labelled_rows(
                    texts,
                    self._encoder,
                    first=self._first,
                    eos_id=self._eos_id,
                    longest=self._longest,
                    limit=data.max_sequences,
                    tally=tally,
                )
            )
        loss_on = opened[0].loss_on
        remarks = self._named([[*each.notes, *each.tally.remarks(each.columns)] for each in opened])
        remarks = [*tally.remarks(loss_on, self._longest), *remarks, *template.remarks, *self._encoder.remarks]
        if len(rows) < MIN_SEQUENCES:
            raise UnusableError(
                f"{self.id} gives {len(rows)} sequences with tokens that count, and at least {MIN_SEQUENCES} are "
                "needed." + "".join(f" {remark}" for remark in remarks[1:])
            )
        notes = {
            "text_column": _once([each.text_column for each in opened]),
            "loss_on": loss_on,
            "texts": CONVERSATIONS if template.is_used else STRINGS,
            "remarks": json.dumps(remarks),
        }
        items = item_cache.StoredItems(items=tensors_of(rows), fingerprint="", notes=notes)
        return self._labelled_corpus(item_cache.write(self._path_of_items(), items))

    def _packed_corpus(self, stored: token_cache.StoredTokens) -> Corpus:
        refuse_unknown(stored.tokens, self._vocabulary)
        remarks = json.loads(stored.notes.get("remarks", "[]"))
        if (remark := remark_on_first(self._encoder.built, self._data.bos, self._first)) is not None:
            remarks.append(remark)
        for remark in remarks:
            self._tell(remark)
        return Corpus(
            id=self.id,
            revision=self._revision,
            config=self._data.config,
            split=self._data.split,
            text_column=stored.notes["text_column"],
            fingerprint=stored.fingerprint,
            n=len(stored.tokens),
            context_length=self._longest,
            path=self._path_of_tokens(),
            remarks=tuple(remarks),
            bos=self._data.bos,
        )

    def _labelled_corpus(self, stored: item_cache.StoredItems) -> Corpus:
        refuse_unknown(stored.items[IDS], self._vocabulary)
        notes, bos = dict(stored.notes), self._data.bos
        if notes["texts"] == CONVERSATIONS and bos != "auto":
            raise SettingsError(
                f"bos must be auto for conversations, whose beginning the chat template writes, got {bos}."
            )
        if notes["texts"] == STRINGS and (remark := remark_on_first(self._encoder.built, bos, self._first)) is not None:
            notes["remarks"] = json.dumps([*json.loads(notes["remarks"]), remark])
        corpus = item_cache.corpus_of(
            replace(stored, notes=notes),
            self._path_of_items(),
            self._data,
            id=self.id,
            revision=self._revision,
            column=stored.notes["text_column"],
            context_length=stored.items[IDS].shape[1],
            tell=self._tell,
        )
        return replace(corpus, loss_on=notes["loss_on"], bos=bos)

    @property
    def _revision(self) -> str:
        return SEPARATOR.join(each.revision for each in self._datasets)

    def _eos_of_packing(self) -> int:
        if self._eos_id is None:
            raise UnusableError(
                f"{self._model} names no end-of-text token; set eos_token in its tokenizer_config.json."
            )
        return self._eos_id

    def _inputs(self) -> dict[str, Any]:
        """Everything that decides both kinds of sequences."""
        data, names = self._data, [each.name for each in self._datasets]
        revisions = [each.revision for each in self._datasets]
        return {
            "dataset": names[0] if len(names) == 1 else names,
            "revision": revisions[0] if len(names) == 1 else revisions,
            "config": data.config,
            "split": data.split,
            "text_column": data.text_column,
            "tokenizer": self._encoder.identity,
            "eos": self._eos_id,
            "context_length": self._longest,
            "max_sequences": data.max_sequences,
            **({"bos": self._first} if self._first else {}),
        }

    def _path_of_tokens(self) -> Path:
        return token_cache.path_of(client.home() / "tokens", {"packing": PACKING, **self._inputs()})

    def _path_of_items(self) -> Path:
        template = self._encoder.built
        more = {
            "task": "text-generation",
            "format": FORMAT,
            "loss_on": self._data.loss_on,
            "chat_template": template.chat_template,
            "special_tokens": sorted((name, str(token)) for name, token in template.special_tokens_map.items()),
        }
        return token_cache.path_of(client.home() / "items", {**more, **self._inputs()})

    def _named(self, remarks: Sequence[Sequence[str]]) -> list[str]:
        """The remarks on each dataset, with its name where there are several."""
        if len(self._datasets) == 1:
            return list(remarks[0])
        pairs = zip(self._datasets, remarks, strict=True)
        return [f"{pinned.name}: {remark}" for pinned, each in pairs for remark in each]


def _once(columns: Sequence[str]) -> str:
    """The one name of a column, or the names of all in their order."""
    return columns[0] if len(set(columns)) == 1 else SEPARATOR.join(columns)


class _Counter:
    """Token lists passed on and counted, an end-of-text token added to each that is not empty."""

    def __init__(self, documents: Iterator[list[int]]) -> None:
        self._documents = documents
        self.tokens = 0

    def __iter__(self) -> Iterator[list[int]]:
        for ids in self._documents:
            self.tokens += len(ids) + bool(ids)
            yield ids


def _refuse_too_few(name: str, tokens: Tensor, count: int, context_length: int, remarks: list[str]) -> None:
    if len(tokens) < MIN_SEQUENCES:
        raise UnusableError(
            f"{name} gives {count} tokens, which fill {len(tokens)} sequences of {context_length}, and at "
            f"least {MIN_SEQUENCES} are needed; lower `context_length`, raise `max_sequences`, or give "
            "more text." + "".join(f" {remark}" for remark in remarks)
        )


def refuse_unknown(tokens: Tensor, vocabulary: int | None) -> None:
    """Raise UnusableError if an id is not in the model's vocabulary: tokens may be another model's."""
    lowest, highest = (int(each) for each in tokens.aminmax())
    if vocabulary is not None and not 0 <= lowest <= highest < vocabulary:
        unknown = highest if lowest >= 0 else lowest
        raise UnusableError(
            f"The tokenizer gives token {unknown}, but the model has {vocabulary}; they do not belong together."
        )
