"""The backup programs that run.py compares, as shell commands, and how the peers among them are installed.

A tool is a dictionary of commands: `init` (not counted), `backup` (with {n}, the number of the backup), `restore` (of the
third backup) and `verify` (of all data). `cp` and `tar` sync what they wrote within the measured command, because
Longshore and the other programs do so too."""

import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
BORG_LIBRARIES = ["libacl1-dev", "libssl-dev", "liblz4-dev", "libzstd-dev", "libxxhash-dev", "pkg-config", "gcc", "libc6-dev"]
RUSTIC = "0.11.4"
LONGSHORE = ("longshore", "longshore-raw", "longshore-encrypted")


def commands(tool, binary, peers, source, place):
    """The commands of one tool for one round; `place` has the folders `repo`, `restored` and `home`."""
    repo, restored, home = f"{place}/repo", f"{place}/restored", f"{place}/home"
    if tool in LONGSHORE:
        policy = f"--policy {HERE}/store-raw.toml" if tool == "longshore-raw" else ""
        init, writer, reader = f"{binary} -q plugin inspect standard", "", ""
        if tool == "longshore-encrypted":
            # A host that backs up has the writer key only; the recovery key restores and verifies.
            writer, reader = f"--writer-key {home}/writer.key", f"--reader-key {home}/reader.key"
            recovery = "sed -n 's/.*\"recoveryKey\": *\"\\([^\"]*\\)\".*/\\1/p'"
            init += f" && umask 077 && {binary} --json init --vault {repo} --encrypt {writer} | {recovery} > {home}/reader.key"
        return {
            "init": init,
            "backup": f"exec {binary} -q backup {source} --to {repo} {policy} {writer}",
            "restore": f"exec {binary} -q restore {repo} {reader} --to {restored}/database.db",
            "verify": f"exec {binary} -q verify {repo} {reader}",
        }
    if tool == "cp":
        return {
            "init": f"mkdir -p {repo}",
            "backup": f"cp -r {source} {repo}/{{n}} && sync -f {repo}/{{n}}",
            "restore": f"cp -r {repo}/3 {restored}/database.db && sync -f {restored}",
            "verify": f"diff -r {repo}/3 {source}",
        }
    if tool == "tar-zstd":
        return {
            "init": f"mkdir -p {repo}",
            "backup": f"tar cf - -C {source} . | zstd -q -1 -T2 -o {repo}/{{n}}.tar.zst && sync -f {repo}/{{n}}.tar.zst",
            "restore": f"zstd -q -dc {repo}/3.tar.zst | tar xf - -C {restored} && sync -f {restored}",
            "verify": f"zstd -q -dc {repo}/3.tar.zst | tar tf - > /dev/null",
        }
    if tool == "restic":
        restic = f"restic -q -r {repo}"
        return {"init": f"{restic} init", "backup": f"cd {source} && exec {restic} backup .",
                "restore": f"exec {restic} restore latest --target {restored}", "verify": f"exec {restic} check --read-data"}
    if tool in ("borg-1.2", "borg-1.4"):
        borg = "/usr/bin/borg" if tool == "borg-1.2" else f"{peers}/borg/bin/borg"
        return {"init": f"{borg} init -e repokey-blake2 {repo}",
                "backup": f"cd {source} && exec {borg} create -C lz4 {repo}::{{n}} .",
                "restore": f"cd {restored} && exec {borg} extract {repo}::3", "verify": f"exec {borg} check --verify-data {repo}"}
    rustic = f"{peers}/cargo/bin/rustic --log-level error --no-progress -r {repo}"
    return {"init": f"{rustic} init", "backup": f"cd {source} && exec {rustic} backup .",
            "restore": f"exec {rustic} restore latest {restored}", "verify": f"exec {rustic} check --read-data"}


def environment(place):
    """Passwords, and caches of each tool's own."""
    home = f"{place}/home"
    return dict(
        os.environ, HOME=home, XDG_CACHE_HOME=f"{home}/cache", RESTIC_PASSWORD="x", RUSTIC_PASSWORD="x",
        BORG_PASSPHRASE="x", BORG_BASE_DIR=home, BORG_RELOCATED_REPO_ACCESS_IS_OK="yes", LC_ALL="C.UTF-8",
    )


def answer(command):
    """First line a command prints, or nothing if it cannot be run."""
    try:
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip().split("\n")[0] if done.returncode == 0 else ""


def versions(binary, peers):
    """Version of every tool that can be run."""
    said = {
        "longshore": answer(f"{binary} --version"),
        "cp": answer("cp --version"),
        "tar-zstd": f"{answer('tar --version')}, zstd {answer('zstd --version | grep -o v[0-9.]*')}" if shutil.which("zstd") else "",
        "restic": answer("restic version"),
        "borg-1.2": answer("/usr/bin/borg --version"),
        "borg-1.4": answer(f"{peers}/borg/bin/borg --version"),
        "rustic": answer(f"{peers}/cargo/bin/rustic --version"),
    }
    said["longshore-raw"] = said["longshore"]
    if "--encrypt" in subprocess.run([binary, "init", "--help"], capture_output=True, text=True).stdout:
        said["longshore-encrypted"] = said["longshore"]
    return {tool: version for tool, version in said.items() if version}


def as_root(command):
    return command if os.geteuid() == 0 else ["sudo", "-n", *command]


def apt_install(packages):
    done = subprocess.run(as_root(["apt-get", "install", "-qy", "--no-install-recommends", *packages]), capture_output=True)
    return done.returncode == 0


def install(peers, with_rustic):
    """Installs the peers that are missing, as far as this machine lets it; what cannot be had is left out of the run."""
    peers.mkdir(parents=True, exist_ok=True)
    missing = [name for name, program in (("restic", "restic"), ("borgbackup", "borg"), ("zstd", "zstd")) if not shutil.which(program)]
    if missing:
        subprocess.run(as_root(["apt-get", "update", "-q"]), capture_output=True)
        if not apt_install(missing):
            print(f"could not install {', '.join(missing)}: left out", file=sys.stderr)
    if not (peers / "borg" / "bin" / "borg").exists():
        print("building borg 1.4 (a minute or two)", flush=True)
        apt_install(BORG_LIBRARIES)
        subprocess.run([sys.executable, "-m", "venv", peers / "borg"], check=False)
        pip = [peers / "borg" / "bin" / "pip", "install", "-q", "--disable-pip-version-check", "-r", HERE / "borg.requirements.txt"]
        if subprocess.run(pip).returncode != 0:
            print("borg 1.4 cannot be built here: left out", file=sys.stderr)
    if with_rustic and not (peers / "cargo" / "bin" / "rustic").exists():
        print("building rustic (ten minutes or more)", flush=True)
        build = ["cargo", "install", "--locked", "--root", str(peers / "cargo"), f"rustic-rs@{RUSTIC}"]
        if subprocess.run(build).returncode != 0:
            print("rustic cannot be built here: left out", file=sys.stderr)
