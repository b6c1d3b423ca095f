"""Which data makes the empirical loss: `DataSettings`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from hf_llc.settings.bounds import Bounds, OneOf, check_fields, require
from hf_llc.settings.limits import LARGEST_INTEGER, LONGEST
from hf_llc.settings.option import Option

DEFAULT_DATASET = "NeelNanda/pile-10k"
MAX_DEFAULT_CONTEXT = 1024
SEPARATOR = " + "
"""Between the ids of several datasets, between their revisions, and between their columns where these differ."""


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The data that defines the empirical loss L_n.

    Attributes:
        dataset: a Hub dataset id or URI, or a local .txt, .jsonl, .json, .csv, .tsv or .parquet file, or a
            folder, of images too; or a sequence of these, whose texts follow one another in this order.
        config: configuration of the dataset. split: its split. revision: its branch, tag or commit.
        text_column: column that holds the text, conversations, images or inputs; columns of text that commas separate
            are joined by a blank line. None means `text`, or the only column of strings that looks like text, or
            `messages`, or `prompt` and `completion`; `image`, or the only column of images; `x`, `inputs`, or `x0`, ….
        max_sequences: the largest n, of sequences, images or rows; 0 takes all.
        context_length: tokens per packed sequence; None means min(1024, the model's own).
        task: what the model does with an item, which decides the loss; None means what its config.json says.
        label_column: column that holds the classes or targets of items; None means `label`, or the only one of
            classes; `y`, `targets`, or `y0`, ….
        loss_on: which tokens count: `all`, those of the `assistant` of conversations, or those of the `completion` of a
            prompt; `auto` decides by the columns.
        bos: whether packed sequences begin with the token that begins a text: `always`, `never`, or `auto`, if the
            tokenizer puts one before a text.
    """

    dataset: Annotated[
        str | Sequence[str],
        Option(
            help="Hub dataset id, a .txt, .jsonl or .parquet file, or a folder; repeatable for text.",
            panel="Data",
            common=True,
        ),
    ] = DEFAULT_DATASET
    config: Annotated[str | None, Option(help="Configuration of the dataset.", panel="Data", name="dataset_config")] = (
        None
    )
    split: Annotated[str, Option(help="Split of the dataset.", panel="Data")] = "train"
    revision: Annotated[
        str | None, Option(help="Branch, tag or commit of the dataset.", panel="Data", name="dataset_revision")
    ] = None
    text_column: Annotated[
        str | None,
        Option(
            help="Column that holds text, conversations, images or inputs; A,B joins columns. (default: text, image, "
            "messages, x, or the only one)",
            panel="Data",
        ),
    ] = None
    max_sequences: Annotated[
        int,
        Bounds(low=0, high=LARGEST_INTEGER, why="0 takes all there are"),
        Option(
            help="Largest number of packed sequences, or of images, texts or rows; 0 for all.",
            panel="Data",
            common=True,
            also=("limit", "n", "num_sequences", "max_samples", "max_items"),
        ),
    ] = 2048
    context_length: Annotated[
        int | None,
        Bounds(low=2, high=LONGEST, why="a next-token loss needs at least 2 tokens"),
        Option(
            help="Of text: tokens per sequence. (default: min(1024, the model's own))",
            panel="Data",
            common=True,
            also=("max_length", "max_seq_length", "block_size", "seq_len"),
        ),
    ] = None
    task: Annotated[
        str | None, Option(help="Task, such as image-classification. (default: by the model's config)", panel="Data")
    ] = None
    label_column: Annotated[
        str | None,
        Option(help="Column that holds classes or targets. (default: label, y, or the only one)", panel="Data"),
    ] = None

    loss_on: Annotated[
        str,
        OneOf(("auto", "all", "assistant", "completion")),
        Option(
            help="Tokens that count: all, assistant of conversations, completion of a prompt, or auto, by the columns.",
            panel="Data",
        ),
    ] = "auto"
    bos: Annotated[
        str,
        OneOf(("auto", "always", "never")),
        Option(
            help="Begin packed sequences with the token that begins a text: always, never, or auto, as the tokenizer "
            "does.",
            panel="Data",
        ),
    ] = "auto"

    def __post_init__(self) -> None:
        check_fields(self)
        if not isinstance(self.dataset, str):
            require(len(self.dataset) > 0, "dataset must name a dataset, got an empty list.")
            if len(self.dataset) == 1:
                object.__setattr__(self, "dataset", self.dataset[0])

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets in their order."""
        return (self.dataset,) if isinstance(self.dataset, str) else tuple(self.dataset)
