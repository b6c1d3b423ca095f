"""Cards that a careless editor damages. Each by name, with the lines of it that may be other ones afterwards."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Hostile:
    """A card and its lines, as they stand there, that our entries have to become a part of."""

    card: bytes
    changes: tuple[str, ...] = ()


def _card(front: str, body: str = "\n# A model\n\nWords.\n", changes: tuple[str, ...] = ()) -> Hostile:
    return Hostile(f"---\n{front}---\n{body}".encode(), changes)


TRAINER = """license: apache-2.0
base_model: EleutherAI/pythia-70m
tags:
- generated_from_trainer
metrics:
- accuracy
model-index:
- name: my-model
  results: []
"""
RESULT = """  - task:
      type: text-generation
      name: Text Generation
    dataset:
      name: "AI2: reasoning"   # as the leaderboard spells it
      type: ai2_arc
      config: ARC-Challenge
      split: test
      args: {num_few_shot: 25}
    metrics:
    - type: acc_norm
      value: 71.10
      name: normalized accuracy
    source:
      url: https://example.org/leaderboard?q=1&r=#2
      name: Open Leaderboard
"""

HOSTILE: dict[str, Hostile] = {
    "trainer": _card(TRAINER, changes=("  results: []",)),
    "trainer with windows lines": Hostile(
        f"---\n{TRAINER}---\n\n# A model\n".replace("\n", "\r\n").encode(), ("  results: []",)
    ),
    "byte order mark": Hostile(b"\xef\xbb\xbf---\nlicense: mit\n---\n# A model\n"),
    "byte order mark and windows lines": Hostile(b"\xef\xbb\xbf---\r\nlicense: mit\r\n---\r\n# A model\r\n"),
    "byte order mark and no front matter": Hostile("\ufeff# Modèle\n".encode()),
    "no front matter": Hostile(b"# A model\n\nWords.\n"),
    "no front matter and windows lines": Hostile(b"# A model\r\n\r\nWords.\r\n"),
    "no end of the last line": Hostile(b"---\nlicense: mit\n---\n# A model\n\nWords", ("Words",)),
    "front matter alone": Hostile(b"---\nlicense: mit\n---\n"),
    "front matter alone without its last end of line": Hostile(b"---\nlicense: mit\n---", ("---",)),
    "empty front matter": Hostile(b"---\n---\n# A model\n"),
    "empty front matter and a rule below": Hostile(b"---\n---\n# A model\n\n---\n\nWords.\n"),
    "only remarks in the front matter": _card("# license: mit\n# to be decided\n"),
    "blank lines above": Hostile(b"\n\n---\nlicense: mit\n---\n# A model\n"),
    "spaces behind the dashes": Hostile(b"--- \nlicense: mit\n---  \n# A model\n", ("--- ",)),
    "tabs behind the dashes": Hostile(b"---\t \r\nlicense: mit\r\n---\t\r\n# A model\r\n", ("---\t ",)),
    "byte order mark and spaces behind the dashes": Hostile(
        b"\xef\xbb\xbf---   \nlicense: mit\n---\n# A model\n", ("---   ",)
    ),
    "blank lines above and spaces behind the dashes": Hostile(b"\n \n--- \nlicense: mit\n---\n", ("--- ",)),
    "norwegian and versions": _card(
        "language: no\nversion: 1.10\nbuild: 1e3\nmode: 0644\nyes: on\ncreated: 2024-02-30\n"
        "time: 12:30:00\nnothing: ~\n"
    ),
    "remarks everywhere": _card(
        "# of the team\nlicense: mit # for now\n\n# what it can do\ntags:   # no spaces please\n  # first\n"
        "  - a   # a\n\n  - b\n  # last\n\n# the end\n"
    ),
    "anchors, aliases and merges": _card(
        "base: &base {a: 1, b: [x, y]}\nother:\n  <<: *base\n  b: *base\nnames: &names\n- one\n- two\nagain: *names\n"
    ),
    "tags from an alias": _card("keywords: &k [small, 'a, b', 1.0]\ntags: *k\n", changes=("tags: *k",)),
    "shared dataset": _card(
        "model-index:\n- name: a\n  results:\n  - task: &task {type: text-generation}\n    dataset: &data\n"
        "      type: d\n      name: D\n    metrics:\n    - {type: f1, value: 0.5}\n"
        "  - task: *task\n    dataset: *data\n"
        "    metrics:\n    - {type: em, value: 0.4}\n"
    ),
    "several models": _card(f"model-index:\n- name: one\n  results:\n{RESULT}- name: two\n  results:\n{RESULT}"),
    "results that share all but their arguments": _card(
        "model-index:\n- name: one\n  results:\n" + RESULT + RESULT.replace("25", "0").replace("71.10", "64.0")
    ),
    "indented lists": _card(
        "tags:\n    - a\n    - b\nmodel-index:\n    - name: x\n      results:\n"
        "          - task:\n                type: t\n"
        "            dataset:\n                name: d\n                type: d\n            metrics:\n"
        "                - type: acc\n                  value: 1.10\n          # no more\n    # no more models\nz: 1\n"
    ),
    "tags in brackets": _card("tags: [a, b]\n", changes=("tags: [a, b]",)),
    "tags in brackets over lines": _card(
        "tags: [\n  a,  # first\n  'b: c',\n  d, # last\n]\nlicense: mit\n", changes=("  d, # last",)
    ),
    "one tag": _card("tags: text\n", changes=("tags: text",)),
    "one quoted tag": _card('tags: "a, b" # one\n', changes=('tags: "a, b" # one',)),
    "tags in a line of commas": _card("tags: a, b, c\n", changes=("tags: a, b, c",)),
    "no tags yet": _card("tags:   # none yet\nlicense: mit\n", changes=("tags:   # none yet",)),
    "null tags": _card("tags: null\nlicense: mit\n", changes=("tags: null",)),
    "empty tags": _card("tags: []\n", changes=("tags: []",)),
    "odd tags": _card(
        "tags:\n- 'yes'\n- no\n- 1.10\n- arxiv:2304.01373\n- \"#1\"\n- region:us\n-\n- |\n  last one\n\n"
    ),
    "tag there already": _card("tags: [llc, other]\n"),
    "front matter in braces": _card(
        "{license: mit, tags: [a, b], model-index: [{name: x, results: []}]}\n",
        changes=("{license: mit, tags: [a, b], model-index: [{name: x, results: []}]}",),
    ),
    "front matter as json": _card(
        '{\n  "license": "mit",\n  "language": ["no"],\n  "version": "1.10"\n}\n', changes=('  "version": "1.10"',)
    ),
    "empty braces": _card("{}\n", changes=("{}",)),
    "null model-index": _card("model-index:\nlicense: mit\n"),
    "empty model-index": _card("model-index: []  # soon\nlicense: mit\n", changes=("model-index: []  # soon",)),
    "model without results": _card("model-index:\n- name: x\nlicense: mit\n"),
    "values that are words": _card(
        "model-index:\n- name: x\n  results:\n  - task: {type: t}\n    dataset: {type: d, name: d}\n    metrics:\n"
        "    - type: acc\n      value: '~0.5 %'\n      verified: false\n      args:\n      - a\n      - {b: null}\n"
    ),
    "llc of another tool": _card(
        "model-index:\n- name: x\n  results:\n  - task: {type: text-generation}\n"
        "    dataset: {type: org/text, name: t}\n    metrics:\n    - type: llc\n"
        "      value: 17.5\n      args: {model_revision: step512, sampler: other}\n"
    ),
    "long texts": _card(
        "extra_gated_prompt: |-\n  You agree:\n\n  - to this: and that\n  --- not the end\n"
        "widget:\n- text: >\n    Once upon\n    a time\n\n  example_title: 'It''s \"here\"'\n"
        "notes: |+\n  kept blank lines\n\n\n"
    ),
    "texts at the end": _card("license: mit\ndescription: >+\n  folded\n  twice\n\n"),
    "words of the world": _card(
        "عنوان: نموذج\nタグ: [日本語, '🙂']\nname: Größe – “x”\nzero: a\u200bb\nemoji: \U0001f469\u200d\U0001f52c\n"
    ),
    "unknown types": _card("a: !mine x\nb: !!set {x, y}\nc: !!binary aGk=\nd: !!str 1.10\ne: !mine {f: g}\n"),
    "spaces at line ends": _card("license: mit   \ntags: \n  - a  \n  - b   # x\n \nz: 1\n"),
    "all of it indented": _card("  license: mit\n  tags:\n  - a\n"),
    "explicit keys": _card("? license\n: mit\n? [a, b]\n: c\n", changes=()),
    "quoted keys": _card(
        '"license": mit\n\'tags\':\n- a\n"model-index":\n- name: x\n  results: []\n', changes=("  results: []",)
    ),
    "old mac lines": Hostile(b"---\rlicense: mit\rtags:\r- a\r---\r# A model\r"),
    "mixed lines": Hostile(b"---\nlicense: mit\r\ntags:\r\n- a\n---\r\n# A model\n\r\nWords.\r\n"),
    "a line of ten thousand": _card(f"license: mit\nsummary: {'word ' * 2000}end\n"),
    "rules and fences below": _card(
        "license: mit\n",
        "# A model\n\n---\n\n```yaml\n---\ntags: []\n---\n```\n\n"
        "~~~\n<!-- hf-llc:begin -->\n<!-- hf-llc:end -->\n~~~\n\n---\n",
    ),
    "remarks and html below": _card(
        "license: mit\n",
        "<div align='center'>\n\n<!-- a remark\nover lines -->\n\n<img src=x>\n\n* a\n  * b\n\n| a |\n|---|\n",
    ),
    "remark that never closes": Hostile(b"# A\n\n<!-- todo\n"),
    "texts that remarks and rules follow": _card(
        "summary: >2\n    text\n  more\n\n# the end of it\nother: |\n  a\n  ---\n  b\n\n# the end\n\n   \n"
    ),
    "tags in a text block": _card("tags: |\n  one, two\nlicense: mit\n", changes=("tags: |", "  one, two")),
    "one tag over lines": _card("tags:\n  one\n  two\nlicense: mit\n", changes=("  one", "  two")),
    "tags that end with nothing": _card("tags:\n- a\n-\n"),
    "tags that are typed": _card("tags: !!seq\n- !!str 1.10\nlicense: mit\n"),
    "tags with an alias last": _card("x: &x a\ntags:\n- b\n- *x\n"),
    "keys that are named and explicit": _card(
        "&k tags: [a]\nb: *k\n? model-index\n: []\n", changes=("&k tags: [a]", ": []")
    ),
    "keys that are numbers and truths": _card("1: a\n1.0: b\nyes: 1\nno: 2\nnull: c\n~: d\n"),
    "widget and emissions": _card(
        'widget:\n- text: "Hello, I\'m: {a}"\n- messages:\n  - role: user\n    content: |\n      many\n\n      lines\n'
        "co2_eq_emissions:\n  emissions: 1.2e-3\n  geographical_location: Z\u00fcrich\nbase_model:\n- a/b\n"
    ),
    "odd dates and numbers": _card("released: 2024-01-01\nmode: 0755\nx: 0x1F\no: 0o17\nv: 1_000\ns: 1:20:30\n"),
    "our key with a name": _card("hf-llc: &o {schema: 0}\nlicense: mit\n", changes=("hf-llc: &o {schema: 0}",)),
    "our key for another": _card("x: &o {schema: 0}\nhf-llc: *o\n", changes=("hf-llc: *o",)),
    "our key without a value": _card("hf-llc:\nlicense: mit\n", changes=("hf-llc:",)),
    "markers that are shown": _card(
        "license: mit\n", "para\n\n    <!-- hf-llc:begin -->\n    <!-- hf-llc:end -->\n\n> `<!-- hf-llc:begin -->`\n"
    ),
    "fence in a list that the list ends": _card("license: mit\n", "- ```\n  code\n"),
    "lists nested ten deep": _card(
        "license: mit\n", "".join(f"{'  ' * depth}- level {depth}\n" for depth in range(12))
    ),
    "lists in quotations in lists": _card("license: mit\n", "- > 1. > - > * > 1. > - words\n" + "> " * 30 + "words\n"),
    "a rule first": Hostile(b"---\n\n# Title\n\n---\n\nWords.\n"),
    "dataset card": _card(
        "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/*.parquet\ndataset_info:\n"
        "  features:\n  - name: text\n    dtype: string\n"
    ),
}

REFUSED: dict[str, tuple[bytes, int, str]] = {
    "bracket that never closes": (b"---\nlicense: mit\ntags: [a\n---\n# A\n", 3, "expected"),
    "colon in a value": (b"---\nlicense: mit\ntitle: a: b\n---\n", 3, "mapping values"),
    "tab": (b"---\nlicense: mit\n\ttags: a\n---\n", 3, "tab|cannot start"),
    "key twice": (b"---\nlicense: mit\ntags: []\nlicense: apache-2.0\n---\n", 4, "license stands there twice"),
    "alias of nothing": (b"---\na: 1\nb: *a\n---\n", 3, r"nothing has the name \*a"),
    "alias of itself": (b"---\na: &x [*x]\n---\n", 2, "nothing has the name"),
    "list": (b"---\n- a\n- b\n---\n", 2, "no mapping"),
    "words": (b"---\n# A model\nwords\n---\n", 3, "no mapping"),
    "second document": (b"---\na: 1\n--- # b\nc: 2\n---\n", 3, "second document"),
    "never ends": (b"---\nlicense: mit\n\n# A model\n", 1, "never ends"),
    "latin-1": ("---\nlicense: mit\n---\n# Modèle\n".encode("latin-1"), 4, "not UTF-8"),
    "null character": (b"---\nlicense: mit\nname: a\x00b\n---\n", 3, "not allow"),
    "tags that are a mapping": (b"---\ntags:\n  a: b\n---\n", 3, "tags is no list"),
    "model-index that is a mapping": (b"---\nmodel-index: {name: x}\n---\n", 2, "model-index is no list"),
    "model-index from an alias": (b"---\na: &i []\nmodel-index: *i\n---\n", 3, "model-index is no list"),
    "tags that others refer to": (b"---\ntags: &t [a]\nkeywords: *t\n---\n", 2, r"\*t refers to"),
    "keys from elsewhere": (b"---\nx: &x {tags: [a]}\n<<: *x\n---\n", 2, "tags may come from elsewhere"),
    "begin without end": (b"# A\n<!-- hf-llc:begin -->\n## LLC\n", 2, "not one <!-- hf-llc:begin"),
    "two sections": (b"<!-- hf-llc:begin -->\n<!-- hf-llc:end -->\n" * 2, 4, "not one"),
    "end before begin": (b"---\na: 1\n---\n<!-- hf-llc:end -->\n<!-- hf-llc:begin -->\n", 5, "not one"),
    "code that never closes": (b"---\na: 1\n---\n# A\n```python\nx\n", 5, "begins with ```python never ends"),
    "html that never closes": (b"# A\n\n<pre>\nx\n", 3, "begins with <pre> never ends"),
    "dots at the end": (b"---\nlicense: mit\n...\n---\n", 3, "document ends here"),
    "key of a newer version": (b"---\nhf-llc:\n  schema: 99\n  new: [1]\n---\n", 3, r"newer version \(schema 99\)"),
    "our key as a list": (b"---\na: 1\nhf-llc:\n- a\n- b\n---\n", 4, "hf-llc did not write what stands below hf-llc"),
    "our key as a text": (b"---\nhf-llc: |\n  a\n  b\n\nlicense: mit\n---\n", 2, "hf-llc did not write"),
    "our key with settings of somebody": (b"---\nhf-llc: {chains: 4}\n---\n", 2, "hf-llc did not write"),
    "our key with a schema of words": (b"---\nhf-llc: {schema: mine}\n---\n", 2, "hf-llc did not write"),
    "our key with a remark of somebody": (
        b"---\nhf-llc:\n  schema: 1\n  results: llc/results.jsonl\n  reviewed_by: me\n---\n",
        5,
        "hf-llc did not write reviewed_by below hf-llc",
    ),
    "our key through an alias of others": (b"---\na: &a {x: 1}\nhf-llc: *a\n---\n", 3, "hf-llc did not write"),
    "markers around the words of others": (
        b"---\na: 1\n---\n# A\n<!-- hf-llc:begin -->\n\n## Results\n\nMy table.\n\n<!-- hf-llc:end -->\n",
        5,
        "hf-llc did not write what stands below <!-- hf-llc:begin -->",
    ),
    "a remark behind the dashes": (b"--- # mine\nlicense: mit\n---\n# A\n", 1, "--- is not alone in its line"),
    "a no-break space behind the dashes": (
        "\n---\u00a0\nlicense: mit\n---\n# A\n".encode(),
        2,
        "--- is not alone in its line",
    ),
    "a space without width before the dashes": (
        "\u200b---\nlicense: mit\n---\n# A\n".encode(),
        1,
        "--- is not alone in its line",
    ),
    "two byte order marks": (
        b"\xef\xbb\xbf\xef\xbb\xbf---\nlicense: mit\n---\n# A\n",
        1,
        "--- is not alone in its line",
    ),
    "lists nested a thousand deep": (b"# A\n\n" + b"- " * 1000 + b"x\n", 3, "nested too deeply"),
    "dots in place of dashes": (b"---\nlicense: mit\n...\n# A\n", 1, "never ends"),
    "next line inside a word": ("---\na: b\u2028c: d\n---\n".encode(), 2, "mapping values"),
    "control character": (b"---\nlicense: mit\nname: a\x1bb\n---\n", 3, "not allow"),
    "no-break spaces": (
        "---\nlicense: mit\ntags:\n-\u00a0a\n-\u00a0b\nz: 1\n---\n".encode(),
        5,
        "expected",
    ),
    "brackets without end": (b"---\na: " + b"[" * 600 + b"]" * 600 + b"\n---\n", 2, "too deeply"),
}
"""Cards that are left alone: the bytes, the line that is named, and the reason."""
