"""The columns of `results.jsonl` and `results.parquet`: one flat row a checkpoint, in the order of training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["integer", "number", "text", "numbers", "texts"]


@dataclass(frozen=True)
class Column:
    """One column: its name, what its values are (any may be null), their unit ("" if they have none), their meaning.

    Attributes:
        null: name of the column with the value where there is nothing to measure, such as random numbers; "" if none.
        has_panel: whether pictures of a curve have a panel for it.
        entries: of a list, the column with a name for each entry, or what its entries are, such as `layer`, which are
            then numbered from 0; "" if the list is not drawn.
        panel: of a list that is drawn, the column whose panel it belongs to.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    null: str = ""
    has_panel: bool = False
    entries: str = ""
    panel: str = ""


COLUMNS = (
    Column("schema", "integer", "", "version of these columns"),
    Column("revision", "text", "", "name of the checkpoint in its series"),
    Column("sha", "text", "", "its commit, or `sha256:` of local weights and config"),
    Column("stage", "text", "", "part of the training, such as `stage1`"),
    Column("step", "integer", "steps", "training step in the stage"),
    Column("tokens", "integer", "tokens", "seen in training until then"),
    Column("llc", "number", "", "λ̂; null where `error` says why"),
    Column("stderr", "number", "", "standard error of `llc`, both parts together"),
    Column("verdict", "text", "", "`converged`, or what is wrong with the chains, the draws or the number"),
    Column("verdict_reason", "text", "", "the numbers behind the verdict"),
    Column("loss", "number", "`unit`", "L(w*) over all n items; of independent draws over those that they used"),
    Column("duplicate_of", "text", "", "the checkpoint with identical weights, whose numbers these are"),
    Column("error", "text", "", "why there is no number"),
    Column("sampler", "text", "", "`importance` for independent draws, else the sampler of the chains"),
    Column("n_beta", "number", "", "nβ, inverse temperature times n"),
    Column("gamma", "number", "1/weight²", "γ, precision of the localizing prior"),
    Column("lr", "number", "weight²", "ε, the step size; null of independent draws"),
    Column("n", "integer", "items", "sequences, images, … in the empirical loss"),
    Column("context_length", "integer", "tokens", "in each sequence, or in the longest"),
    Column("params", "text", "", "patterns of the weights that move; empty if all do"),
    Column("component", "text", "", "part of the model that moves alone; null if all of it does"),
    Column("prior", "text", "", "the localizing prior: `isotropic`, or `relative` with γ without a unit"),
    Column("batch_norm", "text", "", "statistics of batch norm: `frozen` or `reestimated`"),
    Column("task", "text", "", "kind of the loss, such as `text-generation`"),
    Column("unit", "text", "", "of `loss`, such as `nats per token`"),
    Column("fingerprint", "text", "", "hash of the packed tokens, or of other items"),
    Column("monte_carlo_stderr", "number", "", "part of `stderr`: finite chains, or finitely many draws"),
    Column("step_size_stderr", "number", "", "part of `stderr`: the step size; null if not checked"),
    Column("r_hat", "number", "", "split rank-normalized R-hat of the draws"),
    Column("ess", "number", "draws", "effective sample size of their mean, over all chains"),
    Column(
        "gamma_slope",
        "number",
        "",
        "d log λ̂ / d log γ between γ and 1.5 γ: near 0 a plateau, near −1 the localizing prior sets λ̂",
    ),
    Column("gamma_slope_stderr", "number", "", "its standard error"),
    Column("n_beta_slope", "number", "", "d log λ̂ / d log nβ, from the variance of the draws"),
    Column("n_beta_slope_stderr", "number", "", "its standard error"),
    Column("resolution", "number", "nats/weight²", "γ/nβ: curvatures below it are not seen"),
    Column("trace_hessian", "number", "nats/weight²", "tr H at w*, of a probe batch's loss or from independent draws"),
    Column("dimension", "integer", "weights", "that move"),
)


def panels_of(columns: Sequence[Column]) -> list[Column]:
    """The columns that pictures of a curve have a panel for."""
    return [column for column in columns if column.has_panel]


def table(columns: Sequence[Column] = COLUMNS) -> str:
    """The columns as a Markdown table."""
    rows = [f"| `{column.name}` | {column.kind} | {column.unit} | {column.meaning} |" for column in columns]
    return "\n".join(["| column | type | unit | meaning |", "|---|---|---|---|", *rows])
