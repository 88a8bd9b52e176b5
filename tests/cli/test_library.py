"""What `meson install` gives to programs that use the library: its headers, and the examples of README and
docs/applications.md. And that what it installs finds its model."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import tap
from program import ROOT, TOME, assert_one_error_line, demo_clip, run

BUILD = Path(os.environ["TOME_BUILD"])


@contextmanager
def likeness_of_the_build():
    """Of the build folder, with a log of its own: `ninja uninstall` goes by the log of the last installation,
    which is the user's and may be root's."""
    with tempfile.TemporaryDirectory() as folder:
        likeness = Path(folder)
        for path in BUILD.iterdir():
            if path.name not in ("meson-private", "meson-logs"):
                (likeness / path.name).symlink_to(path)
        shutil.copytree(BUILD / "meson-private", likeness / "meson-private")
        (likeness / "meson-logs").mkdir()
        yield likeness


def install(folder, *tags):
    """Into a folder in place of the root."""
    tags = ["--tags", ",".join(tags)] if tags else []
    with likeness_of_the_build() as build:
        done = subprocess.run(["meson", "install", "-C", build, "--no-rebuild", *tags, "--destdir", folder],
                              capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@contextmanager
def installed():
    """The headers and tomevit.pc, in a folder of their own: (include/tome, pkgconfig folder, prefix)."""
    with tempfile.TemporaryDirectory() as folder:
        install(folder, "devel")
        include = next(Path(folder).rglob("include/tome"))
        yield include, next(Path(folder).rglob("tomevit.pc")).parent, include.parent.parent


def state(file):
    return (file.read_bytes(), file.stat().st_mtime_ns) if file.exists() else None


def test_the_users_installation_can_still_be_uninstalled():
    log = BUILD / "meson-logs" / "install-log.txt"
    before = state(log)
    with installed():
        assert state(log) == before


def test_what_runs_is_installed_whole():
    with tempfile.TemporaryDirectory() as folder:
        install(folder, "runtime")
        files = {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*")}
    for wanted in ("bin/tome", "gstreamer-1.0/libgsttomeclassify.so", "libtomevit.so.0",
                   "share/gst-tome/models/camera-state/model.safetensors", "share/doc/gst-tome/LICENSE"):
        assert any(name.endswith(wanted) for name in files), f"{wanted} is not among {sorted(files)}"
    assert not any(name.endswith((".h", ".pc")) for name in files), sorted(files)


def test_headers_hide_none_of_the_systems():
    with installed() as (include, _, _):
        names = [path.relative_to(include) for path in include.rglob("*.h")]
        hidden = [str(name) for name in names if (Path("/usr/include") / name).exists()]
    assert names and not hidden, hidden


def test_headers_include_what_is_installed():
    with installed() as (include, _, _):
        headers = {str(path.relative_to(include)): path.read_text() for path in include.rglob("*.h")}
    assert "vit/model.h" in headers and "engine/c_api.h" in headers, sorted(headers)
    missing = {(name, wanted) for name, text in headers.items()
               for wanted in re.findall(r'#include "(.*?)"', text) if wanted not in headers}
    assert not missing, f"not installed: {sorted(missing)}"


def readme_example():
    text = (ROOT / "README.md").read_text()
    block = next(block for block in re.findall(r"```cpp\n(.*?)```", text, re.DOTALL) if "tome::Checkpoint" in block)
    lines = block.splitlines()
    includes = [line for line in lines if line.startswith("#include")]
    return "\n".join([*includes, "int main() {", *(line for line in lines if line not in includes), "}", ""])


def compile_flags(pkgconfig, prefix):
    done = subprocess.run(["pkg-config", f"--define-variable=prefix={prefix}", "--cflags", "tomevit"],
                          env=os.environ | {"PKG_CONFIG_PATH": str(pkgconfig)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_readmes_example_compiles():
    with installed() as (_, pkgconfig, prefix):
        flags = ["-Wall", "-Wextra", "-Werror", *compile_flags(pkgconfig, prefix)]
        done = subprocess.run(["g++", "-std=c++20", "-fsyntax-only", "-x", "c++", *flags, "-"],
                              input=readme_example(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]


def other_libtorch(folder):
    """Libraries of LibTorch's names without a symbol, as if of another version, in a folder of their own."""
    for name in ("libc10.so", "libtorch_cpu.so"):
        subprocess.run(["gcc", "-shared", f"-Wl,-soname,{name}", "-o", Path(folder) / name, "-x", "c", "/dev/null"],
                       check=True)
    return folder


def test_another_libtorch_in_the_environment_is_not_taken():
    with tempfile.TemporaryDirectory() as folder:
        status, out, err = run(TOME, "--version", env=os.environ | {"LD_LIBRARY_PATH": other_libtorch(folder)})
    assert status == 0 and out.strip(), err


def test_the_installed_program_and_element_find_the_model_that_ships():
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as films:
        install(folder)
        clip = demo_clip(films, 8)
        program, element, library = (next(Path(folder).rglob(name)) for name in
                                     ("bin/tome", "libgsttomeclassify.so", "libtomevit.so.0"))
        env = os.environ | {"LD_LIBRARY_PATH": f"{other_libtorch(films)}:{library.parent}"}
        status, out, err = run(program, "classify", "--json", clip, env=env)
        assert status == 0 and json.loads(out)["model"] == "camera-state", err
        env |= {"GST_PLUGIN_PATH": str(element.parent), "GST_REGISTRY": str(Path(films) / "registry.bin")}
        status, out, err = run("gst-launch-1.0", "-q", "filesrc", f"location={clip}", "!", "decodebin", "!",
                               "videoconvert", "!", "tomeclassify", "!", "tomepublish", "!", "fakesink", env=env)
        assert status == 0 and json.loads(out)["model"] == "camera-state", err
        models = next(Path(folder).rglob("gst-tome/models"))
        models.rename(models.parent / "elsewhere")
        if not Path("/", models.relative_to(folder), "camera-state").exists():  # of this machine
            assert_one_error_line(run(program, "classify", clip, env=env), "--model: not given", "not installed")
            env["TOMEVIT_MODELS"] = str(models.parent / "elsewhere")
            status, _, err = run(program, "classify", clip, env=env)
            assert status == 0, err


def c_example():
    text = (ROOT / "docs" / "applications.md").read_text()
    return next(block for block in re.findall(r"```c\n(.*?)```", text, re.DOTALL) if "tome_core_api" in block)


def test_the_example_in_c_compiles_and_runs():
    core = BUILD / "core"
    with installed() as (_, pkgconfig, prefix):
        program = prefix / "example"
        flags = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", *compile_flags(pkgconfig, prefix)]
        done = subprocess.run(["gcc", *flags, "-o", program, "-x", "c", "-", f"-L{core}", "-ltomevit",
                               f"-Wl,-rpath,{core}"], input=c_example(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:2000]
        status, out, err = run(program, ROOT / "models" / "camera-state")
        assert status == 0 and err == "", err
        # A black picture, and r=13 as the example asks for: top_k = 3 lines.
        assert re.fullmatch(r"(\S+ [01]\.\d{3}\n){3}", out), out
        assert out.startswith("covered "), out
        assert_one_error_line(run(program, "/no/such/model"), "/no/such/model")


tap.main(globals())
