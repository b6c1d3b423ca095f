"""Documents from files of every format, from saved datasets and from the Hub."""

import contextlib
import csv
import gzip
import io
import json
import os
import random
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import hypothesis
import pytest
from datasets import config
from datasets.arrow_dataset import Dataset
from datasets.dataset_dict import DatasetDict
from hypothesis import strategies as st

from hf_llc.errors import (
    AccessError,
    HfLlcError,
    NotFoundError,
    OfflineError,
    ResourceError,
    SettingsError,
    UnusableError,
)
from hf_llc.hub.digests import local_identity
from hf_llc.settings.data import DataSettings
from hf_llc.tasks.text.corpus import open_hub, open_local
from tests.hub_server import fixtures
from tests.hub_server.server import HubServer

hub_server, hub = fixtures.hub_server, fixtures.hub

ROWS: list[dict[str, Any]] = [
    {"text": "first", "n": 1},
    {"text": "", "n": 2},
    {"text": None, "n": 3},
    {"text": "last\nline", "n": 4},
]
TEXTS = ["first", "last\nline"]


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    """The rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    """The rows as a parquet file."""
    buffer = io.BytesIO()
    Dataset.from_list(rows).to_parquet(buffer)
    return buffer.getvalue()


def local(path: Path, **settings: Any) -> tuple[str, list[str]]:
    """Text column and documents of a local path."""
    documents = open_local(DataSettings(dataset=str(path), **settings), path)
    return documents.text_column, ["".join(text) for text in documents.texts]


def remarks(path: Path, **settings: Any) -> list[str]:
    """What is said about all documents of a local path."""
    documents = open_local(DataSettings(dataset=str(path), **settings), path)
    for text in documents.texts:
        "".join(text)
    return documents.remarks()


def remote(hub: HubServer, tell: Callable[[str], None] = pytest.fail, **settings: Any) -> tuple[str, list[str]]:
    """Text column and documents of org/d on the Hub, at the commit that main is now."""
    repo = hub.find("dataset", "org/d")
    assert repo is not None
    documents = open_hub(DataSettings(dataset="org/d", **settings), "org/d", repo.at().sha, tell)
    return documents.text_column, ["".join(text) for text in documents.texts]


FORMATS: dict[str, bytes] = {
    "a.jsonl": jsonl(ROWS),
    "a.json": json.dumps(ROWS).encode(),
    "a.csv": b'text,n\nfirst,1\n,2\n,3\n"last\nline",4\n',
    "a.parquet": parquet(ROWS),
    "a.jsonl.gz": gzip.compress(jsonl(ROWS), mtime=0),
    "a.csv.gz": gzip.compress(b'text,n\nfirst,1\n"last\nline",4\n', mtime=0),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_its_documents_without_empty_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FORMATS[name])
    assert local(tmp_path / name) == ("text", TEXTS)


def test_a_text_file_is_one_document_verbatim(tmp_path: Path) -> None:
    text = "\n\n  a\r\nb\x0c\u2028c \n"
    (tmp_path / "a.txt").write_bytes(text.encode())
    assert local(tmp_path / "a.txt") == ("text", [text])


def test_a_packed_text_file_is_one_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"a\n\nb"))
    assert local(tmp_path / "a.txt.gz") == ("text", ["a\n\nb"])


def test_a_folder_of_text_files_is_one_document_each_in_order_of_name(tmp_path: Path) -> None:
    for name, text in {"b.txt": "B", "a.txt": "A", "sub/c.txt": "C", ".hidden.txt": "no", "empty.txt": ""}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert local(tmp_path) == ("text", ["A", "B", "C"])


def test_a_text_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UnusableError, match=r"a\.txt is not UTF-8 text \(byte 3\)"):
        local(tmp_path / "a.txt")


def test_a_folder_of_data_files_has_the_splits_that_their_names_say(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(jsonl([{"text": "a"}]))
    (tmp_path / "test.jsonl").write_bytes(jsonl([{"text": "b"}]))
    assert local(tmp_path) == ("text", ["a"])
    assert local(tmp_path, split="test") == ("text", ["b"])
    with pytest.raises(NotFoundError, match=r"has no split tset; did you mean test.*Choose with `split`"):
        local(tmp_path, split="tset")


def test_a_dataset_saved_to_disk_is_read(tmp_path: Path) -> None:
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "one")
    DatasetDict({"dev": Dataset.from_list(ROWS)}).save_to_disk(tmp_path / "several")
    assert local(tmp_path / "one") == ("text", TEXTS)
    assert local(tmp_path / "several", split="dev") == ("text", TEXTS)
    with pytest.raises(NotFoundError, match="has no split train; there is dev"):
        local(tmp_path / "several")


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
class TestColumns:
    """How the text column is found, with types known beforehand (parquet) and not (JSON lines)."""

    def write(self, folder: Path, suffix: str, row: dict[str, Any]) -> Path:
        path = folder / f"a.{suffix}"
        path.write_bytes({"jsonl": jsonl, "parquet": parquet}[suffix]([row]))
        return path

    def test_the_named_column_is_taken(self, tmp_path: Path, suffix: str) -> None:
        path = self.write(tmp_path, suffix, {"text": "a", "body": "b"})
        assert local(path, text_column="body") == ("body", ["b"])

    def test_text_is_taken_among_several(self, tmp_path: Path, suffix: str) -> None:
        path = self.write(tmp_path, suffix, {"body": "b", "text": "a"})
        assert local(path) == ("text", ["a"])

    def test_the_only_column_of_strings_is_taken(self, tmp_path: Path, suffix: str) -> None:
        path = self.write(tmp_path, suffix, {"n": 1, "body": "b", "tags": ["x"]})
        assert local(path) == ("body", ["b"])

    def test_several_columns_of_strings_need_a_choice(self, tmp_path: Path, suffix: str) -> None:
        path = self.write(tmp_path, suffix, {"title": "a", "body": "b"})
        with pytest.raises(NotFoundError, match=r"no column text.*title, body.*`text_column`"):
            local(path)

    def test_an_unknown_column_names_near_ones(self, tmp_path: Path, suffix: str) -> None:
        path = self.write(tmp_path, suffix, {"content": "a", "n": 1})
        with pytest.raises(NotFoundError, match=r"has no column contents; did you mean content.*`text_column`"):
            local(path, text_column="contents")

    def test_a_column_of_numbers_names_those_of_strings(self, tmp_path: Path, suffix: str) -> None:
        path = self.write(tmp_path, suffix, {"n": 1, "body": "a"})
        with pytest.raises(UnusableError, match=r"Column n of .* does not hold strings; columns of strings: body"):
            local(path, text_column="n")

    def test_no_column_of_strings_is_unusable(self, tmp_path: Path, suffix: str) -> None:
        path = self.write(tmp_path, suffix, {"n": 1, "tags": ["x"]})
        with pytest.raises(UnusableError, match="no column of strings; its columns are n, tags"):
            local(path)


def test_a_column_that_begins_with_a_missing_value_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl([{"body": None}, {"body": "b"}]))
    assert local(tmp_path / "a.jsonl", text_column="body") == ("body", ["b"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b'{"text": "a"\nnot json'),
        ("a.parquet", b"PAR1 not parquet"),
        ("a.jsonl.gz", b"not gzip"),
        ("a.json", b""),
    ],
)
def test_damaged_files_are_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnusableError, match=r"a.json|a.parquet") as caught:
        local(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "settings", "error", "message"),
    [
        ("a.pdf", {}, SettingsError, "none of the formats"),
        ("a.jsonl", {"config": "x"}, SettingsError, "leave out `config`"),
        ("a.jsonl", {"split": "train[:10]"}, SettingsError, "got the expression.*`max_sequences`"),
        ("a.txt", {"split": "test"}, NotFoundError, "has no split test; there is train"),
        ("a.txt", {"text_column": "body"}, NotFoundError, "plain text and has no columns; leave out `text_column`"),
    ],
)
def test_settings_that_do_not_fit_a_file(
    tmp_path: Path, name: str, settings: dict[str, Any], error: type[HfLlcError], message: str
) -> None:
    (tmp_path / name).write_bytes(jsonl(ROWS))
    with pytest.raises(error, match=message):
        local(tmp_path / name, **settings)


def test_a_folder_without_data_files_says_so(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("nothing")
    with pytest.raises(NotFoundError, match="holds no data files"):
        local(tmp_path)


def test_identity_follows_content_and_names_but_not_place_or_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "a.txt").write_text("a")
        (tmp_path / name / "b.txt").write_text("b")
    (tmp_path / "two" / ".cache").write_text("not data")
    one, two = tmp_path / "one", tmp_path / "two"
    assert local_identity(one) == local_identity(two)
    assert local_identity(one / "b.txt") == local_identity(two / "b.txt") != local_identity(one)
    (two / "b.txt").write_text("c")
    assert local_identity(one) != local_identity(two)
    (two / "b.txt").rename(two / "c.txt")
    (two / "c.txt").write_text("b")
    assert local_identity(one) != local_identity(two)


@pytest.mark.parametrize(("name", "content"), [("data/train.parquet", parquet(ROWS)), ("train.jsonl", jsonl(ROWS))])
def test_a_hub_dataset_is_read_at_its_commit(hub: HubServer, name: str, content: bytes) -> None:
    repo = hub.add_dataset("org/d", {name: content})
    sha = repo.at().sha
    repo.commit({name: jsonl([{"text": "newer"}])})
    documents = open_hub(DataSettings(dataset="org/d"), "org/d", sha, pytest.fail)
    assert (documents.text_column, list(documents.texts)) == ("text", TEXTS)


def test_an_unknown_split_on_the_hub_names_near_ones(hub: HubServer) -> None:
    hub.add_dataset("org/d", {"train.jsonl": jsonl(ROWS), "validation.jsonl": jsonl(ROWS)})
    with pytest.raises(NotFoundError, match=r"org/d has no split valid; did you mean validation.*`split`"):
        remote(hub, split="valid")


CARD = b"""---
configs:
- config_name: small
  data_files: small.jsonl
- config_name: large
  data_files: large.jsonl
---
"""


def test_configs_of_a_hub_dataset(hub: HubServer) -> None:
    hub.add_dataset("org/d", {"README.md": CARD, "small.jsonl": jsonl(ROWS), "large.jsonl": jsonl([{"text": "big"}])})
    assert remote(hub, config="large") == ("text", ["big"])
    with pytest.raises(NotFoundError, match=r"org/d has several configs; there is .*small.*`config`"):
        remote(hub)
    with pytest.raises(NotFoundError, match=r"org/d has no config smal; did you mean small.*`config`"):
        remote(hub, config="smal")


def test_a_dataset_script_is_refused(hub: HubServer) -> None:
    hub.add_dataset("org/d", {"d.py": b"import datasets", "a.bin": b"x"})
    with pytest.raises(UnusableError, match="org/d needs a script"):
        remote(hub)


def test_a_hub_dataset_without_data_is_one_line(hub: HubServer) -> None:
    hub.add_dataset("org/d", {"README.md": b"# nothing here"})
    with pytest.raises(HfLlcError) as caught:
        remote(hub)
    assert "org/d" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_on_the_hub_is_not_taken_for_a_broken_network(hub: HubServer) -> None:
    hub.add_dataset("org/d", {"train.jsonl": b'{"text": "a"\nnot json'})
    with pytest.raises(UnusableError, match=r"org/d/train\.jsonl is not JSON \(Expecting"):
        remote(hub)


def test_server_errors_while_opening_are_retried(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    hub.add_dataset("org/d", {"train.jsonl": jsonl(ROWS)})
    hub.faults.add("/api/datasets/org/d", "error", times=1, status=503)
    assert remote(hub, lambda message: None) == ("text", TEXTS)


def test_a_hub_dataset_offline_is_an_offline_error(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add_dataset("org/d", {"train.jsonl": jsonl(ROWS)})
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", True)
    with pytest.raises(OfflineError, match="org/d"):
        remote(hub)


def test_a_gated_hub_dataset_names_its_page(hub: HubServer) -> None:
    hub.add_dataset("org/d", {"train.jsonl": jsonl(ROWS)}).gated = "manual"
    hub.users["hf_test"] = hub.users["hf_other"]
    with pytest.raises(AccessError, match=r"gated: ask for access at .*/datasets/org/d"):
        remote(hub)


def test_a_card_whose_head_is_no_yaml_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\n: : [\n---\n")
    (tmp_path / "t.jsonl").write_bytes(jsonl(ROWS))
    with pytest.raises(
        UnusableError, match=r"The YAML front matter of the README\.md of .* cannot be read; correct or remove it"
    ):
        list(open_local(DataSettings(dataset=str(tmp_path)), tmp_path).texts)


def test_a_cache_that_cannot_be_written_is_not_blamed_on_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.parquet").write_bytes(parquet(ROWS))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", f"{config.HF_DATASETS_CACHE}/some.lock")

    monkeypatch.setattr("hf_llc.tasks.text.corpus.load_dataset", refuse)
    with pytest.raises(ResourceError, match=r"The cache at .* cannot be used \(Permission denied\); set HF_HOME"):
        list(open_local(DataSettings(dataset=str(tmp_path / "t.parquet")), tmp_path / "t.parquet").texts)


WORDS = ["NA", "null", "None", "nan", "N/A", "", "1999", "2020-01-01 10:00:00", "true", "#text", " a "]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl", "ndjson", "csv.gz", "parquet"])
def test_no_word_is_taken_for_a_value_of_another_type(tmp_path: Path, suffix: str) -> None:
    path, rows = tmp_path / f"a.{suffix}", [{"text": word} for word in WORDS]
    table = "text\n" + "".join(f'"{word}"\n' for word in WORDS)
    contents: dict[str, bytes] = {
        "csv": table.encode(),
        "tsv": table.encode(),
        "json": json.dumps(rows).encode(),
        "jsonl": jsonl(rows),
        "ndjson": jsonl(rows),
        "csv.gz": gzip.compress(table.encode()),
        "parquet": parquet(rows),
    }
    path.write_bytes(contents[suffix])
    assert local(path) == ("text", [word for word in WORDS if word])
    assert remarks(path) == [f"Of the {len(WORDS)} rows read, 1 with an empty text are left out."]


@pytest.mark.parametrize(("name", "content"), [("train.csv", b"text\nNA\n1999\n"), ("train.tsv", b"text\nNA\n1999\n")])
def test_no_word_of_a_table_on_the_hub_is_taken_for_a_value(hub: HubServer, name: str, content: bytes) -> None:
    hub.add_dataset("org/d", {name: content})
    assert remote(hub) == ("text", ["NA", "1999"])


FIRST_ROWS: dict[str, bytes] = {
    "a.csv": b'text,n\n"",1\nfirst,2\n',
    "one.csv": b'text\n""\nfirst\n',
    "a.json": json.dumps([{"id": 1}, {"text": "first"}]).encode(),
    "a.jsonl": jsonl([{"text": None}, {"text": "first"}]),
    "b.jsonl": jsonl([{"id": 1}, {"text": "first"}]),
}


@pytest.mark.parametrize("named", [None, "text"])
@pytest.mark.parametrize("name", FIRST_ROWS)
def test_a_first_row_without_text_hides_no_other(tmp_path: Path, name: str, named: str | None) -> None:
    (tmp_path / name).write_bytes(FIRST_ROWS[name])
    assert local(tmp_path / name, text_column=named) == ("text", ["first"])


def test_a_column_that_ends_half_way_is_said_with_its_count(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl([{"text": "a"}] * 49 + [{"body": "b"}] * 51))
    assert local(path) == ("text", ["a"] * 49)
    assert remarks(path) == ["Of the 100 rows read, 51 without text (null, or no such column) are left out."]


BRACKETS = [
    "[12].jsonl",
    "a[!x].csv",
    "what?.jsonl",
    "star*.json",
    "a::b.jsonl",
    "c[1].parquet",
    "x[1].txt",
    "{a,b}.tsv",
]


@pytest.mark.parametrize("name", BRACKETS)
def test_no_name_is_a_pattern(tmp_path: Path, name: str) -> None:
    content: dict[str, Callable[[str], bytes]] = {
        "jsonl": lambda text: jsonl([{"text": text}]),
        "json": lambda text: json.dumps([{"text": text}]).encode(),
        "csv": lambda text: f"text\n{text}\n".encode(),
        "tsv": lambda text: f"text\n{text}\n".encode(),
        "parquet": lambda text: parquet([{"text": text}]),
        "txt": lambda text: text.encode(),
    }
    suffix = name.rpartition(".")[2]
    decoys = [f"{stem}.{suffix}" for stem in ("1", "ab", "whatx", "starry", "a", "c1", "x1", "b", "2")]
    for folder in (tmp_path / "d[1]", tmp_path / "d1"):
        folder.mkdir()
        for decoy in decoys:
            (folder / decoy).write_bytes(content[suffix]("another"))
        (folder / name).write_bytes(content[suffix]("right" if folder.name == "d[1]" else "another"))
    assert local(tmp_path / "d[1]" / name) == ("text", ["right"])


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("name", ["d[1]", "d*", "d?", "**"])
def test_no_folder_is_a_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, suffix: str) -> None:
    write = {"jsonl": jsonl, "parquet": parquet}[suffix]
    for folder, text in {"d1": "another", "dd": "another", name: "right"}.items():
        (tmp_path / folder / "sub[2]").mkdir(parents=True)
        (tmp_path / folder / "sub[2]" / f"train[3].{suffix}").write_bytes(write([{"text": text}]))
    assert local(tmp_path / name) == ("text", ["right"])
    monkeypatch.chdir(tmp_path / name)
    for here in (Path("."), Path("./"), Path("sub[2]"), Path(f"./sub[2]/train[3].{suffix}")):
        assert local(here) == ("text", ["right"])


def test_brackets_in_a_hub_repository_are_no_pattern(hub: HubServer) -> None:
    hub.add_dataset(
        "org/d", {"train[12].jsonl": jsonl([{"text": "right"}]), "x/train[1]?.jsonl": jsonl([{"text": "b"}])}
    )
    assert remote(hub) == ("text", ["right", "b"])


def test_a_name_that_datasets_would_take_apart_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet::b.parquet").write_bytes(parquet(ROWS))
    with pytest.raises(UnusableError, match=r"a\.parquet::b\.parquet has `::` in its name.*rename it"):
        local(tmp_path / "a.parquet::b.parquet")


def test_files_of_other_formats_in_a_folder_are_named(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(jsonl([{"text": name}]))
    for name in ("c.csv", "d.txt", "LICENSE.txt"):
        (tmp_path / name).write_bytes(b"text\nmore\n")
    assert local(tmp_path) == ("text", ["a.jsonl", "b.jsonl"])
    assert remarks(tmp_path) == [
        "Data files that are not read: c.csv, d.txt; they are not json, or their names put them in no split."
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_files_that_their_names_put_in_no_split_are_named(hub: HubServer, tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("train", "test", "more"):
        (folder / f"{name}.{suffix}").write_bytes({"jsonl": jsonl, "parquet": parquet}[suffix]([{"text": name}]))
    sha = hub.add_dataset("org/d", {file.name: file.read_bytes() for file in folder.iterdir()}).at().sha
    documents = open_hub(DataSettings(dataset="org/d"), "org/d", sha, pytest.fail)
    assert list(documents.texts) == ["train"]
    assert documents.remarks() == remarks(folder)
    assert documents.remarks()[0].startswith(f"Data files that are not read: more.{suffix}; they are not")


def test_files_of_other_formats_in_a_repository_are_named(hub: HubServer) -> None:
    files = {"a.jsonl": jsonl(ROWS), "b.jsonl": jsonl(ROWS), "x/c.csv": b"text\nmore\n", ".d/e.csv": b"text\nmore\n"}
    sha = hub.add_dataset("org/d", {**files, "README.md": b"# Text"}).at().sha
    documents = open_hub(DataSettings(dataset="org/d"), "org/d", sha, pytest.fail)
    assert list(documents.texts) == TEXTS * 2
    assert documents.remarks()[0].startswith("Data files that are not read: x/c.csv; they are not json, or")


def test_a_text_file_is_one_document_here_and_on_the_hub(hub: HubServer, tmp_path: Path) -> None:
    text = "one\ntwo\r\n\nthree\u2028 \n" * 100_000
    (tmp_path / "train.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    hub.add_dataset("org/d", {"train.txt": b"\xef\xbb\xbf" + text.encode()})
    assert local(tmp_path / "train.txt") == remote(hub) == ("text", [text])
    assert remarks(tmp_path / "train.txt") == ["Each plain text file is one document, with its line breaks."]


def test_of_a_long_text_no_more_is_read_than_is_needed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"words and " * 500_000 + b"\xff")
    (text,) = open_local(DataSettings(dataset="a.txt"), tmp_path / "a.txt").texts
    assert next(iter(text)).startswith("words and ")


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("bom.csv", b"\xef\xbb\xbftext,n\na,1\n", ["a"]),
        ("bom.jsonl", b'\xef\xbb\xbf{"text":"a"}\n', ["a"]),
        ("crlf.csv", b'text,n\r\n"a\r\nb",1\r\n', ["a\r\nb"]),
        ("cr.csv", b"text\ra\rb\r", ["a", "b"]),
        ("cr.jsonl", b'{"text":"a"}\r{"text":"b"}\r', ["a", "b"]),
        ("crlf.jsonl", b'{"text":"a"}\r\n\r\n{"text":"b"}', ["a", "b"]),
        ("nul.csv", b"text,n\na\x00b,1\n", ["a\0b"]),
        ("nul.jsonl", b'{"text":"a\\u0000b"}\n', ["a\0b"]),
        ("tab.jsonl", b'{"text":"a\tb"}\n', ["a\tb"]),
        ("pair.jsonl", b'{"text":"\\ud83d\\ude00"}\n', ["\U0001f600"]),
        ("nan.jsonl", b'{"text":"a","n":NaN}\n', ["a"]),
        ("quotes.csv", b'text\n"a ""b"" c"\nd"e\n', ['a "b" c', 'd"e']),
        ("long.csv", b'text\n"' + b"x" * 3_000_000 + b'"\n', ["x" * 3_000_000]),
        ("long.jsonl", b'{"text":"' + b"x" * 30_000_000 + b'"}\n', ["x" * 30_000_000]),
        ("strings.json", b'["a", "b"]', ["a", "b"]),
        ("one.json", b'{"text": "a"}', ["a"]),
        ("indented.json", json.dumps([{"text": "a"}, {"text": "b"}], indent=1).encode(), ["a", "b"]),
        ("sequence.json", b'{\n"text": "a"\n}\n{\n"text": "b"\n}', ["a", "b"]),
        ("blank.csv", b"text\n\na\n\n", ["a"]),
        ("short.csv", b"text,n\na\nb,2\n", ["a", "b"]),
    ],
)
def test_odd_files_give_their_texts(tmp_path: Path, name: str, content: bytes, texts: list[str]) -> None:
    (tmp_path / name).write_bytes(content)
    assert local(tmp_path / name) == ("text", texts)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("deep.jsonl", b'{"text":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
        ("deep.json", b"[" * 200_000, "nested too deeply"),
        ("latin.jsonl", b'{"text":"caf\xe9"}\n', "is not UTF-8 text"),
        ("latin.csv", b"text\ncaf\xe9\n", "is not UTF-8 text"),
        ("utf16.csv", "text\na\n".encode("utf-16"), "is not UTF-8 text"),
        ("cut.txt", b"abc\xe2\x82", r"is not UTF-8 text \(byte 3\)"),
        ("late.txt", b"a" * 3_000_000 + b"\xe9b", r"is not UTF-8 text \(byte 3000000\)"),
        ("half.jsonl", b'{"text":"a"}\n{"text":"b\\ud800"}\n', r"an unpaired surrogate \(row 2, character 1\)"),
        ("cut.jsonl", b'{"text":"a"}\n{"text":"b', r"Line 2 of .*cut\.jsonl is not JSON \(Unterminated string"),
        ("web.json", b"<html></html>", "is not JSON"),
        ("digits.jsonl", b'{"text":"a","n":' + b"9" * 6000 + b"}", "is not JSON.*4300 digits"),
        ("strings.jsonl", b'"a"\n"b"\n', "Row 1 of .* is a str, where an object"),
        ("numbers.json", b"[1, 2]", "Row 1 of .* is a int, where an object"),
        ("null.jsonl", b"null\n", "Row 1 of .* is a NoneType"),
        ("mixed.jsonl", b'{"text":"a"}\n{"text":{"x":1}}\n', r"holds a dict among its strings \(row 2\)"),
        ("objects.jsonl", b'{"text":{"x":1}}\n', "Column text of .* does not hold strings"),
        ("years.jsonl", b'{"text":1999}\n', "Column text of .* does not hold strings"),
        ("columns.json", b'{"text": ["a", "b"]}', "Column text of .* does not hold strings"),
        ("nothing.json", b"[]", "has no rows"),
        ("blank.jsonl", b"\n \n", "has no rows"),
        ("header.csv", b"text\n", "has no rows"),
        (
            "commas.csv",
            b"text\na, b\nc, d\n",
            r"more fields than its header \(text\); put texts that hold commas in",
        ),
        ("comma.csv", b"text\na\nb, c\n", "Expected 1 fields in line 3, saw 2.*put texts that hold commas"),
        ("quote.csv", b'text\n"abc\n', "EOF inside string"),
        ("semicolon.csv", b"text;n\na;1\n", r"has one column, 'text;n'; if ';' separates columns, write commas"),
        ("noise.txt.gz", b"not gzip", "cannot be read as text: Not a gzipped file"),
        ("cut.txt.gz", gzip.compress(bytes(range(256)) * 9, mtime=0)[:100], "cannot be read as text: .*ended before"),
    ],
)
def test_files_that_are_no_text_are_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnusableError, match=message) as caught:
        local(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_long_text_that_was_cut_short_is_one_line(tmp_path: Path) -> None:
    content = gzip.compress(random.Random(0).randbytes(1_000_000).hex().encode() * 4, mtime=0)
    (tmp_path / "a.txt.gz").write_bytes(content[:-1000])
    documents = open_local(DataSettings(dataset="a.txt.gz"), tmp_path / "a.txt.gz")
    with pytest.raises(UnusableError, match=r"a\.txt\.gz cannot be read as text: .*ended before") as caught:
        "".join(next(iter(documents.texts)))
    assert "\n" not in str(caught.value)


def test_configs_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(CARD)
    (tmp_path / "small.jsonl").write_bytes(jsonl(ROWS))
    (tmp_path / "large.jsonl").write_bytes(jsonl([{"text": "big"}]))
    assert local(tmp_path, config="large") == ("text", ["big"])
    with pytest.raises(NotFoundError, match=r"has several configs; there is .*small.*`config`"):
        local(tmp_path)
    with pytest.raises(NotFoundError, match=r"has no config smal; did you mean small.*`config`"):
        local(tmp_path, config="smal")


def test_what_a_card_says_of_its_files_is_followed(hub: HubServer, tmp_path: Path) -> None:
    card = b"---\nconfigs:\n- config_name: default\n  data_files: '*.csv'\n  sep: ';'\n---\n"
    (tmp_path / "README.md").write_bytes(card)
    (tmp_path / "a.csv").write_bytes(b"text;n\nNA;1\n")
    hub.add_dataset("org/d", {file.name: file.read_bytes() for file in tmp_path.iterdir()})
    assert local(tmp_path) == remote(hub) == ("text", ["NA"])
    card = b"---\nconfigs:\n- config_name: default\n  data_files: '*.json'\n  field: rows\n---\n"
    (tmp_path / "README.md").write_bytes(card)
    (tmp_path / "a.csv").rename(tmp_path / "a.json")
    (tmp_path / "a.json").write_text(json.dumps({"rows": [{"text": "inner"}]}))
    assert local(tmp_path) == ("text", ["inner"])


def test_packed_tables_on_the_hub_are_read_as_they_are_written(hub: HubServer) -> None:
    table, archive = b"text\nNA\n1999\n", io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("inner.csv", table)
    repo = hub.add_dataset("org/d", {"train.csv.gz": gzip.compress(table)})
    assert remote(hub) == ("text", ["NA", "1999"])
    repo.commit({"train.zip": archive.getvalue()}, delete=["train.csv.gz"])
    assert remote(hub) == ("text", ["NA", "1999"])


def test_a_name_that_is_no_utf8_has_an_identity(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/a\xff.jsonl", "wb") as file:
        file.write(jsonl([{"text": "a"}]))
    assert local_identity(tmp_path).startswith("sha256:")
    assert local(tmp_path) == ("text", ["a"])


CELLS = st.text() | st.none() | st.integers()
TABLES = st.lists(st.fixed_dictionaries({"text": st.text(), "other": CELLS}), min_size=1)
SYNTAX = st.text(alphabet='{}[]",:\\textnul1e.\n\r ', max_size=60).map(str.encode)
fuzzed = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])


@hypothesis.settings(fuzzed, max_examples=60)
@hypothesis.given(rows=TABLES)
def test_any_text_comes_back_as_it_was_written(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    texts = [row["text"] for row in rows if row["text"]]
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, ["text", "other"], quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "a.jsonl").write_bytes(jsonl(rows))
    (tmp_path / "b.jsonl").write_bytes(b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows))
    (tmp_path / "a.json").write_bytes(json.dumps(rows, indent=1).encode())
    for name in ("a.csv", "a.jsonl", "b.jsonl", "a.json"):
        assert local(tmp_path / name, text_column="text") == ("text", texts)


@hypothesis.settings(fuzzed, max_examples=150)
@hypothesis.given(content=st.binary(max_size=60) | SYNTAX)
def test_any_file_gives_texts_or_one_of_our_errors(tmp_path: Path, content: bytes) -> None:
    for name in ("a.csv", "a.tsv", "a.jsonl", "a.json", "a.txt", "a.jsonl.gz"):
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        texts: list[str] = []
        with contextlib.suppress(HfLlcError):
            _, texts = local(tmp_path / name)
        assert all(texts)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.csv", "a.tsv"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_refused(tmp_path: Path, name: str, encoding: str) -> None:
    content = "text\nthe river runs\n".encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(
        UnusableError, match=f"{name} holds NUL characters and looks like UTF-16.*save it as UTF-8"
    ) as it:
        local(tmp_path / name)
    assert "\n" not in str(it.value)


def test_a_binary_file_with_an_ending_of_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(bytes(range(128)))
    with pytest.raises(UnusableError, match="looks like UTF-16 or binary, not text; save it as UTF-8"):
        local(tmp_path / "a.txt")


ABOUT = "Data files that are not read: LICENSE.txt, readme.txt; by name a license or a readme."


def test_a_license_beside_plain_text_is_no_document(hub: HubServer, tmp_path: Path) -> None:
    files = {"LICENSE.txt": b"Permission is granted", "readme.txt": b"About", "a.txt": b"one", "b.txt": b"two"}
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    assert list(open_local(DataSettings(dataset="d"), folder).texts) == ["one", "two"]
    assert ABOUT in remarks(folder)
    (folder / "c.csv").write_bytes(b"text\nmore\n")  # so that `datasets` sorts the files
    assert list(open_local(DataSettings(dataset="d"), folder).texts) == ["one", "two"]
    assert ABOUT in remarks(folder)
    sha = hub.add_dataset("org/d", files).at().sha
    documents = open_hub(DataSettings(dataset="org/d"), "org/d", sha, pytest.fail)
    assert list(documents.texts) == ["one", "two"]
    assert ABOUT in documents.remarks()


def test_a_folder_of_one_readme_is_read(tmp_path: Path) -> None:
    (tmp_path / "README.txt").write_bytes(b"one")
    assert local(tmp_path) == ("text", ["one"])


def test_plain_text_files_named_like_splits_are_counted(tmp_path: Path) -> None:
    for name in ("test.txt", "train.txt", "latest.txt", "contrast.txt"):
        (tmp_path / name).write_bytes(b"one")
    said = (
        "The 4 plain text files of the folder are one split, whatever their names (contrast.txt, latest.txt, test.txt "
        "and 1 more); name one file to read it alone."
    )
    assert said in remarks(tmp_path)
    (tmp_path / "test.txt").unlink()
    assert not any("one split" in line for line in remarks(tmp_path))


@pytest.mark.parametrize("name", ["A.JSONL", "train.Jsonl.GZ", "sub/A.JSON", "A.CSV"])
def test_an_ending_in_capitals_is_read_in_a_folder(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    content = b"text\nfirst\n" if name.endswith("CSV") else jsonl([{"text": "first"}])
    file.write_bytes(gzip.compress(content) if name.endswith("GZ") else content)
    assert local(tmp_path) == ("text", ["first"])


def test_names_in_capitals_say_the_split(tmp_path: Path) -> None:
    for name in ("TRAIN.JSONL", "TEST.JSONL"):
        (tmp_path / name).write_bytes(jsonl([{"text": name}]))
    assert local(tmp_path) == ("text", ["TRAIN.JSONL"])
    assert local(tmp_path, split="test") == ("text", ["TEST.JSONL"])


def test_a_packed_license_is_no_document(tmp_path: Path) -> None:
    (tmp_path / "LICENSE.txt.gz").write_bytes(gzip.compress(b"Permission"))
    (tmp_path / "a.txt").write_bytes(b"one")
    assert local(tmp_path) == ("text", ["one"])


def test_two_files_that_differ_in_capitals_only_are_both_kept(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl([{"text": "lower"}]))
    (tmp_path / "a.JSONL").write_bytes(jsonl([{"text": "upper"}]))
    assert local(tmp_path) == ("text", ["lower"])
    assert any("a.JSONL" in line for line in remarks(tmp_path))


def test_no_message_names_the_folder_of_links(tmp_path: Path) -> None:
    (tmp_path / "A.ZST").write_bytes(b"packed")
    with pytest.raises(UnusableError) as it:
        local(tmp_path)
    assert str(tmp_path) in str(it.value)
    assert "hf-llc-" not in str(it.value)


@pytest.mark.parametrize(
    "rows",
    [
        '1\t"He said\n2\t"She said\n',
        '1\t"He said\n2\tShe "said"\n',
        '1\tplain\n2\t"He said\n3\tno\n4\t"quoted"\n',
        '1\t"He said\n2\tShe "said"',
    ],
)
def test_a_quote_in_a_tsv_file_that_swallows_rows_is_refused(tmp_path: Path, rows: str) -> None:
    (tmp_path / "a.tsv").write_text("id\ttext\n" + rows)
    line = 2 + rows[: rows.index('"He')].count("\n")
    with pytest.raises(UnusableError, match=rf"The quote on line {line} of .*a\.tsv runs over the line end") as caught:
        local(tmp_path / "a.tsv")
    assert "\n" not in str(caught.value)


def test_a_quote_far_into_a_tsv_file_is_refused(tmp_path: Path) -> None:
    rows = "".join(f"{i}\tthe river runs below the bridge\n" for i in range(100_000))
    (tmp_path / "a.tsv").write_text(f'id\ttext\n{rows}1\t"He said\n2\t"She said\n')
    with pytest.raises(UnusableError, match="The quote on line 100002 of"):
        local(tmp_path / "a.tsv")


def test_quoted_texts_of_a_tsv_file_are_read(tmp_path: Path) -> None:
    texts = ["one\ntwo", 'a "b"\n"c"', '"all"', "tab\there\n\n", 'end"', '"', '\n"', "a\r\nb", "x" * 300_000 + '\n"y"']
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter="\t").writerows([["text", "id"], *([text, '"'] for text in texts)])
    (tmp_path / "a.tsv").write_bytes(buffer.getvalue().encode())
    assert local(tmp_path / "a.tsv") == ("text", texts)


def test_quotes_inside_a_line_of_a_tsv_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('id\ttext\n1\the "said" so\n2\t5" wide\n3\t"Yes" he said\n4\tend\n')
    assert local(tmp_path / "a.tsv") == ("text", ['he "said" so', '5" wide', "Yes he said", "end"])
