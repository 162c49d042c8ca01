"""The wheel of the native kernel, for all Pythons from 3.11 (abi3) and the glibc of `baseline.py` (manylinux)."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from checks.tree import ROOT
from release import baseline
from release.tree import run

PINS = ROOT / "requirements" / "kernel.txt"
"""Each crate as `name==version --hash=sha256:...`. Cargo's own lock file would name the registry."""
PIN = re.compile(r"([\w-]+)==(\S+) --hash=sha256:([0-9a-f]{64})")


def build(tree: Path, out: Path, time: str) -> None:
    """Build the kernel's wheel from a tree, with the pinned crates, and check that it works with the glibc that its tag names.

    Raises:
        SystemExit: Cargo is missing, a crate is not the pinned one, or the build failed; also if the kernel needs a newer glibc or
            another library.
    """
    kernel = tree / "kernel"
    lock(kernel)
    cargo = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    # Paths of this machine would otherwise be in the messages of panics and assertions.
    places = {str(kernel): "kernel", str(cargo): "cargo", sysroot(): "rust"}
    run(
        *(Path(sys.executable).with_name("maturin"), "build", "--release", "--locked", "--out", out),
        # By default maturin copies libraries of this machine into the wheel.
        *("--compatibility", baseline.TAG, "--auditwheel", "check"),
        folder=kernel,
        SOURCE_DATE_EPOCH=time,
        CARGO_TARGET_DIR=os.environ.get("CARGO_TARGET_DIR", str(kernel / "target")),
        RUSTFLAGS=" ".join(f"--remap-path-prefix={path}={name}" for path, name in places.items()),
        CFLAGS=" ".join(f"-ffile-prefix-map={path}={name}" for path, name in places.items()),
    )
    [wheel] = out.glob("strongroom_kernel-*.whl")
    hide_folder(wheel, kernel)
    baseline.check_wheel(wheel)


def hide_folder(wheel: Path, folder: Path) -> None:
    """Replace the folder of the build in a wheel's bill of materials, in which maturin names it, and record the bill's new digest.

    Raises:
        SystemExit: Another file of the wheel names the folder.
    """
    with zipfile.ZipFile(wheel) as archive:
        members = {member: archive.read(member) for member in archive.infolist()}
    record = next(member for member in members if member.filename.endswith(".dist-info/RECORD"))
    for member, content in members.items():
        if "/sboms/" in member.filename:
            members[member] = content.replace(f"path+file://{folder}".encode(), b"path+file:///kernel")
            old, new = (recorded(member.filename, each) for each in (content, members[member]))
            members[record] = members[record].replace(old, new)
    named = [member.filename for member, content in members.items() if os.fsencode(folder) in content]
    if named:
        raise SystemExit(
            f"{', '.join(named)} in {wheel.name} names the folder of the build. Remove it in .ci/release/kernel.py."
        )
    with zipfile.ZipFile(wheel, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)


def recorded(name: str, content: bytes) -> bytes:
    """Return the line of a file in RECORD, without its end."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
    return f"{name},sha256={digest.decode()},{len(content)}".encode()


def sysroot() -> str:
    """Return the folder of the Rust compiler."""
    return subprocess.run(["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True).stdout.strip()  # noqa: S607


def lock(kernel: Path) -> None:
    """Write a lock file with exactly the pinned crates.

    Raises:
        SystemExit: The lock file has another crate, version or digest; the message says what to do.
    """
    wanted = PINS.read_text(encoding="utf-8")
    run("cargo", "generate-lockfile", folder=kernel)
    for package, version in downgrades(pinned(kernel), wanted):
        run("cargo", "update", "--package", package, "--precise", version, folder=kernel)
    if pinned(kernel) != wanted:
        raise SystemExit(
            f"the crates of the kernel are not those of {PINS.name}. Run 'make pins', and read the difference."
        )


def downgrades(found: str, wanted: str) -> list[tuple[str, str]]:
    """Return each crate that is not pinned, as `name@version`, with the pinned version that is compatible with it."""
    pins = {(name, compatible(version)): version for name, version, _ in PIN.findall(wanted)}
    crates = [(name, version) for name, version, _ in PIN.findall(found)]
    return [
        (f"{name}@{version}", pins[name, compatible(version)])
        for name, version in crates
        if pins.get((name, compatible(version)), version) != version
    ]


def compatible(version: str) -> tuple[str, ...]:
    """Return the part of a version that all versions compatible with it share: the major number, and for 0 the minor one too."""
    major, minor, *_ = version.split(".")
    return (major, minor) if major == "0" else (major,)


def pinned(kernel: Path) -> str:
    """Return the pins of the crates in the lock file. The kernel itself has no digest and is left out."""
    packages = tomllib.loads((kernel / "Cargo.lock").read_text(encoding="utf-8"))["package"]
    return "".join(
        f"{name}=={version} --hash=sha256:{digest}\n"
        for name, version, digest in sorted(
            (each["name"], each["version"], each["checksum"]) for each in packages if "checksum" in each
        )
    )


if __name__ == "__main__":  # `make pins`: take up the newest versions
    run("cargo", "generate-lockfile", folder=ROOT / "kernel")
    PINS.write_text(pinned(ROOT / "kernel"), encoding="utf-8")
