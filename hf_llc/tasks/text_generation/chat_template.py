"""The chat template of a tokenizer: a conversation as text, and which part of it the assistant has said."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from transformers.utils.chat_template_utils import render_jinja_template

from hf_llc.errors import UnusableError
from hf_llc.tasks.text_generation.messages import ASSISTANT, Message

_MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")
"""What a template marks the assistant's part with."""
TODAY = {"%d": "26", "%m": "07", "%Y": "2024", "%b": "Jul", "%B": "July", "%y": "24"}
"""The day that templates are told it is: that which those of Llama 3 name where they know none."""
_CLOCK = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f"|replace('{code}', '{value}')" for code, value in TODAY.items())
    + " }}{%- endmacro +%}"
)


class Rendered(NamedTuple):
    """A text and its parts whose tokens are targets.

    Attributes:
        parts: of each part what is before it, and that with the part: both are beginnings of the text.
        ends: an end-of-text token follows, which is a target too.
    """

    text: str
    parts: Sequence[tuple[str, str]]
    ends: bool = False


class ChatTemplate:
    """Conversations as the text that the model was trained on.

    Args:
        tokenizer: of transformers. model: its name, for messages.

    Raises:
        UnusableError: the tokenizer has no template, or several and none that is the default.
    """

    def __init__(self, tokenizer: Any, model: str) -> None:
        self._tokenizer, self._model = tokenizer, model
        if not tokenizer.chat_template:
            raise UnusableError(
                f"The tokenizer of {model} has no chat template, so that conversations have no text; put a "
                "chat_template.jinja beside it, that of the model's own training, or give columns `prompt` and "
                "`completion` of strings."
            )
        self._templates = {with_tools: self._chosen(with_tools) for with_tools in (False, True)}

    @property
    def remarks(self) -> list[str]:
        """What a reader of the numbers must know of it."""
        day = f"{TODAY['%d']} {TODAY['%B']} {TODAY['%Y']}"
        dated = any(_CLOCK in template for template in self._templates.values())
        return [f"The chat template writes a date; it is told that today is {day}."] if dated else []

    def all_of(self, messages: Sequence[Message], tools: Any, place: str) -> Rendered:
        """The conversation, all tokens of which are targets."""
        text = self._text(messages, tools, place)
        return Rendered(text, [("", text)])

    def of_assistant(self, messages: Sequence[Message], tools: Any, place: str) -> Rendered:
        """The conversation with the parts of the assistant: those that the template marks, else its turns.

        A turn is what follows the conversation before it with the prompt to answer, with the token that ends the turn.

        Raises:
            UnusableError: the template refuses the conversation, or writes a turn in another way where others follow.
        """
        template = self._templates[tools is not None]
        if _MARKS.search(template):
            return self._marked(template, messages, tools, place)
        text, parts = self._text(messages, tools, place), []
        for number, message in enumerate(messages):
            if message["role"] == ASSISTANT:
                before = (
                    self._beginning(text, messages[:number], tools, place, prompts=True)
                    if number
                    else self._before_first(text, message, tools, place)
                )
                after = text
                if number + 1 < len(messages):
                    after = self._beginning(text, messages[: number + 1], tools, place, prompts=False)
                parts.append((before, after))
        return Rendered(text, parts)

    def of_completion(
        self, prompt: Sequence[Message], completion: Sequence[Message], tools: Any, place: str
    ) -> Rendered:  # fmt: skip
        """The messages of the prompt and then those of the completion, which are the part.

        Raises:
            UnusableError: see `of_assistant`.
        """
        text = self._text([*prompt, *completion], tools, place)
        prompts = completion[0]["role"] == ASSISTANT
        return Rendered(text, [(self._beginning(text, prompt, tools, place, prompts=prompts), text)])

    def _chosen(self, with_tools: bool) -> str:
        try:
            template = str(self._tokenizer.get_chat_template(tools=[] if with_tools else None))
        except ValueError as error:
            raise UnusableError(
                f"The tokenizer of {self._model} has several chat templates and none is called default; leave one in "
                "its tokenizer_config.json."
            ) from error
        return _CLOCK + template if "strftime_now" in template else template

    def _beginning(
        self, text: str, messages: Sequence[Message], tools: Any, place: str, *, prompts: bool
    ) -> str:  # fmt: skip
        """The first messages as text, which the whole text must begin with."""
        if not messages:
            return ""
        beginning = self._text(messages, tools, place, prompts=prompts)
        if not text.startswith(beginning):
            raise UnusableError(
                f"{place}: the chat template of {self._model} writes the first {len(messages)} messages in another way "
                "when others follow, so that the tokens of an answer cannot be told; mark them in the template with "
                "{% generation %}, keep conversations of one answer, or set `loss_on=all`."
            )
        return beginning

    def _before_first(self, text: str, message: Message, tools: Any, place: str) -> str:
        """What the text has before an answer that no message precedes: no template writes no messages."""
        alone = self._text([message], tools, place)
        prompted = self._text([message], tools, place, prompts=True)
        prompt = prompted.removeprefix(alone)
        place_of_prompt = text.find(prompt) if prompt and prompt != prompted else -1
        return text[: place_of_prompt + len(prompt)] if place_of_prompt >= 0 else ""

    def _text(self, messages: Sequence[Message], tools: Any, place: str, *, prompts: bool = False) -> str:
        template = self._templates[tools is not None]
        try:
            text = self._tokenizer.apply_chat_template(
                list(messages),
                tools=tools,
                chat_template=template,
                tokenize=False,
                add_generation_prompt=prompts,
            )
        except Exception as error:
            raise self._refused(error, place) from error
        return _checked(text, place)

    def _marked(self, template: str, messages: Sequence[Message], tools: Any, place: str) -> Rendered:
        try:
            # `apply_chat_template` tells the marks only as tokens, and of the class that transformers builds.
            rendered: Any = render_jinja_template(
                [list(messages)],
                tools=tools,
                chat_template=template,
                return_assistant_tokens_mask=True,
                **self._tokenizer.special_tokens_map,
            )
        except Exception as error:
            raise self._refused(error, place) from error
        (text,), (spans,) = rendered
        return Rendered(_checked(text, place), [(text[:start], text[:end]) for start, end in spans])

    def _refused(self, error: Exception, place: str) -> UnusableError:
        """Templates are the code of hundreds of authors, and raise whatever they like."""
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return UnusableError(f"{place}: the chat template of {self._model} refuses this conversation ({reason}).")


def _checked(text: str, place: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnusableError(f"{place} holds an unpaired surrogate; correct or remove it.") from error
    return text
