"""What setup.sh and the scripts that build do again, and where a build fails: on copies, with stand-ins for
meson and ninja."""

import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(os.environ["TOME_SOURCE_ROOT"])
sys.path.insert(0, str(ROOT / "tests" / "cli"))
import tap  # noqa: E402
from program import assert_one_error_line, run  # noqa: E402

# Without apt-get, setup.sh installs nothing.
TOOLS = "bash sh sed awk nproc readlink dirname basename rm mkdir cat touch env pkg-config".split()
# Keeps what it was asked in the file in which meson does.
MESON = """#!/bin/bash
mkdir -p "$2/meson-private"
touch "$2/build.ninja"
printf '%s\\n' "${@:3}" | sed 's/^-D//; s/=/ = /' >"$2/meson-private/cmd_line.txt"
"""


# Of apt-get and dpkg, as much as fetches and unpacks a package: one file, with the prefix of Debian's.
APT_GET = """#!/bin/bash
[ "$*" = "-q download libgstreamer-plugins-bad1.0-dev" ] && touch libgstreamer-plugins-bad1.0-dev_1_all.deb
"""
DPKG = """#!/bin/bash
mkdir -p "$3/usr/lib" "$3/usr/include/gstreamer-1.0" "$3{libraries}/pkgconfig"
cat >"$3{libraries}/pkgconfig/gstreamer-analytics-1.0.pc" <<'END'
prefix=/usr
includedir=${{prefix}}/include

Name: gstreamer-analytics-1.0
Description: Analytics
Version: 1.24.0
Cflags: -I${{includedir}}/gstreamer-1.0
END
"""


class Clone:
    """A folder with setup.sh, and a PATH in which it finds little else."""

    def __init__(self, folder, name="clone"):
        self.folder = Path(folder).resolve()
        self.path, self.clone = self.folder / "bin", self.folder / name
        self.path.mkdir()
        self.clone.mkdir()
        for tool in TOOLS:
            if found := shutil.which(tool):
                (self.path / tool).symlink_to(found)
        self.stand_in("meson", MESON)
        self.stand_in("ninja", "#!/bin/bash\n")
        for name in ("setup.sh", "build_jobs.sh"):
            shutil.copy(ROOT / name, self.clone)

    def stand_in(self, name, text):
        (self.path / name).write_text(text)
        (self.path / name).chmod(0o755)

    def libtorch(self, name):
        for part in ("include", "lib"):
            (self.folder / name / part).mkdir(parents=True)
        return str(self.folder / name)

    def setup(self, *arguments, **environment):
        return run(self.clone / "setup.sh", *arguments, cwd=self.folder, env={"PATH": str(self.path), **environment})

    def kept(self):
        lines = (self.clone / "build" / "meson-private" / "cmd_line.txt").read_text().splitlines()
        return dict(line.split(" = ") for line in lines)


def test_a_libtorch_is_kept():
    with tempfile.TemporaryDirectory() as folder:
        clone = Clone(folder)
        first, second = clone.libtorch("first one"), clone.libtorch("second")
        for arguments, environment, expected in (
            (["-Dcuda=disabled"], {"LIBTORCH": "first one"}, first),
            (["-Dcuda=disabled"], {}, first),
            (["-Dcuda=disabled", "-Dlibtorch=clone/../second"], {}, second),
            (["-Dcuda=disabled"], {}, second),
        ):
            status, _, err = clone.setup(*arguments, **environment)
            assert status == 0, err
            assert clone.kept()["libtorch"] == expected, (arguments, environment, clone.kept())
        result = clone.setup("-Dcuda=disabled", "-Dlibtorch=third")
        assert result[0] == 2 and "found no include/ and lib/ in" in result[2], result


def test_help_from_elsewhere():
    with tempfile.TemporaryDirectory() as folder:
        clone = Clone(folder)
        status, out, err = run("clone/setup.sh", "--help", cwd=folder, env={"PATH": str(clone.path)})
        assert status == 0 and err == "" and out.startswith("From a fresh Debian 12"), (status, out, err)


def test_a_build_that_fails_is_said_once():
    with tempfile.TemporaryDirectory() as folder:
        clone = Clone(folder)
        clone.stand_in("ninja", "#!/bin/bash\nexit 1\n")
        clone.libtorch("torch")
        status, _, err = clone.setup("-Dcuda=disabled", LIBTORCH="torch")
        assert status == 2 and err.endswith("setup.sh: the build in build failed, see above\n"), err
        (clone.folder / "other").mkdir()
        (clone.folder / "other" / "build.ninja").touch()
        environment = {"PATH": str(clone.path), "TOME_BUILD": str(clone.folder / "other")}
        for script in ("cameras.sh", "tag-video.sh"):
            result = run(ROOT / "pipelines" / script, env=environment)
            assert_one_error_line(result, f"{script}: the build in {clone.folder}/other failed")


def test_a_build_that_is_named_is_not_made():
    with tempfile.TemporaryDirectory() as folder:
        clone = Clone(folder)
        shutil.copytree(ROOT / "pipelines", clone.clone / "pipelines")
        (clone.clone / "setup.sh").write_text("#!/bin/bash\necho installs >&2\nexit 1\n")
        environment = {"PATH": str(clone.path), "TOME_BUILD": f"{folder}/nope"}
        for script in ("cameras.sh", "tag-video.sh"):
            result = run(clone.clone / "pipelines" / script, env=environment)
            assert_one_error_line(result, f"{script}: TOME_BUILD: there is no build in {folder}/nope")


def test_headers_are_found_whatever_the_clone_is_called():
    """Those of GStreamer's "bad" set, in a folder whose name means something to sed and to pkg-config."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Clone(folder, "R&D|one #1 $HOME")
        if not (clone.path / "pkg-config").exists():
            raise tap.Skip("no pkg-config")
        libraries = clone.folder / "lib"
        libraries.mkdir()
        (libraries / "libgstanalytics-1.0.so.0").touch()
        clone.stand_in("dpkg-query", "#!/bin/bash\nprintf installed\n")
        clone.stand_in("dpkg-architecture", f"#!/bin/bash\necho ../..{libraries}\n")  # from /usr/lib/
        clone.stand_in("apt-get", APT_GET)
        clone.stand_in("dpkg", DPKG.format(libraries=f"/usr/lib/../..{libraries}"))
        (clone.path / "ln").symlink_to(shutil.which("ln"))
        clone.libtorch("torch")
        # This machine's own headers are not looked at.
        environment = {"LIBTORCH": "torch", "PKG_CONFIG_LIBDIR": str(clone.folder / "none")}
        status, _, err = clone.setup("-Dcuda=disabled", **environment)
        assert status == 0, err
        asked = {"PATH": str(clone.path), **environment, "PKG_CONFIG_PATH": clone.kept()["pkg_config_path"]}
        status, out, err = run("pkg-config", "--cflags", "gstreamer-analytics-1.0", env=asked)
        assert status == 0, err
        (flag,) = shlex.split(out)
        expected = clone.clone / ".venv" / "gst-bad" / "usr" / "include" / "gstreamer-1.0"
        assert flag.startswith("-I") and Path(flag[2:]).resolve() == expected and expected.is_dir(), flag


def test_an_nvcc_of_another_version_is_passed_over():
    with tempfile.TemporaryDirectory() as folder:
        clone, ours = Clone(folder), Path(folder) / "wheel-nvcc"
        says = "#!/bin/bash\necho 'Cuda compilation tools, release {0}, V{0}.1'\n"
        ours.write_text(says.format("13.0"))
        ours.chmod(0o755)
        found = {}
        for version in ("12.8", "13.1", "130.2"):
            clone.stand_in("nvcc", says.format(version))
            status, out, err = run(ROOT / "core/cuda/find_nvcc.sh", str(ours), env={"PATH": str(clone.path)})
            assert status == 0, err
            found[version] = out.strip()
        # This machine's own toolkit comes before ours, whatever PATH says.
        theirs = ("/usr/local/cuda/bin/nvcc", str(ours))
        assert found["13.1"] == str(clone.path / "nvcc"), found
        assert found["12.8"] in theirs and found["130.2"] in theirs, found


if __name__ == "__main__":
    tap.main(globals())
