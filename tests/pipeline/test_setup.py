"""What setup.sh and the scripts that build do again, where a build fails, and how tests/run.sh runs device tests
under compute-sanitizer: on copies, with stand-ins for meson, ninja and compute-sanitizer."""

import fnmatch
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(os.environ["TOME_SOURCE_ROOT"])
sys.path[:0] = [str(ROOT / "tests" / "cli"), str(ROOT / "tests")]
import sanitize  # noqa: E402
import tap  # noqa: E402
from program import assert_one_error_line, run  # noqa: E402

# Without apt-get, setup.sh installs nothing.
TOOLS = "bash sh sed awk nproc readlink dirname basename rm mkdir cat touch env flock pkg-config".split()
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


# In a virtual environment: it cannot install for the user.
VENV_PYTHON = """#!/bin/bash
[ "$1 $2" = "-m pip" ] || exit 3
[ "$3" != install ] || [ "${PIP_USER:-0}" = 0 ] || { echo "ERROR: Can not perform a '--user' install." >&2; exit 1; }
"""


def test_pip_installs_here_though_it_is_to_install_for_the_user():
    with tempfile.TemporaryDirectory() as folder:
        clone = Clone(folder)
        (clone.clone / ".venv/lib/python3.11/site-packages").mkdir(parents=True)
        (clone.clone / ".venv/bin").mkdir()
        clone.stand_in("../clone/.venv/bin/python", VENV_PYTHON)
        (clone.path / "python3").symlink_to(sys.executable)
        status, _, err = clone.setup("-Dcuda=disabled", PIP_USER="1")
        assert status == 0, err


APT_CACHE = """#!/bin/bash
[ "$LC_ALL" = C ] && depends=Depends || depends="Hängt ab von"
printf '%s\\n' mosquitto "  $depends: libc6" "  $depends: libwebsockets19t64" "    adduser"
"""


def test_a_broker_comes_with_its_libraries_in_any_language():
    with tempfile.TemporaryDirectory() as folder:
        clone = Clone(folder)
        clone.stand_in("dpkg-query", "#!/bin/bash\n[ \"$4\" = mosquitto ] || printf installed\n")
        clone.stand_in("dpkg-architecture", "#!/bin/bash\necho of-nowhere\n")
        clone.stand_in("apt-get", f"#!/bin/bash\necho \"$@\" >>{shlex.quote(folder)}/asked\ntouch one.deb\n")
        clone.stand_in("apt-cache", APT_CACHE)
        clone.stand_in("dpkg", "#!/bin/bash\n")
        clone.libtorch("torch")
        status, _, err = clone.setup("-Dcuda=disabled", LIBTORCH="torch", LANG="de_DE.UTF-8", LC_ALL="de_DE.UTF-8")
        assert status == 0, err
        (asked,) = (clone.folder / "asked").read_text().splitlines()
        assert asked.split()[:3] == ["-q", "download", "mosquitto"] and "libwebsockets19t64" in asked.split(), asked


def count_jobs(clone, files, cores=64, available_gb=100):
    """Of a machine with so much, and with these files in place of the system's."""
    clone.stand_in("nproc", f"#!/bin/bash\necho {cores}\n")
    with tempfile.TemporaryDirectory() as root:
        available = f"MemTotal: 9 kB\nMemAvailable: {available_gb << 20} kB\n"
        for name, text in ({"proc/meminfo": available} | files).items():
            (Path(root) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(root) / name).write_text(f"{text}\n")
        command = f". {shlex.quote(str(clone.clone))}/build_jobs.sh; count_jobs {root}"
        status, out, err = run("bash", "-euo", "pipefail", "-c", command, env={"PATH": str(clone.path)})
    assert status == 0 and err == "", err
    return int(out)


def test_as_many_compilers_as_memory_and_a_container_allow():
    gb, cgroup = 1 << 30, "sys/fs/cgroup"
    with tempfile.TemporaryDirectory() as folder:
        clone = Clone(folder)
        (clone.path / "nproc").unlink()
        assert count_jobs(clone, {}, cores=4) == 4
        assert count_jobs(clone, {}) == 51  # 2 GB for each, and one more
        assert count_jobs(clone, {}, available_gb=1) == 1
        # A container's own groups, of version 2 ...
        two = {"proc/self/cgroup": "0::/"}
        for quota, expected in (("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("max 100000", 51)):
            assert count_jobs(clone, two | {f"{cgroup}/cpu.max": quota}) == expected, quota
        memory = {f"{cgroup}/memory.max": 8 * gb, f"{cgroup}/memory.current": 6 * gb}
        assert count_jobs(clone, two | memory) == 2
        cached = {f"{cgroup}/memory.stat": f"anon 1\nactive_file 2\ninactive_file {4 * gb}"}
        assert count_jobs(clone, two | memory | cached) == 4
        assert count_jobs(clone, two | memory | {f"{cgroup}/memory.max": "max"}) == 51
        assert count_jobs(clone, two | memory | {f"{cgroup}/memory.max": 4 * gb}) == 1
        # ... and of version 1, by the machine's path.
        one = {"proc/self/cgroup": "4:memory:/docker/1\n2:cpu,cpuacct:/docker/1\n0::/"}
        cpu = {f"{cgroup}/cpu/cpu.cfs_quota_us": 250000, f"{cgroup}/cpu/cpu.cfs_period_us": 100000}
        assert count_jobs(clone, one | cpu) == 3
        assert count_jobs(clone, one | cpu | {f"{cgroup}/cpu/cpu.cfs_quota_us": -1}) == 51
        memory = {f"{cgroup}/memory/memory.limit_in_bytes": 8 * gb, f"{cgroup}/memory/memory.usage_in_bytes": 6 * gb}
        assert count_jobs(clone, one | memory) == 2
        cached = {f"{cgroup}/memory/memory.stat": f"inactive_file 0\ntotal_inactive_file {2 * gb}"}
        assert count_jobs(clone, one | memory | cached) == 3
        assert count_jobs(clone, one | memory | {f"{cgroup}/memory/memory.limit_in_bytes": 9223372036854771712}) == 51
        # Groups above one's own count as well.
        inner = {"proc/self/cgroup": "0::/pod/box", f"{cgroup}/pod/box/cpu.max": "max 100000"}
        assert count_jobs(clone, inner | {f"{cgroup}/pod/cpu.max": "300000 100000"}) == 3
        memory = {f"{cgroup}/pod/memory.max": 8 * gb, f"{cgroup}/pod/memory.current": 6 * gb}
        assert count_jobs(clone, inner | memory) == 2


# As much as is asked of it: runs the program, and finds errors, or hangs, where it is told to.
SANITIZER = """#!/bin/bash
[ "$1 $3" = "--tool --error-exitcode" ] || exit 3
echo "======== $2"
"${@:5}" || exit
[ "$2" != "$HANGS" ] || read -t 60 <> <(:)
[ "$2" != "$FINDS" ] || { echo "======== ERROR SUMMARY: 1 error"; exit "$4"; }
"""
# Of the device tests: the report that $REPORT holds, if it is set, and a status.
DEVICE_TESTS = """#!/bin/bash
[ -z "$REPORT" ] || echo "$REPORT" >"${2#--gtest_output=xml:}"
exit ${STATUS:-0}
"""


def report_of(*kinds):
    """Of cases that each passed, or are "failure" or "skipped"."""
    results = [f"<{kind}>a.cpp:1 no device</{kind}>" if kind else "" for kind in kinds]
    cases = "".join(f"<testcase name='T'>{result}</testcase>" for result in results)
    return f"<testsuites><testsuite name='Device'>{cases}</testsuite></testsuites>"


class Sanitized(Clone):
    """A clone that has been built, and tests/run.sh in it. `ninja` keeps what was asked of it last."""

    def __init__(self, folder):
        super().__init__(folder)
        (self.clone / "tests").mkdir()
        for name in ("run.sh", "sanitize.py", "count_results.py"):
            shutil.copy(ROOT / "tests" / name, self.clone / "tests")
        (self.clone / "build/tests/unit").mkdir(parents=True)
        (self.clone / "build/build.ninja").touch()
        self.stand_in("meson", "#!/bin/bash\nexit ${NO_KERNELS:-0}\n")
        self.stand_in("ninja", f"#!/bin/bash\necho \"$@\" >{self.folder}/built\n")
        self.stand_in("compute-sanitizer", SANITIZER)
        self.stand_in("../clone/build/tests/unit/test_cuda_device", DEVICE_TESTS)

    def run(self, *arguments, **environment):
        return run(self.clone / "tests/run.sh", *arguments, env={"PATH": str(self.path), **environment})

    def sanitize(self, **environment):
        """Status, last line and all of stdout."""
        status, out, err = self.run("--gpu", "--sanitize", **environment)
        assert err == "", err
        assert (self.folder / "built").read_text().endswith(" tests/unit/test_cuda_device\n")
        return status, out.splitlines()[-1], out


def test_device_tests_run_under_each_tool():
    two = report_of("", "")
    with tempfile.TemporaryDirectory() as folder:
        clone = Sanitized(folder)
        status, last, out = clone.sanitize(REPORT=two)
        assert (status, last) == (0, "6 passed, 0 failed"), out
        assert [line.split(",")[0] for line in out.splitlines()[:-1]] == [
            f"{tool}: found nothing" for tool in ("memcheck", "synccheck", "racecheck")], out
        assert (clone.clone / "build/meson-logs/sanitizer-racecheck.txt").read_text() == "======== racecheck\n"
        # What a tool finds is shown, and fails though all cases pass.
        for tool in sanitize.TOOLS:
            status, last, out = clone.sanitize(REPORT=two, FINDS=tool)
            assert (status, last) == (1, "6 passed, 1 failed"), out
            assert f"{tool}: found errors" in out and out.count("ERROR SUMMARY: 1 error") == 1, out
        status, last, out = clone.sanitize(REPORT=report_of("", "failure"), STATUS="1")
        assert (status, last) == (1, "3 passed, 3 failed") and "memcheck: ended with status 1" in out, out
        # Without a device all are skipped, which is no success.
        status, last, out = clone.sanitize(REPORT=report_of("skipped", "skipped"))
        assert (status, last) == (1, "0 passed, 0 failed, 6 skipped") and "skipped: a.cpp:1 no device\n" in out, out
        # A crash leaves no report, and those of the runs before do not count.
        for environment, said in (({"STATUS": "139"}, "ended with status 139"), ({}, "ran no test")):
            status, last, out = clone.sanitize(**environment)
            assert (status, last) == (1, "0 passed, 3 failed") and f"racecheck: {said}" in out, out


def test_a_tool_that_hangs_ends():
    with tempfile.TemporaryDirectory() as folder:
        clone = Sanitized(folder)
        script = "import sys, sanitize; sanitize.TIMEOUT_S = 1; sys.exit(sanitize.main())"
        status, out, err = run(sys.executable, "-c", script, clone.clone / "build", clone.path / "compute-sanitizer",
                               cwd=clone.clone / "tests", timeout=50,
                               env={"PATH": str(clone.path), "HANGS": "synccheck", "REPORT": report_of("")})
    # Its cases had passed before.
    assert status == 1 and out.endswith("\n3 passed, 1 failed\n"), (out, err)
    assert "synccheck: had not ended after 1 s" in out and "racecheck: found nothing" in out, out


def test_what_sanitizing_lacks_is_said():
    with tempfile.TemporaryDirectory() as folder:
        clone = Sanitized(folder)
        for arguments in (["--sanitize"], ["--gpu", "--sanitize", "--suite", "unit"]):
            assert_one_error_line(clone.run(*arguments), "run.sh: --sanitize goes with --gpu and nothing else")
        assert_one_error_line(clone.run("--gpu", "--sanitize", NO_KERNELS="1"), "run.sh: --gpu: this build has no CUDA")
        if Path("/usr/local/cuda/bin/compute-sanitizer").exists():
            raise tap.Skip("this machine has a compute-sanitizer")
        (clone.folder / "built").unlink()
        (clone.path / "compute-sanitizer").unlink()
        assert_one_error_line(clone.run("--gpu", "--sanitize"), "run.sh: --sanitize: no compute-sanitizer in PATH")
        assert not (clone.folder / "built").exists(), "this should cost no build"


def test_what_is_sanitized_is_there():
    program = Path(os.environ["TOME_BUILD"]) / "tests/unit/test_cuda_device"
    if not program.exists():
        raise tap.Skip("a build without CUDA kernels")
    status, out, err = run(program, f"--gtest_filter={sanitize.TESTS}", "--gtest_list_tests")
    assert status == 0, err
    suite, names = "", []
    for line in out.splitlines():
        if line.startswith("  "):
            names.append(suite + line.strip())
        else:
            suite = line.strip()
    for pattern in sanitize.TESTS.split(":"):
        assert fnmatch.filter(names, pattern), f"{pattern} is none of {names}"


if __name__ == "__main__":
    tap.main(globals())
