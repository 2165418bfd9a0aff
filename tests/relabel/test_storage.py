"""Storage: the same promises hold on local disk and on a real S3 server; refusals say what to set, never a secret."""

from __future__ import annotations

import errno
import os
import pickle
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from relabel.errors import InputError
from relabel.storage import Folder, parquet_bytes
from tests.chaos.fault_proxy import Faults, fault_proxy


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.integration)])
def folder(request, tmp_path) -> Folder:
    base = str(tmp_path) if request.param == "local" else request.getfixturevalue("s3")
    return Folder(f"{base}/{uuid.uuid4().hex}")


@pytest.mark.parametrize("data", [b"", b"one", os.urandom(12_000_000)], ids=["empty", "small", "many-parts"])
def test_written_bytes_are_read_back(folder, data):
    """A file holds exactly what was written, whether it is empty, small or larger than one upload part."""
    folder.write_bytes("a/b.bin", data)
    assert folder.read_bytes("a/b.bin") == data
    assert folder.stat("a/b.bin").size == len(data)


def test_a_new_folder_is_empty_and_creates_nothing(folder):
    """Making and listing a folder leaves no trace before the first write."""
    assert folder.names() == []
    assert not folder.exists()
    assert folder.stat("a") is None
    assert not folder.exists("a")


def test_overwriting_replaces_the_whole_file(folder):
    """A shorter second version leaves nothing of the first."""
    folder.write_bytes("x", b"a long first version")
    folder.write_bytes("x", b"short")
    assert folder.read_bytes("x") == b"short"
    assert folder.names() == ["x"]


def test_the_version_changes_with_the_size_of_the_content(folder):
    """Facts of a file differ after it was overwritten with more bytes."""
    folder.write_bytes("x", b"1")
    before = folder.stat("x")
    folder.write_bytes("x", b"22")
    assert folder.stat("x") != before


def test_names_are_sorted_filtered_and_relative(folder):
    """Listing gives names below the folder by prefix and suffix, and descends only when told to."""
    for name in ("part-2.parquet", "part-1.parquet", "table.json", "quarantine/part-0.parquet", "with space/ü.json"):
        folder.write_bytes(name, b"x")
    assert folder.names() == ["part-1.parquet", "part-2.parquet", "table.json"]
    assert folder.names("part-", ".parquet") == ["part-1.parquet", "part-2.parquet"]
    assert (folder / "quarantine").names() == ["part-0.parquet"]
    assert folder.names(recursive=True) == [
        "part-1.parquet",
        "part-2.parquet",
        "quarantine/part-0.parquet",
        "table.json",
        "with space/ü.json",
    ]


def test_a_file_is_no_prefix_of_another(folder):
    """`part-1` and `part-10` are told apart by `exists` and `stat`."""
    folder.write_bytes("part-10", b"x")
    assert not folder.exists("part-1")
    assert folder.stat("part-1") is None


def test_removing_takes_one_file_and_forgives_a_missing_one(folder):
    """`remove` leaves the neighbours and may be repeated."""
    folder.write_bytes("a", b"1")
    folder.write_bytes("b", b"2")
    folder.remove("a")
    folder.remove("a")
    assert folder.names() == ["b"]


def test_a_missing_file_is_named(folder):
    """Reading a file that is not there names its full address."""
    with pytest.raises(InputError, match="no such file") as caught:
        folder.read_bytes("sub/missing.json")
    assert caught.value.where == f"{folder.uri}/sub/missing.json"


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/etc/passwd"])
def test_a_name_cannot_leave_its_folder(folder, name):
    """Reading, writing and removing refuse a name that escapes the folder."""
    for use in (folder.read_bytes, folder.remove, folder.stat, lambda name: folder.write_bytes(name, b"")):
        with pytest.raises(InputError, match="leaves its folder"):
            use(name)


def test_json_keeps_every_character(folder):
    """JSON files hold non-ASCII text as it is, ending in a newline."""
    folder.write_json("x.json", {"query": "Größe — 値"})
    assert folder.read_json("x.json") == {"query": "Größe — 値"}
    assert folder.read_bytes("x.json").endswith(b"}\n")
    assert "Größe — 値".encode() in folder.read_bytes("x.json")


@pytest.mark.parametrize("data", [b"{", b"\xff\xfe{}", b""])
def test_a_file_that_is_no_json_is_refused(folder, data):
    """Broken JSON, wrong encodings and empty files are named with the reason."""
    folder.write_bytes("x.json", data)
    with pytest.raises(InputError, match=r"x\.json: found no JSON"):
        folder.read_json("x.json")


def test_json_that_grows_while_it_is_read_comes_whole(folder, monkeypatch):
    """A heartbeat, say, that is written again between the question for its size and the reading of so many bytes."""
    folder.write_json("beat.json", {"beats": 1})
    opened = Folder.open

    def open_and_replace(self, name):
        monkeypatch.setattr(Folder, "open", opened)
        stream = opened(self, name)
        self.write_json(name, {"beats": 1_000_000})
        return stream

    monkeypatch.setattr(Folder, "open", open_and_replace)
    assert folder.read_json("beat.json")["beats"] in (1, 1_000_000)


def test_a_file_that_is_no_parquet_is_refused(folder):
    """Bytes that are no Parquet are named with the reason."""
    folder.write_bytes("x.parquet", b"query_id,doc_id\n")
    with pytest.raises(InputError, match=r"x\.parquet: found no Parquet"):
        folder.read_table("x.parquet")


def test_tables_are_plain_parquet(folder):
    """A written table opens with plain pyarrow and has the reported size; some columns can be read alone."""
    table = pa.table({"a": list(range(10_000)), "b": ["x"] * 10_000})
    size = folder.write_table("t.parquet", table)
    assert folder.stat("t.parquet").size == size
    assert pq.read_table(folder.path("t.parquet"), filesystem=folder.filesystem).equals(table)
    assert folder.read_table("t.parquet", ["a"]).column_names == ["a"]


def test_a_byte_that_changed_inside_a_table_is_found(folder):
    """Same size, same footer: the page's checksum tells, and the error names the file and what to do."""
    table = pa.table({"p": [number / 7 for number in range(5000)]})
    folder.write_table("part-00000.parquet", table)
    data = bytearray(folder.read_bytes("part-00000.parquet"))
    data[len(data) // 3] ^= 1
    folder.write_bytes("part-00000.parquet", bytes(data))
    with pytest.raises(InputError, match=r"part-00000\.parquet: found bytes that are not those .* remove it"):
        folder.read_table("part-00000.parquet")


def test_the_same_rows_give_the_same_bytes():
    """Parquet bytes depend on rows only, not on how they were chunked."""
    whole = pa.table({"a": list(range(9000)), "b": [f"text {n % 7}" for n in range(9000)]})
    pieces = pa.concat_tables([whole.slice(0, 10), whole.slice(10, 5000), whole.slice(5010)])
    assert parquet_bytes(whole).equals(parquet_bytes(pieces))


def test_a_folder_travels_by_pickle(folder):
    """A folder that was used here works in another process."""
    folder.write_bytes("x", b"1")
    assert pickle.loads(pickle.dumps(folder)).read_bytes("x") == b"1"


def test_an_unknown_scheme_is_refused():
    """Only paths and S3 addresses with a bucket are accepted."""
    for uri in ("gs://bucket/x", "https://host/x", "s3://", "s3:///x"):
        with pytest.raises(InputError, match=r"wanted a local path or s3://bucket/prefix"):
            Folder(uri)


def test_a_local_write_that_fails_leaves_no_temporary_file(tmp_path):
    """Overwriting a folder by a file is refused, and the half-written file is gone."""
    (tmp_path / "taken").mkdir()
    with pytest.raises(InputError, match="Is a directory"):
        Folder(tmp_path).write_bytes("taken", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    """Listing a file, and writing below one, say what stands in the way."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="Not a directory"):
        Folder(tmp_path / "file").names()
    with pytest.raises(InputError, match="File exists"):
        Folder(tmp_path).write_bytes("file/below", b"x")


@pytest.mark.skipif(os.name != "posix", reason="file permissions are POSIX")
def test_a_folder_that_cannot_be_made_is_named():
    """A path below /proc, where nobody can make folders, is an error with the address."""
    with pytest.raises(InputError, match=r"/proc/relabel/x: found .*check the path and its permissions"):
        Folder("/proc/relabel").write_bytes("x", b"")


@pytest.mark.integration
def test_a_missing_bucket_is_told_from_a_missing_file(s3):
    """Reading from and writing to a bucket that does not exist say so."""
    nowhere = Folder("s3://relabel-no-such-bucket/prefix")
    for use in (lambda: nowhere.read_bytes("x"), lambda: nowhere.write_bytes("x", b"1")):
        with pytest.raises(InputError, match="no such bucket"):
            use()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrongwrongwrong"}, "a secret that does not fit"),
        ({"AWS_ACCESS_KEY_ID": "unknownkey"}, "an access key that the server does not know"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "no server at the endpoint"),
    ],
)
def test_refused_access_says_what_to_set_and_shows_no_secret(s3, monkeypatch, changed, found):
    """Wrong credentials and a wrong endpoint name the variables to set; neither key nor secret is in the message."""
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    uses = (Folder.names, lambda folder: folder.write_bytes("x", b"1"), lambda folder: folder.create("y", b"1"))
    for use in uses:
        with pytest.raises(InputError, match=f"{found}.*set AWS_") as caught:
            use(Folder(f"{s3}/refused"))
        chain = [caught.value, caught.value.__cause__]
        for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
            assert all(os.environ[name] not in str(error) for error in chain)


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["truncated", "reset", "reset-after"])
def test_a_connection_that_breaks_off_is_no_missing_server(s3_environment, s3, monkeypatch, kind):
    """Nobody is told to set an endpoint that answers; what to do is to try again later."""
    Folder(f"{s3}/there").write_bytes("x", b"1" * 1000)
    faults = Faults(shares={kind: 1.0})
    with fault_proxy(s3_environment.endpoint, faults) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
        with pytest.raises(InputError, match=r"connections that break off.*the same command again later"):
            Folder(f"{s3}/there").read_bytes("x")
    assert faults.injected[kind] >= 2


@pytest.mark.integration
def test_refused_access_is_no_missing_file(s3, monkeypatch):
    """With wrong credentials `exists`, `stat` and `open` fail instead of answering that nothing is there."""
    Folder(f"{s3}/there").write_bytes("x", b"1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrongwrongwrong")
    for use in (Folder.exists, Folder.stat, Folder.open):
        with pytest.raises(InputError, match="a secret that does not fit"):
            use(Folder(f"{s3}/there"), "x")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", r"'': found an empty address; wanted a local path or s3://bucket/prefix"),
        ("s3:/bucket/x", r"s3:/bucket/x: found an address that is neither a path nor S3"),
        ("~nobody-of-that-name/x", r"found a user without a home folder"),
    ],
)
def test_addresses_that_mean_nothing_are_refused(address, message):
    """An unset variable, a slash too few and an unknown home folder do not become folders somewhere."""
    with pytest.raises(InputError, match=message):
        Folder(address)


@pytest.mark.parametrize("given", ["0", "-1", "many"])
def test_a_number_of_tries_that_is_none_is_refused(given, monkeypatch):
    """The variable is named."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", given)
    with pytest.raises(InputError, match=f"AWS_MAX_ATTEMPTS: found '{given}'"):
        Folder("s3://bucket/x").exists()


def test_a_full_disk_says_to_make_room(monkeypatch, tmp_path):
    """What the system calls ENOSPC is no matter of permissions."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"found No space left on device; .*make room there and give the same command"):
        Folder(tmp_path).write_bytes("x", b"1")
    assert list(tmp_path.iterdir()) == []


def test_an_endpoint_that_s3_cannot_use_is_refused(monkeypatch):
    """Another scheme than http(s) is one error that names the variable."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "ftp://127.0.0.1:9")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    with pytest.raises(InputError, match=r"AWS_ENDPOINT_URL, AWS_REGION: found settings that S3 cannot use"):
        Folder("s3://bucket/x").exists()
