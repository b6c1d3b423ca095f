"""Which data makes the empirical loss: `DataSettings`."""

from dataclasses import dataclass
from typing import Annotated

from hf_llc.settings.bounds import Bounds, check_fields
from hf_llc.settings.limits import LARGEST_INTEGER, LONGEST
from hf_llc.settings.option import Option

DEFAULT_DATASET = "NeelNanda/pile-10k"
MAX_DEFAULT_CONTEXT = 1024


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The data that defines the empirical loss L_n.

    Attributes:
        dataset: a Hub dataset id or URI, or a local .txt, .jsonl, .json, .csv, .tsv or .parquet file, or a
            folder, of images too.
        config: configuration of the dataset. split: its split. revision: its branch, tag or commit.
        text_column: column that holds the text or the images; None means `text`, or the only column of strings that
            looks like text, and `image`, or the only column of images.
        max_sequences: the largest n, of sequences, images or rows; 0 takes all.
        context_length: tokens per packed sequence; None means min(1024, the model's own).
        task: what the model does with an item, which decides the loss; None means what its config.json says.
        label_column: column that holds the classes of items; None means `label`, or the only one of classes.
    """

    dataset: Annotated[
        str, Option(help="Hub dataset id, a .txt, .jsonl or .parquet file, or a folder.", panel="Data", common=True)
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
        Option(help="Column that holds text or images. (default: text, image, or the only one)", panel="Data"),
    ] = None
    max_sequences: Annotated[
        int,
        Bounds(low=0, high=LARGEST_INTEGER, why="0 takes all there are"),
        Option(
            help="Largest number of packed sequences, or of images or rows; 0 for all.",
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
        str | None, Option(help="Column that holds the classes. (default: label, or the only one)", panel="Data")
    ] = None

    def __post_init__(self) -> None:
        check_fields(self)
