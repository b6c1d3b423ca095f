"""Answers of measures beside λ̂ that are known in closed form: the table of `hf-llc validate --measures`."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from hf_llc.measures import MEASURES
from hf_llc.measures.base import Exact, ExactAnswer


class MeasureAnswer(NamedTuple):
    """An answer, and the measure that it is of."""

    measure: str
    answer: ExactAnswer

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        answer = self.answer
        return {
            "measure": self.measure,
            "case": answer.case,
            "truth": answer.truth,
            "value": answer.value,
            "tolerance": answer.tolerance,
            "is_met": answer.is_met,
        }


def exact_answers(names: Sequence[str] | None = None) -> list[MeasureAnswer]:
    """The known answers of these measures, or of all that have any, computed here and now."""
    return [
        MeasureAnswer(name, answer)
        for name in (MEASURES if names is None else names)
        if isinstance(measure := MEASURES[name], Exact)
        for answer in measure.exact_answers()
    ]
