"""Rows of which each is a sequence by itself, conversations or completions of a prompt; other tables are text."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from hf_llc.errors import NotFoundError, UnusableError, did_you_mean
from hf_llc.settings.bounds import shown
from hf_llc.settings.data import DataSettings
from hf_llc.tasks.text.columns import Kind, text_columns
from hf_llc.tasks.text.documents import (
    Documents,
    File,
    Guard,
    Reader,
    Table,
    of_plain_text,
    of_table,
    table_of_dataset,
    table_of_files,
)
from hf_llc.tasks.text.rows import Row
from hf_llc.tasks.text_generation.chat_template import ChatTemplate, Rendered
from hf_llc.tasks.text_generation.messages import messages_of, tools_of

ALL, OF_ASSISTANT, OF_COMPLETION = "all", "assistant", "completion"
"""Which tokens are targets."""
CONVERSATIONS = ("messages", "conversations", "conversation")
"""Names of columns of conversations where none was asked for."""
PAIR = ("prompt", "completion")
TOOLS = "tools"


@dataclass(kw_only=True)
class Tally:
    """How many rows were read, and of those that are left out how many for which reason."""

    rows: int = 0
    missing: int = 0
    empty: int = 0

    def remarks(self, columns: Sequence[str]) -> list[str]:
        """A sentence on those that are left out."""
        parts = [f"{self.missing} without {' or '.join(columns)}"] if self.missing else []
        parts += [f"{self.empty} with empty {columns[-1]}"] if self.empty else []
        return [f"Of the {self.rows} rows read, {' and '.join(parts)} are left out."] if parts else []


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Rows that are sequences by themselves, to be read once.

    Attributes:
        columns: their names. loss_on: which tokens are targets. notes: what is to be known of what is read.
    """

    name: str
    columns: Sequence[str]
    loss_on: str
    rows: Generator[Row]
    notes: Sequence[str]
    tally: Tally

    @property
    def text_column(self) -> str:
        """The columns as a result names them."""
        return ", ".join(self.columns)

    def rendered(self, template: "LazyTemplate") -> Iterator[Rendered]:
        """Each row that is not empty.

        Raises:
            UnusableError: a row is something else than the columns promise.
        """
        make = _completion if len(self.columns) == 2 else _conversation
        with closing(self.rows) as rows:
            for row in rows:
                self.tally.rows += 1
                place = f"Row {self.tally.rows} of {self.name}"
                values = [row.get(column) for column in self.columns]
                if None in values:
                    self.tally.missing += 1
                    continue
                if _is_empty(values[-1]):
                    self.tally.empty += 1
                    continue
                yield make(self, row, values, template, place)


class LazyTemplate:
    """A chat template that is asked for by the first conversation: completions of strings need none."""

    def __init__(self, tokenizer: Any, model: str) -> None:
        self._arguments = tokenizer, model
        self._template: ChatTemplate | None = None

    def __call__(self) -> ChatTemplate:
        """The template.

        Raises:
            UnusableError: see `ChatTemplate`.
        """
        if self._template is None:
            self._template = ChatTemplate(*self._arguments)
        return self._template

    @property
    def is_used(self) -> bool:
        """Whether it was asked for."""
        return self._template is not None

    @property
    def remarks(self) -> list[str]:
        """Its remarks, if it was asked for."""
        return self._template.remarks if self._template is not None else []


def _conversation(
    examples: Examples, row: Row, values: Sequence[Any], template: LazyTemplate, place: str
) -> Rendered:  # fmt: skip
    place = f"{place}, column {examples.columns[0]}"
    messages, tools = messages_of(values[0], place), tools_of(row.get(TOOLS), place)
    write = template().all_of if examples.loss_on == ALL else template().of_assistant
    return write(messages, tools, place)


def _completion(
    examples: Examples, row: Row, values: Sequence[Any], template: LazyTemplate, place: str
) -> Rendered:  # fmt: skip
    prompt, completion = values
    if isinstance(prompt, str) and isinstance(completion, str):
        _refuse_surrogates(prompt + completion, place)
        text = prompt + completion
        return Rendered(text, [(prompt, text)], ends=True)
    if isinstance(prompt, str) or isinstance(completion, str) or not (_lists(prompt) and _lists(completion)):
        first, second = examples.columns
        raise UnusableError(
            f"{place}: {first} and {second} must both be strings or both lists of messages, got {shown(prompt)} and "
            f"{shown(completion)}."
        )
    before, after = (
        messages_of(value, f"{place}, column {column}") for value, column in zip(values, examples.columns, strict=True)
    )
    tools = tools_of(row.get(TOOLS), place)
    return template().of_completion(before, after, tools, place)


def _is_empty(value: Any) -> bool:
    """Whether a text or conversation has nothing in it, also where each key of a message has a list of its own."""
    return not value or (isinstance(value, Mapping) and all(each == [] for each in value.values()))


def _lists(value: Any) -> bool:
    return isinstance(value, list | tuple | Mapping)


def _refuse_surrogates(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnusableError(f"{place} holds an unpaired surrogate; correct or remove it.") from error


def of_files(
    data: DataSettings,
    format_: str,
    files: Iterable[File],
    options: Mapping[str, Any],
    name: str,
    guard: Guard,
    notes: Sequence[str] = (),
) -> Documents | Examples:
    """The rows of JSON and CSV files; plain text files are documents."""
    if format_ == "text":
        if data.loss_on in {OF_ASSISTANT, OF_COMPLETION}:
            raise UnusableError(
                f"{name} is plain text, which has no {data.loss_on}; give a .jsonl, .csv or .parquet file."
            )
        return of_plain_text(data, files, options, name, guard, notes)
    return _of_table(data, table_of_files(format_, files, options, name, guard, notes))


def of_dataset(
    data: DataSettings, rows: Any, name: str, guard: Guard, notes: Sequence[str] = ()
) -> Documents | Examples:
    """The rows that `datasets` reads."""
    return _of_table(data, table_of_dataset(rows, name, guard, notes))


EXAMPLES = Reader(of_files=of_files, of_dataset=of_dataset)
"""What the loss is over: rows by themselves, or the documents of a column of text."""


def _of_table(data: DataSettings, table: Table) -> Documents | Examples:
    try:
        columns, loss_on = _chosen(data, table)
    except BaseException:
        table.close()
        raise
    if loss_on is None:
        documents = of_table(data, table)
        hints = {
            "loss_on=assistant": any(table.kinds.get(each) in {Kind.LIST, Kind.TEXT} for each in CONVERSATIONS),
            "loss_on=completion": all(each in table.kinds for each in PAIR),
        }
        ways = [f"`{setting}`" for setting, fits in hints.items() if fits and data.text_column is None]
        column, way = documents.text_column, " or ".join(ways)
        remark = f"Column {column} is read as text; for conversations or completions set {way}."
        return documents.with_notes([remark]) if ways else documents
    more = [TOOLS] if TOOLS in table.kinds else []
    return Examples(
        name=table.name,
        columns=columns,
        loss_on=loss_on,
        rows=table.rows([*columns, *more]),
        notes=table.notes,
        tally=Tally(),
    )


def _chosen(data: DataSettings, table: Table) -> tuple[list[str], str | None]:
    """The columns and which tokens of theirs are targets; None for text, which is packed.

    What was text before there was a choice is text: only tables that have none are something else unless it is asked
    for.

    Raises:
        NotFoundError, UnusableError: there is no such column, or none that can be read.
    """
    kinds, asked = table.kinds, data.text_column
    if data.loss_on == OF_COMPLETION:
        pair = [part.strip() for part in asked.split(",")] if asked is not None else list(PAIR)
        if len(pair) != 2:
            raise UnusableError(f"text_column must name a column of prompts and one of completions, got {asked}.")
        return [_existing(table, column) for column in pair], OF_COMPLETION
    of_conversation = OF_ASSISTANT if data.loss_on == "auto" else data.loss_on
    if asked is not None and (data.loss_on == OF_ASSISTANT or kinds.get(asked) is Kind.LIST):
        return [_existing(table, asked)], of_conversation
    conversations = [column for column in CONVERSATIONS if kinds.get(column) in {Kind.LIST, Kind.MIXED, Kind.EMPTY}]
    if data.loss_on == OF_ASSISTANT:
        # Of text they may be the JSON of messages.
        conversations += [column for column in CONVERSATIONS if kinds.get(column) is Kind.TEXT]
        if not conversations:
            raise NotFoundError(
                f"{table.name} has no column messages of conversations; its columns are {', '.join(kinds)}. Choose "
                "with `text_column`."
            )
        return conversations[:1], OF_ASSISTANT
    try:
        return text_columns(kinds, asked, table.name, table.strings), None
    except (NotFoundError, UnusableError):
        if asked is not None:
            raise
        if conversations:
            return conversations[:1], of_conversation
        if data.loss_on == "auto" and all(column in kinds for column in PAIR):
            return list(PAIR), OF_COMPLETION
        raise


def _existing(table: Table, column: str) -> str:
    if column not in table.kinds:
        raise NotFoundError(
            f"{table.name} has no column {column}{did_you_mean(column, list(table.kinds))} Choose with `text_column`."
        )
    return column
