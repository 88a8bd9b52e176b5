"""bench/gpu/timeline.py: what runs when inside a forward, from made-up traces. No number here is a measurement."""

import sys

import tap
from program import ROOT

sys.path.insert(0, str(ROOT / "bench" / "gpu"))
import timeline  # noqa: E402


def body(name):
    return f"_ZN4tome4cuda8run_bodyINS0_{len(name)}{name}INS0_4Bf16EEEEEvNT_6ParamsE"


def trace_of(*forwards):
    """Lines as gpu_trace writes them: kernels of (microseconds, gap before it, name), one after another; a
    negative gap is the time that two run beside each other. Patch embeddings are of two kernels."""
    lines, at = [], 0.0
    for forward in forwards:
        for us, gap, name in [(5, 40, "patch_product"), (1, 1, "splitKreduce"), *forward]:
            begin = at + gap
            at = max(at, begin + us)
            lines.append(f"{begin * 1000:.0f} {(begin + us) * 1000:.0f} 7 132 128 {name}\n")
    lines.reverse()  # records come in no order
    return [*lines, "123 45"]  # and the last line may be cut short


PLAIN = [(10, 1, body("EmbedBody")), (100, 3, "nvjet_a"), (50, 1, body("GroupAttentionBody")), (4, 2, body("PoolBody")),
         (20, 3, "nvjet_b")]
MERGED = [(10, 1, body("EmbedBody")), (80, 3, "nvjet_a"), (40, 1, body("GroupAttentionBody")), (8, -6, body("MatchBody")),
          (9, 2, body("MergeStreamBody")), (4, 2, body("PoolBody")), (15, 5, "nvjet_b")]


def test_timeline():
    found = timeline.forwards(timeline.read(trace_of(PLAIN, MERGED, PLAIN, MERGED)))
    assert [len(forward) for forward in found] == [5, 7] * 2, found
    pair = timeline.by_schedule(found)
    unmerged, less = (timeline.summary(forward) for forward in pair)
    assert (unmerged["us"], unmerged["busy_us"], unmerged["gaps_us"]) == (193, 184, 9), unmerged
    assert unmerged["kinds"][0] == ["products", 2, 120], unmerged
    # Matching begins 6 us before attention ends, and ends 2 us after it.
    assert (less["us"], less["busy_us"], less["gaps_us"]) == (173, 160, 13), less
    assert ["matching", 1, 8] in less["kinds"] and ["merge and LayerNorm", 1, 9] in less["kinds"], less
    text = timeline.table("a:1:8", pair)
    assert "| no kernel runs | 9 us | 13 us |" in text and "| matching |  | 1 launches, 8 us |" in text, text


def test_timeline_knows_our_kernels():
    kinds = {name: timeline.kind_of(body(name)) for name in ("RankEdgesBody", "GroupEdgesBody", "WritePlanBody", "SourceBody")}
    assert kinds == {"RankEdgesBody": "matching", "GroupEdgesBody": "matching", "WritePlanBody": "matching",
                     "SourceBody": "others"}, kinds
    assert timeline.kind_of("nvjet_sm90_tst_128x128") == "products"


def test_timeline_of_one_kind_is_refused():
    for forwards in ([], [PLAIN], [PLAIN, PLAIN, PLAIN]):
        try:
            timeline.by_schedule(timeline.forwards(timeline.read(trace_of(*forwards))))
            raise AssertionError(f"{len(forwards)} forwards of one kind were taken")
        except SystemExit as stop:
            assert "expected two kinds" in str(stop), stop


tap.main(globals())
