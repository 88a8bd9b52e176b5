"""An example of a detector: regions that move, as GstVideoRegionOfInterestMeta.

Any detector serves tomeclassify inference-region=roi-list if it attaches that meta to its buffers, as
DL Streamer's gvadetect does. This one needs nothing but GStreamer's Python bindings: it compares
samples of the luma with the frame before. A region keeps its number (`object_id`) from frame to frame
as long as it overlaps itself, so that reclassify-interval works.
"""
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstVideo", "1.0")
from gi.repository import Gst, GstVideo

CAPS = "video/x-raw,format={NV12,I420}"  # luma first
STEP = 8  # pixels between two samples
LEAST_CHANGE = 24  # of a sample, of 255
LEAST_SAMPLES = 4  # of a region
NEAR = range(-4, 5)  # samples: of a thing of one colour only the edges change
TO_THE_END = (1 << 64) - 1
COPY_ALL = (Gst.BufferCopyFlags.FLAGS | Gst.BufferCopyFlags.TIMESTAMPS |
            Gst.BufferCopyFlags.META | Gst.BufferCopyFlags.MEMORY)


class MotionDetector:
    """Works on an `identity`: takes the buffers of its sink pad and pushes copies with regions.

    Python holds a reference to every buffer that it sees, which makes it read-only; so the metas go on
    a copy, which shares the pixels.
    """

    def __init__(self, identity):
        self.source_pad = identity.get_static_pad("src")
        self.before = None
        self.tracks = {}  # number: region of the frame before
        self.next_number = 1
        identity.get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, self.on_buffer)

    def on_buffer(self, pad, info):
        video = GstVideo.VideoInfo.new_from_caps(pad.get_current_caps())
        width, height = video.width, video.height
        copy = info.get_buffer().copy_region(COPY_ALL, 0, TO_THE_END)
        samples = sample_luma(copy, width, height)
        same_size = self.before is not None and len(self.before) == len(samples) and \
            len(self.before[0]) == len(samples[0])
        regions = moving_regions(self.before, samples) if same_size else []
        self.before = samples
        for number, (x, y, w, h) in self.track(regions).items():
            region = GstVideo.buffer_add_video_region_of_interest_meta(
                copy, "moving", x, y, min(w, width - x), min(h, height - y))
            region.add_param(Gst.Structure.new_from_string(f"object_id, id=(int){number}"))
        self.source_pad.push(copy)
        return Gst.PadProbeReturn.HANDLED

    def track(self, regions):
        """The regions by number: that of the region before that each overlaps, or a new one."""
        tracks = {}
        for region in regions:
            number = next((number for number, before in self.tracks.items()
                           if number not in tracks and overlap(region, before)), None)
            if number is None:
                number, self.next_number = self.next_number, self.next_number + 1
            tracks[number] = region
        self.tracks = tracks
        return tracks


def sample_luma(buffer, width, height):
    """Every STEP-th pixel of every STEP-th row."""
    meta = GstVideo.buffer_get_video_meta(buffer)
    offset, stride = (meta.offset[0], meta.stride[0]) if meta else (0, (width + 3) // 4 * 4)
    with buffer.map(Gst.MapFlags.READ) as mapped:
        return [bytes(mapped.data[start:start + width:STEP])
                for start in range(offset, offset + stride * height, stride * STEP)]


def moving_regions(before, now):
    """Bounding boxes (x, y, w, h), in pixels, of samples that changed and are near each other."""
    changed = {(x, y) for y, (old, new) in enumerate(zip(before, now)) if old != new
               for x, (a, b) in enumerate(zip(old, new)) if abs(a - b) >= LEAST_CHANGE}
    regions = []
    while changed:
        found, ahead = [], [changed.pop()]
        while ahead:
            x, y = ahead.pop()
            found.append((x, y))
            near = {(x + dx, y + dy) for dx in NEAR for dy in NEAR} & changed
            changed -= near
            ahead += near
        if len(found) < LEAST_SAMPLES:
            continue
        left, top = min(x for x, _ in found), min(y for _, y in found)
        right, bottom = max(x for x, _ in found), max(y for _, y in found)
        regions.append((left * STEP, top * STEP, (right - left + 1) * STEP,
                        (bottom - top + 1) * STEP))
    return sorted(regions)


def overlap(a, b):
    return (a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and
            a[1] < b[1] + b[3] and b[1] < a[1] + a[3])
