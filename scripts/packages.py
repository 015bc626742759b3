#!/usr/bin/env python3
"""Builds the client libraries' packages into target/packages/, and tests them as their users get them: installed from the
files into fresh projects, type-checked by the strictest rules, and run.

REPOSITORY=URL goes into both packages as the address of their source. Nothing is published.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("CHROMA_EDGE_CACHE", ROOT / ".cache")) / "packages"
OUT = ROOT / "target/packages"
CONSUMERS = ROOT / "tests/packages"
PYTHON = CACHE / "venv/bin/python"
STRICT = {
    "strict": True, "noUncheckedIndexedAccess": True, "exactOptionalPropertyTypes": True, "noImplicitOverride": True,
    "noPropertyAccessFromIndexSignature": True, "skipLibCheck": False, "target": "es2022", "outDir": "built",
}
#: The environments of a program: which of the consumers it compiles, and which types are available.
PROGRAMS = {
    "neither DOM nor Node": (["consumer.ts"], {"lib": ["es2022"], "types": [], "module": "nodenext"}),
    "DOM": (["consumer.ts", "dom.ts"], {"lib": ["es2022", "dom", "dom.iterable"], "types": [], "module": "nodenext"}),
    "Node": (["consumer.ts", "node.ts"], {"lib": ["es2022"], "types": ["node"], "module": "nodenext"}),
    "a bundler": (["consumer.ts", "dom.ts"], {
        "lib": ["es2022", "dom"], "types": [], "module": "esnext", "moduleResolution": "bundler"}),
}


def say(text):
    print(f"packages: {text}", flush=True)


def run(*command, cwd, **environment):
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env={**os.environ, **environment}, text=True, capture_output=True)
    if done.returncode:
        sys.exit(f"packages: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def copy_of(library, place):
    """Copies the library as it is built, without files that tests have left behind."""
    left = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist", "node_modules")
    return Path(shutil.copytree(ROOT / "clients" / library, place / library, ignore=left))


def without_dead_links(name, files):
    """Fails if a README links to a file outside its package, where the link would be dead."""
    for path, text in files.items():
        if Path(path).name != "README.md":
            continue
        for link in re.findall(r"\]\(([^)#\s]+)", text):
            if "://" not in link and str(Path(path).parent / link) not in files:
                sys.exit(f"packages: {path} of {name} links to {link}, which is not in the package")


def licensed(name, text):
    """Fails if the library's copy of the license differs: whoever packs the library must pack the license too."""
    if text != (ROOT / "LICENSE").read_text():
        sys.exit(f"packages: {name} has another licence than the repository")


def js(place, repository):
    source = copy_of("js", place)
    manifest = json.loads((source / "package.json").read_text())
    if repository:
        manifest["repository"] = {"type": "git", "url": repository, "directory": "clients/js"}
        (source / "package.json").write_text(json.dumps(manifest, indent=2) + "\n")
    run("npm", "pack", "--silent", "--pack-destination", OUT, cwd=source)
    tarball = OUT / f"chroma-edge-client-{manifest['version']}.tgz"
    with tarfile.open(tarball) as packed:
        files = {one.name: packed.extractfile(one).read().decode() for one in packed.getmembers()}
    expected = {"LICENSE", "README.md", "chroma-edge-client.d.ts", "chroma-edge-client.js", "package.json"}
    if set(files) != {f"package/{name}" for name in expected}:
        sys.exit(f"packages: {tarball.name} holds {sorted(files)}")
    licensed(tarball.name, files["package/LICENSE"])
    without_dead_links(tarball.name, files)
    project = place / "js-project"
    project.mkdir()
    (project / "package.json").write_text('{ "private": true, "type": "module" }\n')
    run("npm", "install", "--offline", "--no-audit", "--no-fund", "--loglevel=error", tarball, cwd=project)
    for name in ("typescript", "@types", "undici-types"):
        (project / "node_modules" / name).symlink_to(CACHE / "node_modules" / name)
    for title, (consumers, surroundings) in PROGRAMS.items():
        for one in consumers:
            shutil.copy(CONSUMERS / one, project)
        wanted = {"compilerOptions": {**STRICT, **surroundings}, "files": consumers}
        (project / "tsconfig.json").write_text(json.dumps(wanted))
        run("node", "node_modules/typescript/bin/tsc", cwd=project)
        say(f"{tarball.name}: a strict TypeScript program that knows {title} compiles")
    (project / "run.mjs").write_text("import { seen } from './built/consumer.js';\nconsole.log(JSON.stringify(seen));\n")
    seen = json.loads(run("node", "run.mjs", cwd=project))
    told = [line.split(" ")[0].removeprefix("transaction:") for line in seen["told"]]
    assert seen["version"] == manifest["version"], seen
    assert told == ["started", "timing_gap", "recovered"] and len(seen["sent"]) == 2, seen
    assert seen["result"]["recovered"] is True and seen["result"]["status"] == 201, seen
    say(f"{tarball.name}: it runs")


def python(place, repository):
    source = copy_of("python", place)
    if repository:
        with (source / "pyproject.toml").open("a") as manifest:
            manifest.write(f'\n[project.urls]\nRepository = "{repository}"\n')
    # The source distribution, then the wheel built from it.
    run(PYTHON, "-m", "build", "--no-isolation", "--outdir", OUT, cwd=source)
    (wheel,), (sdist,) = OUT.glob("*.whl"), OUT.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        (metadata,) = (packed.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    for wanted in ("chroma_edge_client/py.typed", "dist-info/licenses/LICENSE"):
        if not any(name.endswith(wanted) for name in names):
            sys.exit(f"packages: {wheel.name} lacks {wanted}")
    for wanted in ("Author:", "Keywords:", "License-Expression: Apache-2.0"):
        if f"\n{wanted}" not in metadata:
            sys.exit(f"packages: {wheel.name} does not say {wanted}")
    unpacked = place / "sdist"
    shutil.unpack_archive(sdist, unpacked)
    (unpacked,) = unpacked.iterdir()
    files = {str(one.relative_to(unpacked)): one.read_text() for one in unpacked.rglob("*") if one.is_file()}
    for wanted in source.glob("tests/*.py"):
        if f"tests/{wanted.name}" not in files:
            sys.exit(f"packages: {sdist.name} lacks tests/{wanted.name}")
    licensed(sdist.name, files["LICENSE"])
    without_dead_links(sdist.name, files)
    project = place / "python-project"
    run(sys.executable, "-m", "venv", "--without-pip", project, cwd=place)
    fresh = project / "bin/python"
    run(PYTHON, "-m", "pip", "-q", "--disable-pip-version-check", "--python", fresh, "install", "--no-index",
        "--find-links", CACHE / "wheels", wheel, cwd=place)
    shutil.copy(CONSUMERS / "consumer.py", project)
    run(PYTHON, "-m", "mypy", "--strict", "--python-executable", fresh, "consumer.py", cwd=project)
    run(PYTHON, "-m", "mypy", "--python-executable", fresh, cwd=unpacked)
    say(f"{wheel.name}: a program passes mypy --strict, as does the library itself")
    run(fresh, "consumer.py", cwd=project)
    say(f"{wheel.name}: it runs")
    # Tests the installed package, not the source beside the tests.
    shutil.rmtree(unpacked / "src")
    run(fresh, "-m", "unittest", "discover", "-s", ".", "-t", ".", cwd=unpacked)
    say(f"{sdist.name}: its own tests pass, against the wheel")


def main():
    repository = os.environ.get("REPOSITORY", "")
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place:
        js(Path(place), repository)
        python(Path(place), repository)
    for one in sorted(OUT.iterdir()):
        say(f"target/packages/{one.name}")
    if not repository:
        say("they name no repository: REPOSITORY=URL puts it in")


if __name__ == "__main__":
    main()
