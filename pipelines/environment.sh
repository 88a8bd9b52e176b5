# Sourced by the scripts next to it, which set `root`: a build (made now if there is none), and
# GStreamer finds its elements. TOME_BUILD=DIR uses another build folder than build/.
build=${TOME_BUILD:-$root/build}
[ -e "$build/build.ninja" ] || "$root/setup.sh"
# Each, since a build that was interrupted has some of them.
for made in tools/tome gst-plugin/libgsttomeclassify.so gst-plugin/libgsttomepublish.so; do
  [ -e "$build/$made" ] || { ninja -C "$build" programs >&2 && break; }
done
export GST_PLUGIN_PATH=$build/gst-plugin${GST_PLUGIN_PATH:+:$GST_PLUGIN_PATH}
export GST_REGISTRY=$build/gst-registry.bin
# Debian's own interpreter has GStreamer's bindings.
python=/usr/bin/python3
[ -x "$python" ] || python=python3
