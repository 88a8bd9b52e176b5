"""What surrounds the scripts in pipelines/: stops while they start, the shell's files, variables, locales."""

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import tap
from program import DATA, ROOT, VIT_TINY, assert_one_error_line, demo_clip, needs, run
from rtsp_server import PYTHON
from running import PATIENCE, Running, needs_build

PIPELINES = ROOT / "pipelines"
CAMERAS, DETECT, TAG = (PIPELINES / f"{name}.sh" for name in ("cameras", "detect-then-classify", "tag-video"))
FILM = DATA / "clips" / "scenes" / "skiing.mp4"
STOPS = (signal.SIGINT, signal.SIGTERM)


def with_redirections(words, *command):
    return ["bash", "-c", f'exec "$0" "$@" {words}', *command]


def has_python(process):
    """Whether it is Python already, and has GStreamer's bindings."""
    try:
        return "/_gi." in Path(f"/proc/{process.pid}/maps").read_text()
    except OSError:
        return False


def stopped_while_it_starts(number, delay, *command):
    """Its status when a signal comes `delay` seconds after its bindings."""
    process = subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )
    try:
        begin = time.monotonic()
        while not has_python(process) and process.poll() is None and time.monotonic() - begin < PATIENCE:
            time.sleep(0.001)
        time.sleep(delay)
        process.send_signal(number)
        err = process.communicate(timeout=PATIENCE)[1]
    finally:
        process.kill()
    assert err == "", (process.returncode, err)
    return process.returncode


def test_a_stop_while_it_starts():
    """At any time, also where PyGObject makes its types: its end is quiet and has the promised status."""
    needs_build()
    needs(VIT_TINY, FILM)
    cameras = [CAMERAS, "--model", VIT_TINY, *(f"{number}={FILM}" for number in range(20))]
    detect = [DETECT, "--model", VIT_TINY]
    begin, random_delays = time.monotonic(), random.Random(0)
    for number in STOPS:
        assert stopped_while_it_starts(number, 0, *cameras) == 0
        assert stopped_while_it_starts(number, 0, *detect) == 0
        assert stopped_while_it_starts(number, 0, TAG, FILM) == -number
    while time.monotonic() - begin < 7:
        assert stopped_while_it_starts(random_delays.choice(STOPS), random_delays.uniform(0, 0.4), *cameras) == 0


def test_a_signal_that_is_ignored_stays_so():
    """A shell's background jobs ignore SIGINT."""
    needs_build()
    needs(VIT_TINY, FILM)
    loop = [CAMERAS, "--model", VIT_TINY, "--loop", "--interval", "10", "--top-k", "1", FILM]
    with Running("bash", "-c", "trap '' INT; exec \"$0\" \"$@\"", *loop) as cameras:
        cameras.next_result()
        cameras.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert cameras.process.poll() is None, cameras.said()
        cameras.forget_results()
        cameras.next_result()
        assert cameras.stop(signal.SIGTERM) == 0, cameras.said()


def test_where_no_temporary_folder_is_writable():
    """Here by a limit on the size of files: only the demonstration needs one."""
    needs_build()
    full = ["bash", "-c", "ulimit -f 0; exec \"$0\" \"$@\""]
    with tempfile.TemporaryDirectory() as folder:
        status, out, err = run(*full, TAG, demo_clip(folder, 16))
        assert status == 0 and out.count("\n") == 2 and err.count("Traceback") == 0, (status, out, err)
    assert_one_error_line(run(*full, TAG), "tag-video.sh: no temporary folder for the demonstration clip")


def test_standard_files_that_are_closed():
    needs_build()
    with tempfile.TemporaryDirectory() as folder:
        film = demo_clip(folder, 16)
        for words in ("<&-", "2>&-", "<&- 2>&-"):
            status, out, err = run(*with_redirections(words, TAG, film))
            lines = [json.loads(line) for line in out.splitlines()]
            assert status == 0 and len(lines) == 2, (words, status, out, err)
        for script, arguments in ((TAG, [film]), (CAMERAS, [film]), (DETECT, ["--model", VIT_TINY, film])):
            assert_one_error_line(run(*with_redirections(">&-", script, *arguments)),
                                  f"{script.name}: standard output is closed")
    for words in ("2>&-", "2>/dev/full", "<&- 2>&-", ">&- 2>&-"):
        assert run(*with_redirections(words, CAMERAS, "no-such.mp4")) == (2, "", ""), words


def test_variables_of_python():
    """Those that help other programs do not hurt this one."""
    needs_build()
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "gi"
        other.mkdir()
        (other / "__init__.py").write_text("raise ImportError('made for another Python')\n")
        for variables in ({"PYTHONSAFEPATH": "1"}, {"PYTHONPATH": folder}, {"PYTHONWARNINGS": "error"},
                          {"PYTHONHOME": folder}, {"PYTHONINSPECT": "1"}):
            result = run(CAMERAS, "no-such.mp4", env=os.environ | variables)
            assert result == (2, "", "cameras.sh: there is no file 'no-such.mp4'\n"), (variables, result)


PROBE = """
def main(_script, _arguments, _stop):
    import mine, output
    return 7 if output.say and mine.FOUND else 1
"""


def test_modules_of_others_are_found_behind_our_own():
    """Elements in Python, such as a detector's, import theirs from PYTHONPATH."""
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = Path(folder) / "theirs", Path(folder) / "ours"
        for part in (theirs, ours):
            part.mkdir()
        for name in ("start.py", "stopping.py", "output.py"):
            shutil.copy(PIPELINES / name, ours)
        (ours / "probe.py").write_text(PROBE)
        (theirs / "mine.py").write_text("FOUND = True\n")
        (theirs / "output.py").write_text("say = None\n")
        variables = os.environ | {"PYTHONPATH": str(theirs)}
        result = run(PYTHON, "-E", ours / "start.py", "probe", "probe.sh", env=variables)
        assert result == (7, "", ""), result


def test_a_path_of_plugins_for_this_gstreamer():
    """GST_PLUGIN_PATH_1_0 beats GST_PLUGIN_PATH, also if it is empty."""
    needs_build()
    for path in ("", "/nonexistent"):
        result = run(CAMERAS, "no-such.mp4", env=os.environ | {"GST_PLUGIN_PATH_1_0": path})
        assert_one_error_line(result, "there is no file 'no-such.mp4'")


def test_what_is_missing_is_said():
    needs_build()
    result = run(PYTHON, "-S", PIPELINES / "start.py", "streams", "cameras.sh", FILM)  # without installed modules
    assert_one_error_line(result, "cameras.sh: No module named 'gi'", "setup.sh")
    installed = {name: value for name, value in os.environ.items() if name != "TOME_BUILD"}
    installed |= {"GST_PLUGIN_PATH": f"{os.environ['TOME_BUILD']}/gst-plugin", "PATH": "/nonexistent"}
    with tempfile.TemporaryDirectory() as folder:
        installed["GST_REGISTRY"] = f"{folder}/registry.bin"
        result = run(PYTHON, PIPELINES / "start.py", "streams", "tag-video.sh", env=installed)
        assert_one_error_line(result, "tag-video.sh: tome, which makes the demonstration clip, does not start")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("build.ninja", "tools/tome", "gst-plugin/libgsttomeclassify.so",
                     "gst-plugin/libgsttomepublish.so"):
            file = Path(folder) / name
            file.mkdir(parents=True)  # which is there, and which GStreamer does not warn of
        for script, arguments in ((CAMERAS, [__file__]), (DETECT, ["--model", "/"])):
            assert_one_error_line(run(script, *arguments, env=os.environ | {"TOME_BUILD": folder}),
                                  f"{script.name}: GStreamer does not find tomeclassify in {folder}/gst-plugin")


def test_names_in_another_locale():
    """Whose letters are single bytes, as Python would read the names of the files."""
    needs_build()
    with tempfile.TemporaryDirectory() as folder:
        latin = {"LOCPATH": folder, "LC_ALL": "en_US.ISO-8859-1"}
        try:
            made = f"{folder}/{latin['LC_ALL']}"
            subprocess.run(["localedef", "-i", "en_US", "-f", "ISO-8859-1", made], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise tap.Skip(f"no locale in Latin-1 can be made here: {error}") from None
        film, model, labels = demo_clip(folder, 16), Path(folder) / "mödel", Path(folder) / "läbels.txt"
        model.symlink_to(ROOT / "models" / "camera-state")
        labels.write_text("".join(f"größe {number}\n" for number in range(12)), encoding="utf-8")
        film = film.rename(Path(folder) / "filmü.avi")
        status, out, err = run(TAG, "--model", model, "--labels-file", labels, film, env=os.environ | latin)
        assert status == 0 and err.count("Traceback") == 0, err
        for line in map(json.loads, out.splitlines()):
            assert line["stream"] == "filmü.avi" and line["tags"][0]["label"].startswith("größe "), line
        result = run(CAMERAS, "--model", f"{folder}/ü", film, env=os.environ | latin)
        assert_one_error_line(result, f"--model: there is no folder '{folder}/ü'")


if __name__ == "__main__":
    tap.main(globals())
