"""bench/gpu.sh: what it refuses, its table from made-up rows, and whole runs of it with made-up engines on
a made-up device. No number here is a measurement."""

import argparse
import contextlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import tap
from made_up_gpu import DEVICE_TEST, OURS, MadeUp, made_up_data, made_up_modules, write_program
from program import ROOT, run

sys.path[:0] = [str(ROOT / "bench" / "gpu"), str(ROOT / "bench" / "cpu")]
import device_tests  # noqa: E402
import run as gpu_run  # noqa: E402
from measure import UNRECORDED  # noqa: E402
from record import merge_rows  # noqa: E402
from table import add_ratios, peak_of, table  # noqa: E402

BUILD = Path(os.environ["TOME_BUILD"])
SUITES = ("SessionOnDevice", "ParityOnDevice", "KernelParityOnDevice", "ModelOnDevice")


def results(*skipped, missing=()):
    """A device tests' report in GoogleTest's format, with the output that goes with it."""
    suites, output = [], ""
    for name in SUITES:
        if name in missing:
            continue
        result = "SKIPPED" if name in skipped else "COMPLETED"
        suites.append({"name": name, "testsuite": [{"name": "Test", "status": "RUN", "result": result}]})
        output += f"[ RUN      ] {name}.Test\n"
        if name in skipped:
            output += f"test.cpp:1: Skipped\nnothing for {name}\n\n[  SKIPPED ] {name}.Test (0 ms)\n"
    return {"testsuites": suites}, output


def refused(run_tests):
    """What is said where `run_tests` refuses; empty if it does not."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            run_tests()
    except SystemExit as stop:
        assert stop.code == 2, stop.code
        return said.getvalue()
    return ""


def refusal(tests):
    return refused(lambda: device_tests.check_results(*tests, "the.log"))


def refusal_of_a_run(does):
    """What is said of device tests that do this, in Python, and what is in their log."""
    with tempfile.TemporaryDirectory() as folder:
        program, log = Path(folder) / "test_cuda_device", Path(folder) / "new/device-tests.log"
        write_program(program, f"#!{sys.executable}\nimport os, sys, time\n"
                               "print('[ RUN      ] ADevice.First\\n[ RUN      ] ADevice.Second', flush=True)\n"
                               "report = open(sys.argv[2].split(':', 1)[1], 'w')\n" + does)
        arguments = argparse.Namespace(device_test=str(program), device_log=log, data=Path(folder), model=None)
        said = refused(lambda: device_tests.run_device_tests(arguments))
        assert f"all that they said: {log}\n" in said, said
        return said, log.read_text()


def test_without_a_gpu_one_line_says_so():
    if not (BUILD / "tests/unit/test_cuda_device").exists():
        raise tap.Skip("a build without CUDA kernels")
    if Path("/dev/nvidiactl").exists():
        raise tap.Skip("there is a GPU")
    with tempfile.TemporaryDirectory() as folder:
        made_up_modules(Path(folder))
        status, out, err = run("env", f"BUILD={BUILD}", f"PYTHON={sys.executable}", f"PYTHONPATH={folder}",
                               ROOT / "bench" / "gpu.sh", "--data", made_up_data(Path(folder) / "data"))
    assert status == 2 and out == "", (status, out)
    assert err.startswith("gpu.sh: no usable GPU: CUDA: ") and err.count("\n") == 1, err


def test_without_a_build_one_line_says_so():
    with tempfile.TemporaryDirectory() as folder:
        status, _, err = run("env", f"BUILD={folder}", ROOT / "bench" / "gpu.sh")
    assert status == 2 and "setup.sh" in err and err.count("\n") == 1, err


def test_an_unknown_peer_is_refused():
    if not (BUILD / "tests/unit/test_cuda_device").exists():
        raise tap.Skip("a build without CUDA kernels")
    with tempfile.TemporaryDirectory() as folder:
        status, out, err = run("env", f"BUILD={BUILD}", f"PYTHON={sys.executable}", ROOT / "bench" / "gpu.sh",
                               "--data", made_up_data(Path(folder) / "data"), "--peers", "tvm")
    assert (status, out) == (2, ""), (status, out)
    assert err == "gpu.sh: --peers: found 'tvm', expected compile, eager or both\n", err


def test_results_count_only_after_parity_and_a_model():
    assert "4 device tests passed" in device_tests.check_results(*results(), "the.log")
    ours = "our kernels' parity with the reference was not checked"
    assert f"{ours} (nothing for KernelParityOnDevice)" in refusal(results("KernelParityOnDevice"))
    assert f"{ours} (no such test)" in refusal(results(missing=["KernelParityOnDevice"]))
    assert "a real model was not checked (nothing for ModelOnDevice)" in refusal(results("ModelOnDevice"))
    # Nor is parity of LibTorch's operators on the device asked for, which a LibTorch for the CPU has not.
    assert refusal(results("SessionOnDevice", "ParityOnDevice")) == ""
    everything = results(*SUITES)
    assert "no usable GPU: nothing for SessionOnDevice" in refusal(everything)
    assert refusal(({"testsuites": []}, ""))


def test_a_failure_is_shown_and_bounded():
    failed, output = results()
    for suite, text in zip(failed["testsuites"], ("wrong\nby 0.1", "".join(f"line {i}\n" for i in range(100)))):
        suite["testsuite"][0]["failures"] = [{"failure": text}]
    said = refusal((failed, output))
    assert "gpu.sh: SessionOnDevice.Test failed:\n    wrong\n    by 0.1\n" in said, said
    assert "    line 19\n    ... and 80 lines more\n" in said, said
    assert "2 device tests failed, first SessionOnDevice.Test: " in said, said
    assert said.endswith("all that they said: the.log\n"), said
    # All failed: a few are enough.
    failed["testsuites"] *= 10
    for i, suite in enumerate(failed["testsuites"]):
        failed["testsuites"][i] = suite | {"name": f"Suite{i}"}
    assert refusal((failed, output)).count(" failed:\n") == 5


def test_a_crash_says_where():
    said, log = refusal_of_a_run("sys.stderr.write('a stray line\\n')\nos.kill(os.getpid(), 11)\n")
    assert "the device tests ended by SIGSEGV (status -11), in ADevice.Second; all" in said, said
    assert "    a stray line\n" in said and log.count("\n") == 3, (said, log)
    said, _ = refusal_of_a_run("sys.exit(3)\n")
    assert "the device tests ended with status 3, in ADevice.Second" in said, said
    # A report does not make up for it.
    good = json.dumps(results()[0])
    for status in (1, 134):
        said, _ = refusal_of_a_run(f"report.write({good!r})\nreport.close()\nos._exit({status})\n")
        assert f"the device tests ended with status {status}" in said, said
    said, _ = refusal_of_a_run(f"report.write({good[:40]!r})\n")
    assert "the device tests ended with status 0" in said, said


def test_a_hang_ends():
    limit, device_tests.TIMEOUT_S = device_tests.TIMEOUT_S, 1
    try:
        said, _ = refusal_of_a_run("time.sleep(60)\n")
    finally:
        device_tests.TIMEOUT_S = limit
    assert "the device tests had not ended after 1 s, in ADevice.Second" in said, said


def test_device_tests_that_cannot_run_are_said():
    with tempfile.TemporaryDirectory() as folder:
        arguments = argparse.Namespace(device_test=f"{folder}/none", device_log=Path(folder) / "log",
                                       data=Path(folder), model=None)
        said = refused(lambda: device_tests.run_device_tests(arguments))
    assert said.startswith("gpu.sh: the device tests cannot run: ") and said.count("\n") == 1, said


def cells_of(**given):
    asked = {"cells": None, "models": None, "batch": None, "quick": False} | given
    return gpu_run.asked_cells(argparse.Namespace(**asked))


def test_cells():
    assert cells_of(models="video_vit_large", batch="1,8") == [("video_vit_large", "1"), ("video_vit_large", "8")]
    assert cells_of(cells="vit_base_patch16_224:1,video_vit_large:32") == [
        ("vit_base_patch16_224", "1"), ("video_vit_large", "32")]
    for cells in ("vit_base:1", "video_vit_large:0", "video_vit_large"):
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                cells_of(cells=cells)
            raise AssertionError(f"{cells} was taken")
        except SystemExit as stop:
            assert stop.code == 2 and "expected" in said.getvalue(), said.getvalue()


def test_a_peer_that_is_not_ready_in_time_is_a_row():
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "peer.py").write_text(
            "import json, sys, time\n"
            "time.sleep(60 if sys.argv[1] == 'compile' else 0)\n"
            "print('ready', flush=True)\n"
            "for line in sys.stdin: print(json.dumps([1.5] * int(line)), flush=True)\n")
        here, gpu_run.HERE = gpu_run.HERE, Path(folder)
        try:
            cell = {"model": "video_vit_large", "batch": 8, "precision": "bf16"}
            late, = gpu_run.start_peers([cell], ("compile",), 1.0, gpu_run.Begun())[0]
            eager, = gpu_run.start_peers([cell], ("eager",), 60.0, gpu_run.Begun())[0]
        finally:
            gpu_run.HERE = here
        assert late["engine"] == "compile" and late["error"] == "not ready after 1 s", late
        eager.run(2)
        eager.close()
        assert eager.times == [1.5, 1.5], eager.times


def made_up_rows():
    def row(engine, r, ms, **more):
        return {"engine": engine, "model": "video_vit_large", "batch": 8, "precision": "bf16", "r": r, "ms_median": ms,
                "ms_min": ms - 1, "ms_max": ms + 1} | more

    operations = [{"name": "matching", "calls": 24, "ms": 0.5}]
    return [row("eager", "0", 50.0, gflops=1200.0), row("compile", "0", 42.0, gflops=1200.0),
            row("gst-tome", "0", 40.0, gflops=1200.0, flops_saved=1.0),
            row("gst-tome", "65", 20.0, gflops=550.0, flops_saved=2.2, operations=operations),
            {"engine": "eager", "model": "video_vit_large", "batch": 256, "precision": "bf16", "r": "0",
             "error": "out of memory"}]


def test_ratios():
    rows = made_up_rows()
    add_ratios(rows, 1000)
    merged = rows[3]
    assert merged["speedup"] == 2.0 and merged["x_compile"] == 2.1 and merged["x_eager"] == 2.5, merged
    assert merged["speedup_over_flops_saved"] == 0.909, merged
    assert rows[2]["tflops_per_s"] == 240.0 and rows[2]["share_of_peak"] == 0.24, rows[2]
    assert "speedup" not in rows[4]
    assert peak_of("NVIDIA H100 80GB HBM3") == 989 and peak_of("NVIDIA H100 PCIe") == 756
    assert peak_of("a device of the future") is None


def test_a_peak_is_that_of_the_whole_name():
    for device, peak in (
        ("NVIDIA L40", 181), ("NVIDIA L40S", 362), ("NVIDIA L4", 121), ("NVIDIA A10", 125), ("NVIDIA A10G", 70),
        ("NVIDIA A100-SXM4-80GB", 312), ("NVIDIA H200", 989), ("NVIDIA H200 NVL", 835), ("NVIDIA GH200 480GB", 989),
        ("NVIDIA GeForce RTX 4090", 165), ("NVIDIA GeForce RTX 4090 D", None), ("NVIDIA A1000", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None), ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
    ):
        assert peak_of(device) == peak, (device, peak_of(device))


FACTS = {"device": "a made-up device", "precision": "bf16", "torch": "0", "timm": "0", "driver": "0",
         "peak_tflops": 1000, "tests": "none", "rounds": 2, "repeats": 12}


def test_table():
    rows = made_up_rows()
    add_ratios(rows, 1000)
    text = table([row | FACTS for row in rows])
    assert "| video_vit_large | 8 | gst-tome | 65 | 20.000 | 19.000..21.000 | 2.00 | 2.50 | 2.10 | 220 | 22 % | 0.91 |" in text, text
    assert "| video_vit_large | 256 | eager | 0 | out of memory |" in text
    assert "| video_vit_large | 8 | 65 | matching | 24 | 0.5000 |" in text
    assert "Version" not in text  # rows of before have none
    json.dumps(rows)


def test_a_table_of_several_runs_has_the_facts_of_each():
    one, two = ([row | FACTS | more for row in made_up_rows()] for more in ({}, {"rounds": 5, "torch": "1"}))
    text = table(one + two + [row | {"device": "another"} for row in one])
    assert text.count("# a made-up device\n") == 1 and text.count("# another\n") == 1, text
    assert text.count("in 2 rounds of 12") == 2 and text.count("in 5 rounds of 12") == 1, text
    assert text.index("torch 1,") < text.index("in 5 rounds"), text
    text = table(one + [row | {"version": "abc"} for row in one])
    assert text.count("in 2 rounds of 12") == 2 and text.count("Version: abc.\n") == 1, text


def test_append_keeps_other_cells():
    def cells(*batches, **more):
        return [{"device": "a", "model": "b", "precision": "bf16", "batch": batch} | more for batch in batches]

    earlier = cells(1, 8, 8, run=1) + cells(8, device="other", run=1)
    again = cells(8, run=2)
    assert merge_rows(earlier, again) == cells(1, run=1) + cells(8, device="other", run=1) + again
    # What did not finish replaces nothing but its like.
    cut = cells(8, run=2, unfinished="1 of 5 rounds")
    assert merge_rows(earlier, cut) == earlier + cut
    again = cells(8, run=3, unfinished="2 of 5 rounds")
    assert merge_rows(earlier + cut, again) == earlier + again


def test_results_go_where_git_does_not_look():
    if not (ROOT / ".git").exists():
        raise tap.Skip("no git checkout")
    assert run("git", "-C", ROOT, "check-ignore", UNRECORDED / "gpu-nvidia-h200.jsonl")[0] == 0


def test_without_nvidia_smi_the_driver_is_unknown():
    path = os.environ["PATH"]
    try:
        with tempfile.TemporaryDirectory() as os.environ["PATH"]:
            assert gpu_run.driver_version() == "unknown"
    finally:
        os.environ["PATH"] = path


def test_a_run_builds_what_it_needs():
    with MadeUp(results()[0]) as made:
        for _ in range(2):  # from nothing, and after a ./setup.sh, which builds no tests
            status, out, err = run(*made.command("--cells", "video_vit_large:8"))
            assert status == 0, err
            engines = [(row["engine"], row["r"], row["ms_median"]) for row in map(json.loads, out.splitlines())]
            assert engines == [("compile", "0", 4.5), ("eager", "0", 4.5), ("gst-tome", "0", 2), ("gst-tome", "65", 2)]
            (made.root / "build" / DEVICE_TEST).unlink()
        assert len(made.rows()) == 4 and not (made.root / "bench/results").exists()
        # A median, and ours too.
        assert "video_vit_large:8 eager 4.000 ms\n" in err and ":8 gst-tome r=0 2.000 ms, r=65 2.000 ms\n" in err, err


def test_another_build_keeps_its_tests_log():
    with MadeUp(results()[0]) as made:
        few = ["--cells", "video_vit_large:8", "--peers", "eager", "--rounds", "1"]
        assert run(*made.command(*few))[0] == 0
        other = (made.root / "build").rename(made.root / "other")
        (other / "bench-results/device-tests.log").unlink()
        assert run(*made.command(*few, BUILD=other))[0] == 0
        assert (other / "bench-results/device-tests.log").exists()
        assert "device-tests.log" not in os.listdir(made.root / "build/bench-results")


def test_what_cannot_be_built_is_said():
    with MadeUp(results()[0]) as made:
        other = made.root / "other"
        write_program(other / "tools/tome", OURS)
        shutil.copy(made.root / "build.ninja", other)
        status, _, err = run(*made.command(BUILD=other))
        assert status == 2 and "not built: ninja -C" in err and "kernels" not in err, err
        (made.root / "few").mkdir()
        (made.root / "few/dirname").symlink_to(shutil.which("dirname"))
        shutil.copytree(other, made.root / "build")
        status, _, err = run(*made.command(PATH=made.root / "few"))
        said = f"gpu.sh: no ninja to build with: BUILD={made.root}/build takes a finished build as it is\n"
        assert (status, err) == (2, said), err
        shutil.rmtree(made.root / "build")
        made.ninja("build tools/tome: cpp_LINKER a.o\n")
        shutil.copy(made.root / "build.ninja", other)
        for build in ({}, {"BUILD": other}):
            status, _, err = run(*made.command(**build))
            assert status == 2 and "no CUDA kernels: run ./setup.sh -Dcuda=enabled" in err and err.count("\n") == 1, err


def test_a_python_without_torch_costs_nothing():
    with MadeUp(results()[0]) as made:
        assert run(*made.command("--cells", "video_vit_large:8"))[0] == 0
        (made.root / "build").rename(made.root / "built")
        for cuda, module, said in (("None", "torch", "built without CUDA"), ("1", "timm", "has no timm (none here)")):
            made_up_modules(made.root / "modules", cuda)
            if cuda != "None":
                (made.root / f"modules/{module}.py").write_text("raise ImportError('none here')\n")
            (made.root / "tested").unlink(missing_ok=True)
            for build in ({}, {"BUILD": made.root / "built"}):
                status, out, err = run(*made.command(**build))
                assert (status, out, err.count("\n")) == (2, "", 1) and said in err, err
                assert not (made.root / "tested").exists() and not (made.root / "build").exists()


def test_data_that_is_missing_costs_nothing():
    with MadeUp(results()[0]) as made:
        data = made.root / "data"
        for part in ("parity/matching.json", "parity/matching.safetensors"):
            (data / part).rename(made.root / "away")
            status, out, err = run(*made.command("--cells", "video_vit_large:8"))
            assert (status, out, err.count("\n")) == (2, "", 1) and f"there is no {data / part} " in err, err
            assert not (made.root / "build").exists()
            (made.root / "away").rename(data / part)


def test_the_model_is_the_given_one_or_that_of_the_data_or_ours():
    assert (ROOT / "models/camera-state/model.safetensors").exists()
    with MadeUp(results()[0]) as made:
        few = ["--cells", "video_vit_large:8", "--peers", "eager", "--rounds", "1"]
        theirs, another = made.root / "data/models/vit_tiny_patch16_224", made.root / "another"
        another.mkdir()
        for given, model in ((["--model", another], another), ([], theirs), ([], made.root / "models/camera-state")):
            assert run(*made.command(*few, *given))[0] == 0
            assert Path((made.root / "model").read_text()).resolve() == model.resolve(), model
            assert made.rows()[0]["tests"].endswith(f"; the model was {model.name}"), made.rows()[0]
            if model == theirs:
                theirs.rmdir()


def git(folder, *arguments):
    status, out, err = run("git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b", *arguments)
    assert status == 0, err
    return out.strip()


def test_rows_say_which_commit_they_are_of():
    if shutil.which("git") is None:
        raise tap.Skip("no git")
    few = ["--cells", "video_vit_large:8", "--peers", "eager", "--rounds", "1"]

    def versions(*more):
        assert run(*made.command(*few, *more))[0] == 0
        return {row["version"] for row in made.rows()}

    with MadeUp(results()[0]) as made:
        assert versions() == {"unknown"}
        # Nor is it that of a repository in which a copy lies.
        assert gpu_run.version_of(made.root / "data") == "unknown"
        git(made.root, "init", "--quiet")
        assert versions() == {"unknown"}  # no commit yet
        git(made.root, "add", "bench")
        git(made.root, "commit", "--quiet", "-m", "a")
        commit = git(made.root, "rev-parse", "--short", "HEAD")
        assert gpu_run.version_of(made.root / "data") == "unknown"
        assert versions() == {commit}
        with open(made.root / "bench/gpu/peer.py", "a") as file:
            file.write("# changed\n")
        assert versions() == {f"{commit}-dirty"}
        assert versions("--version", "by hand") == {"by hand"}
        assert "\nVersion: by hand.\n" in (made.root / "build/bench-results/gpu-made-up-1.md").read_text()


def test_ours_find_the_cublas_of_this_torch():
    with MadeUp(results()[0]) as made:
        libraries = made.root / "modules/nvidia/cu13/lib"
        few = ["--cells", "video_vit_large:8", "--peers", "eager", "--rounds", "1"]
        for before, wanted in (("/theirs", "/theirs"), ("", str(libraries)), ("/theirs:/more", f"/theirs:/more:{libraries}")):
            assert run(*made.command(*few, LD_LIBRARY_PATH=before))[0] == 0
            assert (made.root / "tested").read_text() == wanted
            libraries.mkdir(parents=True, exist_ok=True)
            (libraries / "libcublasLt.so.13").touch()


def test_append_adds_to_what_out_has():
    with MadeUp(results()[0]) as made:
        for more in (["--cells", "video_vit_large:8,video_vit_large:1"],
                     ["--append", "--rounds", "1", "--peers", "eager", "--cells", "video_vit_large:8"]):
            assert run(*made.command("--out", made.root / "kept/rows", *more))[0] == 0
        found = [(row["batch"], row["engine"], row["rounds"]) for row in made.rows("kept/rows") if row["r"] == "0"]
        assert found == [(1, "compile", 2), (1, "eager", 2), (1, "gst-tome", 2), (8, "eager", 1), (8, "gst-tome", 1)]
        assert os.listdir(made.root / "build/bench-results") == ["device-tests.log"]
        assert run(*made.command("--out", made.root / "kept/rows", "--peers", "eager", "--cells", "video_vit_large:1"))[0] == 0
        assert {row["batch"] for row in made.rows("kept/rows")} == {1}


def test_time_that_ends_in_a_cell_leaves_its_rows():
    for number, stops, answered, rows, note in (
        (signal.SIGTERM, "eager 0", "compile 4.000", [("compile", 4)], "in round 1 of 2"),
        (signal.SIGINT, "eager 1", "compile 5.000", [("compile", 4), ("eager", 4), ("gst-tome", 2), ("gst-tome", 2)],
         "1 of 2 rounds"),
    ):
        with MadeUp(results()[0]) as made:
            status, out, err = made.cut_short(number, answered, "--cells", "video_vit_large:8", WHEN=f"{stops} stops")
            assert status == 128 + number and "Traceback" not in err, (status, err)
            found = made.rows()
            assert [(row["engine"], row["ms_median"]) for row in found] == rows, found
            assert {row["unfinished"] for row in found} == {note}, found
            # Of the rounds in which every engine ran, or not at all.
            assert [row.get("x_compile") for row in found] == ([None] if len(rows) == 1 else [1, 1, 2, 2]), found
            assert len(out.splitlines()) == len(rows), out
            assert f"(unfinished: {note})" in (made.root / "build/bench-results/gpu-made-up-1.md").read_text()
            assert made.left_behind() == []


def test_a_run_that_is_killed_leaves_its_rows():
    with MadeUp(results()[0]) as made:
        made.cut_short(signal.SIGKILL, "eager 4.000", "--cells", "video_vit_large:8", WHEN="ours 0 stops")
        assert [row["engine"] for row in made.rows()] == ["compile", "eager"]


def test_time_that_ends_before_peers_are_ready():
    with MadeUp(results()[0]) as made:
        status, out, err = made.cut_short(signal.SIGTERM, "compile ready", "--cells", "video_vit_large:8",
                                          WHEN="eager ready stops")
        assert (status, out) == (143, "") and "Traceback" not in err, (status, err)
        assert made.left_behind() == [] and os.listdir(made.root / "build/bench-results") == ["device-tests.log"]


def test_a_peer_that_ended_costs_nothing_else():
    for ends in ("compile idle", "compile 0", "compile 1"):
        with MadeUp(results()[0]) as made:
            status, _, err = run(*made.command("--cells", "video_vit_large:8,video_vit_large:1", WHEN=f"{ends} ends"))
            assert status == 0 and "Traceback" not in err and "8 compile ended: out of memory\n" in err, err
            found = [(row["batch"], row["engine"], row.get("error")) for row in made.rows() if row["r"] == "0"]
            assert found == [(batch, *row) for batch in (8, 1) for row in (
                ("compile", "ended: out of memory"), ("eager", None), ("gst-tome", None))], found
            assert [row.get("x_eager") for row in made.rows()][:4] == [None, 1, 2.25, 2.25], made.rows()


def test_ours_that_fails_leaves_the_peers_rows():
    with MadeUp(results()[0]) as made:
        assert run(*made.command("--cells", "video_vit_large:8,video_vit_large:1", WHEN="ours 0 ends"))[0] == 0
        found = [(row["engine"], row.get("error"), row["unfinished"]) for row in made.rows()]
        note = "in round 1 of 2"
        assert found == 2 * [("gst-tome", "out of memory", note), ("compile", None, note), ("eager", None, note)], found


tap.main(globals())
