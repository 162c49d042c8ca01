from __future__ import annotations

import os
import pwd
import struct
import sys
import tempfile
from pathlib import Path

import pytest

from strongroom.kms.private_files import UnsafePath, check_descriptor, check_folder, check_private, read_private

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to other users")


@pytest.fixture
def folder(tmp_path):
    """A private folder."""
    (tmp_path / "private").mkdir(mode=0o700)
    return tmp_path / "private"


@pytest.fixture
def secret(folder):
    """A file with a secret."""
    path = folder / "secret"
    path.write_text("s")
    path.chmod(0o600)
    return path


def refused(path, *words):
    with pytest.raises(UnsafePath) as error:
        read_private(path)
    for word in words:
        assert word in error.value.strerror
    return error.value


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_private_file_is_read(secret, mode):
    """A file that only its owner can use is read."""
    secret.chmod(mode)
    assert read_private(secret) == b"s"
    check_private(secret)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o606, 0o620, 0o602, 0o666, 0o777])
def test_a_file_that_others_can_use_is_refused(secret, mode):
    """A file that others can read or change is refused with its mode and the command that repairs it."""
    secret.chmod(mode)
    refused(secret, f"mode {mode:04o}", f"chmod 600 {secret}")


def test_what_is_no_file_is_refused(folder):
    """A folder, a FIFO and a device are refused without waiting for a writer."""
    os.mkfifo(folder / "fifo", 0o600)
    for path in (folder / "fifo", folder, folder.parent / "null"):
        if path.name == "null":
            path.symlink_to("/dev/null")
        refused(path, "not a regular file")


def test_a_second_name_is_refused(secret):
    """A hard link may be reachable where the file is not, so a file with two names is refused."""
    os.link(secret, secret.with_name("other"))
    refused(secret, "second name", "cp -p")


def test_a_link_of_this_user_is_followed(folder, secret):
    """A link of this user or of root is followed, and what it leads to is checked."""
    link = folder / "link"
    link.symlink_to("secret")
    assert read_private(link) == b"s"
    secret.chmod(0o644)
    refused(link, "mode 0644")


def test_a_circle_of_links_ends(folder):
    """Links in a circle are an error, and no endless loop."""
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        read_private(folder / "a")


def test_a_folder_on_the_way_that_others_can_write_is_refused(folder, secret):
    """A user who can write in a folder on the way can exchange the file, unless the folder is sticky."""
    folder.chmod(0o777)
    refused(secret, f"{folder} has mode 0777", "chmod go-w")
    folder.chmod(0o1777)
    assert read_private(secret) == b"s"


@pytest.mark.usefixtures("secret")
def test_the_folders_behind_a_link_are_checked(folder, tmp_path):
    """A link that leads through an open folder is refused."""
    wide = tmp_path / "wide"
    wide.mkdir()
    wide.chmod(0o777)
    (wide / "in").symlink_to(folder)
    link = tmp_path / "link"
    link.symlink_to(wide / "in" / "secret")
    refused(link, f"{wide} has mode 0777")


@needs_root
def test_files_and_links_of_another_user_are_refused(folder, secret):
    """A file or a link of another user is refused."""
    link = folder / "link"
    link.symlink_to("secret")
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    refused(link, "link of another user")
    os.chown(secret, NOBODY, NOBODY)
    refused(secret, "belongs to another user", "chown")


@needs_root
def test_another_user_is_named_before_the_file_is_given_away(secret):
    """Root is advised to run the command as the owner first, because a service of that user can't read a file of root."""
    name = pwd.getpwuid(NOBODY).pw_name
    os.chown(secret, NOBODY, NOBODY)
    advice = refused(secret, f"belongs to another user ({name})", f"chown root {secret}").strerror
    assert advice.index(f"runuser -u {name} -- COMMAND") < advice.index("chown")
    os.chown(secret, 4_000_000, 4_000_000)
    refused(secret, "belongs to another user (4000000)")


@needs_root
@pytest.mark.parametrize("mode", [0o644, 0o440, 0o400])
def test_a_secret_of_kubernetes_is_read(folder, mode):
    """A secret that is mounted as Kubernetes does it, by links of root through `..data`, is read with each usual mode."""
    mount = folder / "mount"
    (mount / "..2026_11_30").mkdir(parents=True)
    mount.chmod(0o1777)
    (mount / "..2026_11_30" / "dsn").write_text("s")
    (mount / "..2026_11_30" / "dsn").chmod(mode)
    (mount / "..data").symlink_to("..2026_11_30")
    (mount / "dsn").symlink_to("..data/dsn")
    assert read_private(mount / "dsn") == b"s"
    (mount / "..2026_11_30" / "dsn").chmod(0o666)
    refused(mount / "dsn", "mode 0666", "can change it")


def acl(user, *, others):
    """Return an access control list of Linux that lets a user read a file of mode 0400."""
    everyone = 0xFFFFFFFF
    entries = [(1, 4, everyone), (2, 4, user), (4, 0, everyone), (16, 4, everyone), (32, others, everyone)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@needs_root
@pytest.mark.skipif(sys.platform != "linux", reason="the form of an ACL is Linux's")
@pytest.mark.parametrize(("others", "answer"), [(0, b"s"), (4, b"refused")])
def test_a_credential_of_systemd_is_read(others, answer):
    """It belongs to root, and an ACL lets the service's user read it. The ACL's mask shows as the mode of root's group."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        path = Path(name) / "passphrase"
        path.write_text("s")
        path.chmod(0o400)
        os.setxattr(path, "system.posix_acl_access", acl(NOBODY, others=others))
        assert path.stat().st_mode & 0o777 == 0o440 | others
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            found = b"an error"
            try:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                found = read_private(path)
            except UnsafePath:
                found = b"refused"
            finally:
                os.write(writer, found)
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            assert pipe.read() == answer
        os.waitpid(child, 0)


@pytest.mark.parametrize(
    ("mode", "allowed"), [(0o700, True), (0o750, True), (0o755, True), (0o770, False), (0o777, False), (0o1777, False)]
)
def test_a_folder_that_is_written(folder, mode, allowed):
    """A folder in which this process writes may be readable for others, but nobody else may write in it."""
    folder.chmod(mode)
    if allowed:
        check_folder(folder)
    else:
        with pytest.raises(UnsafePath, match=f"mode {mode:04o}"):
            check_folder(folder)


def test_a_folder_behind_a_link_is_refused(folder):
    """A folder that is written is given by its own path."""
    (folder.parent / "link").symlink_to(folder)
    with pytest.raises(UnsafePath, match="is a link"):
        check_folder(folder.parent / "link")


@pytest.mark.parametrize(("mode", "allowed"), [(0o600, True), (0o644, True), (0o660, False), (0o777, False)])
def test_a_file_that_is_written(secret, mode, allowed):
    """An open file that others can change is refused."""
    secret.chmod(mode)
    descriptor = os.open(secret, os.O_RDONLY)
    try:
        if allowed:
            check_descriptor(secret, descriptor)
        else:
            with pytest.raises(UnsafePath):
                check_descriptor(secret, descriptor)
    finally:
        os.close(descriptor)
