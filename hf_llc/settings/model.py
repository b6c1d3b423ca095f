"""Which checkpoint: `ModelSettings`."""

from dataclasses import dataclass
from typing import Annotated

from hf_llc.settings.bounds import check_fields, require, shown
from hf_llc.settings.option import Option


def _leads_out(folder: str) -> bool:
    """True for the path of a folder that may lie outside the folder that it is given in, on any system."""
    parts = folder.replace("\\", "/").split("/")
    return parts[0] == "" or parts[0].endswith(":") or ".." in parts


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Where the checkpoint w* is.

    Attributes:
        model: a Hub id, also as org/name@revision, an `hf://` URI, the address of a page of the Hub, or a local path.
        revision: branch, tag or commit. gguf_file: a GGUF file inside the repository.
        subfolder: a folder inside the repository or the local folder, as in transformers' `from_pretrained`.
        trust_remote_code: run the model code that the repository ships.
        base_model: what an adapter of peft is put on, spelled as `model`; None is the one that its files name.
    """

    model: str
    revision: Annotated[str | None, Option(help="Branch, tag or commit of the model.", panel="Model", common=True)] = (
        None
    )
    subfolder: Annotated[str | None, Option(help="Folder of the checkpoint inside its repository.", panel="Model")] = (
        None
    )
    gguf_file: Annotated[str | None, Option(help="GGUF file inside the repository.", panel="Model")] = None
    trust_remote_code: Annotated[bool, Option(help="Run the model code in the repository.", panel="Model")] = False
    base_model: Annotated[
        str | None,
        Option(help="Model that an adapter is put on. (default: the one that it names)", panel="Model"),
    ] = None

    def __post_init__(self) -> None:
        if self.subfolder == "":  # the default of transformers' from_pretrained
            object.__setattr__(self, "subfolder", None)
        check_fields(self)
        require(
            self.subfolder is None or not _leads_out(self.subfolder),
            f"subfolder must be a folder inside the model's own, without '..', got {shown(self.subfolder)}",
        )
