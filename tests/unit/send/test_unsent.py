"""`--unsent FILE`: what was not confirmed, ready to be sent."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rqtool.errors import RqtoolError, UsageError
from rqtool.send.input import chunks, open_input, split
from rqtool.send.unsent import UnsentFile


def test_it_is_there_at_the_end_and_not_before(tmp_path: Path) -> None:
    """Nothing is at FILE while tasks are added; at the end all of them are, in order, and nothing else is left over."""
    path = tmp_path / "rest"
    unsent = UnsentFile(path, b"\n")
    unsent.add(b"one")
    unsent.add(b"\xff")
    assert not path.exists()
    unsent.finish(complete=True)
    assert path.read_bytes() == b"one\n\xff\n"
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize(("end", "content"), [(b"\n", b"a\nb\n"), (b"\0", b"a\0b\0"), (b"", b"ab")])
def test_tasks_end_as_they_did_in_the_input(tmp_path: Path, end: bytes, content: bytes) -> None:
    """Lines, NUL, or nothing: the file can be sent with the same flags."""
    unsent = UnsentFile(tmp_path / "rest", end)
    unsent.add(b"a")
    unsent.add(b"b")
    unsent.finish(complete=True)
    assert content == (tmp_path / "rest").read_bytes()


def test_where_everything_was_confirmed_it_is_empty(tmp_path: Path) -> None:
    """An empty file, new or in place of an old one, says that nothing is left to send."""
    for _ in range(2):
        UnsentFile(tmp_path / "rest", b"\n").finish(complete=True)
        assert (tmp_path / "rest").read_bytes() == b""
        (tmp_path / "rest").write_bytes(b"of an earlier run\n")


def test_opening_it_changes_nothing(tmp_path: Path) -> None:
    """A run that ends before it has sent anything leaves an old FILE as it is."""
    (tmp_path / "rest").write_bytes(b"old\n")
    UnsentFile(tmp_path / "rest", b"\n")
    assert (tmp_path / "rest").read_bytes() == b"old\n"
    assert [tmp_path / "rest"] == list(tmp_path.iterdir())


def test_it_may_be_the_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--from FILE --unsent FILE`: the input is read to its end while what is unsent is written."""
    monkeypatch.setattr("rqtool.send.input.CHUNK", 64)
    path = tmp_path / "tasks"
    before = b"".join(b"task %d\n" % number for number in range(1000))
    path.write_bytes(before)
    unsent = UnsentFile(path, b"\n")
    descriptor = open_input(str(path))
    for batch in split(chunks(descriptor)):
        for task in batch:
            unsent.add(task)
    os.close(descriptor)
    unsent.finish(complete=True)
    assert before == path.read_bytes()


def test_a_folder_is_a_usage_error(tmp_path: Path) -> None:
    """A folder is noticed before the first task is sent."""
    with pytest.raises(UsageError, match=r"is no ordinary file\. Name one for --unsent\."):
        UnsentFile(tmp_path, b"\n")


def test_a_device_or_a_pipe_is_a_usage_error(tmp_path: Path) -> None:
    """Nothing but an ordinary file is put in place of another: /dev/null stays a device."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(UsageError, match=r"is no ordinary file\. Name one for --unsent\."):
            UnsentFile(path, b"\n")


@pytest.mark.parametrize("parent", ["none", "file"])
def test_where_no_file_can_be_made_is_a_usage_error(tmp_path: Path, parent: str) -> None:
    """A missing folder, or a file in a folder's place, is noticed before the first task is sent."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"can't be written\. Name a file in a folder of yours for --unsent\."):
        UnsentFile(tmp_path / parent / "rest", b"\n")


def test_a_file_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare name is a file here."""
    monkeypatch.chdir(tmp_path)
    unsent = UnsentFile(Path("rest"), b"\n")
    unsent.add(b"one")
    unsent.finish(complete=True)
    assert (tmp_path / "rest").read_bytes() == b"one\n"


def test_who_could_read_and_write_the_file_still_can(tmp_path: Path) -> None:
    """The programs that fill the input, for instance; a new file is as any other program would make it."""
    for name in ("old", "new", "usual"):
        (tmp_path / name).touch()
    (tmp_path / "old").chmod(0o664)
    (tmp_path / "new").unlink()
    for name in ("old", "new"):
        unsent = UnsentFile(tmp_path / name, b"\n")
        unsent.add(b"one")
        unsent.finish(complete=True)
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o664
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_private_file_is_private_from_the_start(tmp_path: Path) -> None:
    """Also the one beside it that is being written."""
    (tmp_path / "rest").touch(0o600)
    unsent = UnsentFile(tmp_path / "rest", b"\n")
    unsent.add(b"secret")
    assert [stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()] == [0o600, 0o600]
    unsent.finish(complete=True)


@pytest.fixture
def link(tmp_path: Path) -> Path:
    """A symlink to `there/rest`, which is not there yet, from another folder."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    link = tmp_path / "here" / "link"
    link.symlink_to(tmp_path / "there" / "rest")
    return link


@pytest.mark.parametrize("old", [None, b"old\n"])
def test_a_symlink_stays_and_its_file_is_written(link: Path, old: bytes | None) -> None:
    """What the link leads to is written, be it there already or not, and nothing is left over in either folder."""
    real = link.readlink()
    if old is not None:
        real.write_bytes(old)
    unsent = UnsentFile(link, b"\n")
    unsent.add(b"one")
    unsent.finish(complete=True)
    assert link.is_symlink()
    assert real.read_bytes() == b"one\n"
    assert [link] == list(link.parent.iterdir())
    assert [real] == list(real.parent.iterdir())


def test_a_symlink_to_a_folder_is_a_usage_error(tmp_path: Path) -> None:
    """It is judged by what it leads to."""
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="is no ordinary file"):
        UnsentFile(tmp_path / "link", b"\n")


@pytest.mark.parametrize(("tasks", "content"), [([], b""), ([b"one", b"two"], b"one\ntwo\n")])
def test_an_incomplete_account_replaces_nothing(tmp_path: Path, tasks: list[bytes], content: bytes) -> None:
    """Where the input was not read to its end FILE, which may be that input, is kept; `path` tells of the other one."""
    path = tmp_path / "tasks"
    path.write_bytes(b"the input\n")
    unsent = UnsentFile(path, b"\n")
    for task in tasks:
        unsent.add(task)
    unsent.finish(complete=False)
    assert path.read_bytes() == b"the input\n"
    assert unsent.path == tmp_path / "tasks.incomplete"
    assert content == unsent.path.read_bytes()
    assert {path, unsent.path} == set(tmp_path.iterdir())


def test_an_incomplete_account_is_in_file_where_that_is_free(tmp_path: Path) -> None:
    """Without an old FILE there is nothing to keep."""
    unsent = UnsentFile(tmp_path / "rest", b"\n")
    unsent.add(b"one")
    unsent.finish(complete=False)
    assert unsent.path == tmp_path / "rest"
    assert [unsent.path] == list(tmp_path.iterdir())
    assert unsent.path.read_bytes() == b"one\n"


def test_a_complete_account_is_in_file(tmp_path: Path) -> None:
    """FILE is replaced, and `path` is what the user wrote."""
    (tmp_path / "rest").write_bytes(b"old\n")
    unsent = UnsentFile(tmp_path / "rest", b"\n")
    unsent.add(b"one")
    unsent.finish(complete=True)
    assert unsent.path == tmp_path / "rest"
    assert unsent.path.read_bytes() == b"one\n"


def test_the_path_of_an_incomplete_account_leads_to_it(link: Path) -> None:
    """Beside the file that a symlink leads to, and that is where `path` says it is."""
    link.readlink().write_bytes(b"the input\n")
    unsent = UnsentFile(link, b"\n")
    unsent.add(b"one")
    unsent.finish(complete=False)
    assert link.read_bytes() == b"the input\n"
    assert unsent.path.read_bytes() == b"one\n"


@pytest.mark.parametrize("tasks", [[], [b"one"]])
def test_a_folder_that_is_gone_at_the_end_is_an_error_for_users(tmp_path: Path, tasks: list[bytes]) -> None:
    """What can't be written is one line that names FILE, never a traceback."""
    folder = tmp_path / "folder"
    folder.mkdir()
    unsent = UnsentFile(folder / "rest", b"\n")
    folder.rmdir()
    with pytest.raises(RqtoolError, match="rest can't be written"):
        _write(unsent, tasks)


def _write(unsent: UnsentFile, tasks: list[bytes]) -> None:
    for task in tasks:
        unsent.add(task)
    unsent.finish(complete=True)


def test_a_folder_that_goes(tmp_path: Path) -> None:
    """What can't be begun says what to do, too: there is nothing to pick up."""
    folder = tmp_path / "folder"
    folder.mkdir()
    unsent = UnsentFile(folder / "rest", b"\n")
    folder.rmdir()
    with pytest.raises(RqtoolError) as refused:
        unsent.add(b"x")
    assert str(refused.value).endswith("can't be written: no such file or directory. Name another file for --unsent.")
