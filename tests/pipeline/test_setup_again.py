"""What setup.sh makes of an earlier run, of another one at the same time and of what it cannot get, and what the
scripts do where there is no build: on copies, as test_setup.py does."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(os.environ["TOME_SOURCE_ROOT"])
sys.path.insert(0, str(ROOT / "tests" / "cli"))
import tap  # noqa: E402
from program import assert_one_error_line, run  # noqa: E402
from test_setup import Clone  # noqa: E402

# As much as meson keeps of what it was asked, and of where. With KILLED it fails between its files.
MESON = """#!/bin/bash
echo "$@" >>"${0%/*}/../asked"
[ ! -e /dev/fd/9 ] || exit 5
private=$2/meson-private
if [ "$1" = setup ]; then
  [ ! -e "$private/coredata.dat" ] || { echo "Directory already configured."; exit 0; }
  mkdir -p "$private" "$2/meson-info"
  touch "$private/coredata.dat"
  printf '{"directories": {"source": "%s"}}' "$PWD" >"$2/meson-info/meson-info.json"
  [ -z "$KILLED" ] || exit 1
  touch "$2/build.ninja"
  printf '[options]\\n\\n[properties]\\nnative_file = x\\n' >"$private/cmd_line.txt"
else
  source=$(sed 's/.*: "//; s/".*//' "$2/meson-info/meson-info.json")
  [ -d "$source" ] || { echo "Traceback (most recent call last):" >&2; exit 1; }
fi
for argument in "${@:3}"; do
  name=${argument%%=*}
  name=${name#-D}
  rest=$(sed "1d; /^$name = /d" "$private/cmd_line.txt")
  printf '%s\\n' '[options]' "$name = ${argument#*=}" "$rest" >"$private/cmd_line.txt"
done
"""
# Of .venv: installs nothing, but says what was asked.
VENV_PYTHON = """#!/bin/bash
[ "$3" = --version ] && exit
echo "$@" >>"${0%/*}/../../../asked"
exit ${OFFLINE:-0}
"""
WHEELS_OF_THE_CPU = ("torch-2.11.0", "nvidia_cuda_runtime-13.0.96", "nvidia_cuda_cupti-13.0.85")


class Kept(Clone):
    """A clone without a network, with a LibTorch beside it."""

    def __init__(self, folder, name="clone"):
        super().__init__(folder, name)
        self.stand_in("meson", MESON)
        (self.path / "python3").symlink_to(sys.executable)
        self.torch = self.libtorch("torch")
        self.write(".venv/bin/python", VENV_PYTHON)
        self.finds_nvcc("exit 1")

    def write(self, name, text):
        (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
        (self.clone / name).write_text(text)
        (self.clone / name).chmod(0o755)

    def finds_nvcc(self, command):
        self.write("core/cuda/find_nvcc.sh", f"#!/bin/bash\n{command}\n")

    def wheels(self, *names):
        for name in names:
            self.write(f".venv/lib/python3.11/site-packages/{name}.dist-info/RECORD", "")

    def succeeds(self, *arguments, **environment):
        """What was said."""
        status, _, err = self.setup(*arguments, **environment)
        assert status == 0, err
        return err

    def asked(self):
        """Of meson and pip, since it was called last."""
        file = self.folder / "asked"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    def kept(self):
        lines = (self.clone / "build/meson-private/cmd_line.txt").read_text().split("\n[properties]")[0].splitlines()
        return dict(line.split(" = ") for line in lines if " = " in line)


@contextmanager
def kept_clone():
    with tempfile.TemporaryDirectory() as folder:
        yield Kept(folder)


def test_an_option_in_two_words_is_understood():
    with kept_clone() as clone:
        said = clone.succeeds("-D", "cuda=disabled", "-D", f"libtorch={clone.torch}")
        assert clone.kept() == {"cuda": "disabled", "libtorch": clone.torch} and "nvcc" not in said, said
        result = clone.setup("-D", "cuda=maybe")
        assert_one_error_line(result, "setup.sh: found -Dcuda=maybe, expected -Dcuda=auto")


def test_offline_kernels_are_left_out_unless_they_were_asked_for():
    with kept_clone() as clone:
        said = clone.succeeds(LIBTORCH=clone.torch, OFFLINE="1")
        assert "No nvcc: built without CUDA kernels (-Dcuda=disabled does not ask)" in said, said
        assert [line.split()[0] for line in clone.asked()] == ["-m", "setup"]
        status, _, err = clone.setup("-Dcuda=enabled", LIBTORCH=clone.torch, OFFLINE="1")
        assert status == 2 and "setup.sh: -Dcuda=enabled: found no nvcc" in err.splitlines()[-1], err


def test_a_clone_that_was_moved_is_set_up_anew():
    with kept_clone() as clone:
        (clone.clone / ".venv/gst-bad/pkgconfig").mkdir(parents=True)
        shutil.copytree(clone.torch, clone.clone / "own torch")
        own = {"LIBTORCH": str(clone.clone / "own torch")}
        clone.succeeds("-Dcuda=disabled", "-Dbuildtype=debug", "-Dprefix=/opt" + str(clone.clone), **own)
        options = clone.kept()
        assert len(options) == 5, options
        for place, move in (("moved", os.rename), ("copied & one", shutil.copytree)):
            (clone.clone / "build/object.o").touch()
            there = {name: value if name == "prefix" else value.replace(str(clone.clone), f"{clone.folder}/{place}")
                     for name, value in options.items()}
            move(clone.clone, clone.folder / place)
            clone.clone, options = clone.folder / place, there
            # Interrupted on the way, it still knows them.
            assert clone.setup(KILLED="1")[0] == 1
            clone.succeeds()
            assert clone.kept() == options, (clone.kept(), options)
            assert str(clone.clone) in (clone.clone / "build/meson-info/meson-info.json").read_text()
            assert (clone.clone / "build/object.o").exists(), "what was compiled may serve again"
        # Another value, in either of meson's forms, takes the place: it does not have both forms together.
        os.rename(clone.clone, clone.folder / "again")
        clone.clone = clone.folder / "again"
        clone.asked()
        clone.succeeds("--buildtype=release", "-Dprefix=/usr")
        (asked,) = clone.asked()
        assert "-Dbuildtype" not in asked and "/opt" not in asked and "-Dcuda=disabled" in asked, asked


def test_a_set_up_that_was_killed_is_done_again():
    with kept_clone() as clone:
        assert clone.setup("-Dcuda=disabled", LIBTORCH=clone.torch, KILLED="1")[0] == 1
        clone.succeeds("-Dcuda=disabled", LIBTORCH=clone.torch)
        assert (clone.clone / "build/build.ninja").exists() and clone.kept()["cuda"] == "disabled"


def wait_for(condition, what):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_of_two_at_once_one_waits():
    with kept_clone() as clone:
        log, said, release = (clone.folder / name for name in ("log", "said", "release"))
        log.touch()
        clone.stand_in("ninja", f"""#!/bin/bash
[ ! -e /dev/fd/9 ] || exit 5
echo begins >>{log}
until [ -e {release} ]; do read -t 0.05 <> <(:); done
echo ends >>{log}
""")
        environment = {"PATH": str(clone.path), "LIBTORCH": clone.torch}
        with open(said, "w") as stderr:
            both = []
            try:
                for seen in (lambda: log.read_text() == "begins\n", lambda: "Waiting for another" in said.read_text()):
                    both.append(subprocess.Popen([clone.clone / "setup.sh", "-Dcuda=disabled"], env=environment,
                                                 stderr=stderr))
                    wait_for(seen, said.read_text())
            finally:
                release.touch()
                ended = [process.wait(60) for process in both]
        assert ended == [0, 0], said.read_text()
        assert log.read_text() == "begins\nends\n" * 2


def test_a_folder_that_cannot_be_locked():
    """Some file systems have no locks."""
    with kept_clone() as clone:
        (clone.path / "flock").unlink()
        clone.stand_in("flock", "#!/bin/bash\nexit 71\n")
        said = clone.succeeds("-Dcuda=disabled", LIBTORCH=clone.torch)
        assert "This folder cannot be locked" in said and "Waiting" not in said, said


def test_pkg_config_folders_are_kept():
    with kept_clone() as clone:
        ours = str(clone.clone / ".venv/gst-bad/pkgconfig")
        Path(ours).mkdir(parents=True)
        again = {"LIBTORCH": clone.torch}
        clone.succeeds("-Dcuda=disabled", **again, PKG_CONFIG_PATH="/a b:/c")
        assert clone.kept()["pkg_config_path"] == f"/a b,/c,{ours}"
        clone.succeeds("-Dpkg_config_path=/opt/pkgconfig", **again)
        assert clone.kept()["pkg_config_path"] == "/opt/pkgconfig"
        for _ in range(2):
            clone.succeeds(**again)
            assert clone.kept()["pkg_config_path"] == f"/opt/pkgconfig,{ours}"
        clone.asked()
        clone.succeeds("--pkg-config-path=/other", **again)
        assert "-Dpkg_config_path" not in clone.asked()[0]


def test_libraries_of_cuda_that_an_interrupted_run_left_out_are_installed():
    with kept_clone() as clone:
        clone.finds_nvcc("echo nvcc")
        clone.wheels(*WHEELS_OF_THE_CPU, "nvidia_cublas-13.1.0", "nvidia_nccl_cu13-2.28.9")
        for more in ("nvidia_cudnn_cu13-9.19.0", "nvidia_cusparselt_cu13-0.8.0", "nvidia_nvshmem_cu13-3.4.5",
                     "cuda_toolkit-13.0.2"):
            clone.asked()
            clone.succeeds("-Dcuda=enabled")
            assert clone.asked()[0].endswith(" torch==2.11.0"), more
            clone.wheels(more)
        said = clone.succeeds("-Dcuda=enabled")
        assert "LibTorch 2.11.0 with CUDA: there" in said and len(clone.asked()) == 1, said


def test_a_libtorch_without_cuda_is_said():
    if any(Path(driver).exists() for driver in ("/proc/driver/nvidia/version", "/dev/nvidiactl")):
        raise tap.Skip("this machine has an NVIDIA driver")
    words = "LibTorch without CUDA; for an image that will run on GPUs use -Dcuda=enabled"
    with kept_clone() as clone:
        clone.finds_nvcc("echo nvcc")
        clone.wheels(*WHEELS_OF_THE_CPU)
        assert words in clone.succeeds()
        assert words not in clone.succeeds(LIBTORCH=clone.torch)
        assert words not in clone.succeeds("-Dcuda=disabled", "-Dlibtorch=")


# Has those elements that are named in HAS.
GST_INSPECT = """#!/bin/bash
[ "$1 $2" = "--exists --atleast-version=0.1" ] && [[ " $HAS " = *" $3 "* ]]
"""
START = """import os, sys
print(*sys.argv[1:], *(os.environ.get(name) for name in ("TOME_BUILD", "GST_PLUGIN_PATH", "GST_REGISTRY")))
"""


def test_scripts_use_what_is_installed():
    with tempfile.TemporaryDirectory() as folder:
        clone = Clone(folder)
        shutil.copytree(ROOT / "pipelines", clone.clone / "pipelines")
        (clone.clone / "pipelines/start.py").write_text(START)
        (clone.clone / "setup.sh").write_text("#!/bin/bash\necho installs >&2\nexit 1\n")
        clone.stand_in("gst-inspect-1.0", GST_INSPECT)
        (clone.path / "python3").symlink_to(sys.executable)

        def cameras(has, **more):
            environment = {"PATH": str(clone.path), "GST_PLUGIN_PATH": "/opt", "HAS": has, **more}
            return run(clone.clone / "pipelines/cameras.sh", "clip.mp4", env=environment)

        both = "tomeclassify tomepublish"
        assert cameras(both) == (0, "streams cameras.sh clip.mp4 None /opt None\n", "")
        for element in both.split():
            assert cameras(element) == (1, "", "installs\n"), element
        assert_one_error_line(cameras(both, TOME_BUILD="/nope"), "TOME_BUILD: there is no build in /nope")
        # A build comes before.
        build = clone.clone / "build"
        for name in ("build.ninja", "tools/tome", "gst-plugin/libgsttomeclassify.so", "gst-plugin/libgsttomepublish.so"):
            (build / name).parent.mkdir(parents=True, exist_ok=True)
            (build / name).touch()
        status, out, err = cameras(both)
        assert status == 0 and out.split()[3:] == [str(build), f"{build}/gst-plugin:/opt", f"{build}/gst-registry.bin"], err


def test_ci_runs_in_a_tarball():
    with kept_clone() as clone:
        (clone.clone / ".ci").mkdir()
        shutil.copy(ROOT / ".ci/run", clone.clone / ".ci")
        clone.write("setup.sh", "#!/bin/bash\n")
        clone.write("tests/run.sh", "#!/bin/bash\necho tests\n")
        (clone.path / "xargs").symlink_to(shutil.which("xargs"))
        clone.stand_in("id", "#!/bin/bash\necho 0\n")
        clone.stand_in("git", "#!/bin/bash\n[ -e .git ] && printf 'a.cpp\\0'\n")
        clone.stand_in("clang-format", "#!/bin/bash\necho \"$@\"\n")
        environment = {"PATH": str(clone.path)}
        status, out, err = run(clone.clone / ".ci/run", env=environment)
        assert (status, out) == (0, "tests\n") and "formatting: NOT CHECKED" in err, (status, out, err)
        (clone.clone / ".git").touch()
        status, out, err = run(clone.clone / ".ci/run", env=environment)
        assert (status, out, err) == (0, "--dry-run --Werror a.cpp\nformatting: good\ntests\n", ""), (status, out, err)


if __name__ == "__main__":
    tap.main(globals())
