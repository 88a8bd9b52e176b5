"""Arguments that name sources: files and addresses, and what their results are called."""
import argparse
import os
import re
import sys
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import gi
gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst

from output import say

PLUGINS_BAD, PLUGINS_GOOD = "gstreamer1.0-plugins-bad", "gstreamer1.0-plugins-good"
# Of protocols that a usual installation may lack, Debian's package.
PACKAGES = {"srt": PLUGINS_BAD, "rtmp": PLUGINS_BAD, "rtmps": PLUGINS_BAD,
            "http": PLUGINS_GOOD, "https": PLUGINS_GOOD, "v4l2": PLUGINS_GOOD}
WEB_SCHEMES = ("http", "https")
LIVE_SCHEMES = ("rtsp", "rtspt", "rtspu", "rtsps", "rtspst", "rtmp", "rtmps", "srt", "udp", "v4l2")
# Live for us, not for GStreamer, which takes the time stamps of these as they come.
STAMPED_BY_CAMERA = WEB_SCHEMES + ("rtmp", "rtmps")
# What a web server has that ends one day; anything else there is a camera's (MJPEG) or a playlist (HLS).
FILE_SUFFIXES = (".mp4", ".m4v", ".mkv", ".webm", ".avi", ".mov", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg",
                 ".wmv", ".flv", ".ogv", ".ogg", ".3gp", ".jpg", ".jpeg", ".png")


class Parser(argparse.ArgumentParser):
    """Errors are one line on stderr, and status 2. They repeat no password, wherever it was given."""

    def __init__(self, program):
        super().__init__(prog=program, add_help=False, allow_abbrev=False)
        self.arguments = []

    def parse_args(self, arguments):
        self.arguments = arguments
        return super().parse_args(arguments)

    def say(self, message):
        say(self.prog, message)

    def error(self, message):
        self.say(self.without_passwords(message))
        sys.exit(2)

    def without_passwords(self, message):
        """What stands there for long is read by many: stderr is kept in journals."""
        given = {part for text in self.arguments for part in (text, text.partition("=")[2]) if part}
        for text in sorted(given, key=len, reverse=True):  # one may be a part of another
            for written in (text, repr(text)[1:-1]):  # argparse quotes some
                message = message.replace(written, without_password(text))
        return message


def without_password(text):
    """What may be repeated of an argument. An address may be mistyped, so that no other look tells it
    from the name of a file that does not exist."""
    if os.path.exists(text) or ("@" not in text and "//" not in text):
        return text
    shown = re.sub(r"(?s)^.*@", "…@", text)
    shown = re.sub(r"(//[^/:]*):[^/]*", r"\1:…", shown)
    return re.sub(r"(?s)(\?|[^/]*=).*", "…", shown)


def name_sources(texts, parser):
    """(name, URI) of each [NAME=]SOURCE; a name that is taken gets a number."""
    named, taken = [], set()
    for text in texts:
        name, place = None, text
        given = re.fullmatch(r"([^/:=]+)=(.+)", text)
        if given and not os.path.exists(text):
            name, place = given.groups()
        if re.fullmatch(r"/dev/(video\d+|v4l/.+)", place):
            place = f"v4l2://{place}"
        place = path_given(place)
        if os.path.isfile(place):
            uri = Path(place).resolve().as_uri()
        elif is_utf8(place) and Gst.uri_is_valid(place):
            uri = with_host(place)
            name = name or name_of(place)
            if why := why_not(uri):
                parser.error(f"{name}: {why}")
        else:
            parser.error(why_no_file(place))
        name = (name or name_of(uri)).encode(errors="replace").decode()
        unique, number = name, 2
        while unique in taken:
            unique, number = f"{name}-{number}", number + 1
        taken.add(unique)
        named.append((unique, uri))
    return named


def path_given(text):
    """The path in an address file://...; all else is returned as it is."""
    found = re.fullmatch(r"(?is)file://[^/]*(/.*)", text)
    return os.fsdecode(unquote_to_bytes(os.fsencode(found[1]))) if found else text


def with_host(uri):
    """udp://:5000 and udp://@:5000 with the host that they mean: GStreamer 1.26 asks for one."""
    return re.sub(r"(?i)^udp://@?(?=:\d)", "udp://0.0.0.0", uri)


def why_no_file(place):
    if os.path.isdir(place):
        return f"'{place}' is a folder, expected a file; `tome classify` takes folders"
    return f"'{place}' is no regular file" if os.path.exists(place) else f"there is no file '{place}'"


def is_utf8(text):
    """False for what Python keeps of arguments in other encodings."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def scheme_of(uri):
    return uri.partition(":")[0].lower()


def is_live(uri):
    """True for what is connected to again when it ends."""
    scheme = scheme_of(uri)
    if scheme in WEB_SCHEMES:
        return not path_of(uri).endswith(FILE_SUFFIXES)
    return scheme in LIVE_SCHEMES


def path_of(uri):
    """In small letters, to look at how it ends."""
    return re.sub(r"^[^:]*:(//[^/?#]*)?|[?#].*", "", uri).lower()


def name_of(uri):
    """A file's name; of an address host and path, not all of it: the rest may hold a password."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
    except ValueError:
        return scheme_of(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path)).name
    # A password with a slash in it reaches into the path, and some recorders want user=…&password=…
    # there.
    path = parts.path.rpartition("@")[2] if "@" in parts.path else host + parts.path
    return re.split(r"/?[^/]*=", path)[0] or host or parts.scheme


def why_not(uri):
    """What this installation lacks to open an address, or is wrong with it; None if nothing. Nothing of
    that would mend while a camera is connected to again and again."""
    scheme = scheme_of(uri)
    try:
        Gst.Element.make_from_uri(Gst.URIType.SRC, uri, None)
    except GLib.Error as error:
        if error.matches(Gst.uri_error_quark(), Gst.URIError.UNSUPPORTED_PROTOCOL):
            return missing(f"no GStreamer plugin for {scheme}://", PACKAGES.get(scheme))
        return f"this is no address that GStreamer's plugin for {scheme}:// takes"
    # All that comes over UDP without RTP.
    if scheme == "udp" and lacks("tsdemux"):
        return missing("no GStreamer plugin for MPEG-TS (tsdemux)", PLUGINS_BAD)
    if scheme in WEB_SCHEMES and path_of(uri).endswith(".m3u8") and (lacks("hlsdemux") or lacks("tsdemux")):
        return missing("no GStreamer plugin for HLS (hlsdemux)", PLUGINS_BAD)
    return None


def lacks(element):
    return Gst.ElementFactory.find(element) is None


def missing(what, package):
    return f"{what}; Debian has it in {package}" if package else what
