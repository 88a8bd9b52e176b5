# Sourced by the scripts next to it: where things are, and what all of them do. TOME_BUILD=DIR uses
# another build folder than build/; where there is none, elements that are installed serve.

# Of the standard files, those that are closed, before others take their numbers. To read alone: results
# that nobody would get stay an error.
{ : 8<&0; } 2>/dev/null || exec 0</dev/null
{ : 8>&1; } 2>/dev/null || exec 1</dev/null
{ : 8>&2; } || exec 2</dev/null
program=$(readlink -f "$0")
root=$(dirname "$(dirname "$program")")
build=${TOME_BUILD:-$root/build}
# Debian's own interpreter has GStreamer's bindings.
python=/usr/bin/python3
[ -x "$python" ] || python=python3
. "$root/build_jobs.sh"

# The comment that a script begins with.
show_help() { sed -n '2,/^set /s/^# \{0,1\}//p' "$program"; }

has_installed_elements() {
  local element
  for element in tomeclassify tomepublish; do
    # With a version: at first --exists asks for GStreamer's own.
    gst-inspect-1.0 --exists --atleast-version=0.1 "$element" >/dev/null 2>&1 || return
  done
}

# A build (made now if there is none, none was named and nothing is installed), and GStreamer finds its
# elements. With what is installed, TOME_BUILD stays unset, and `tome` is the one in PATH.
find_elements() {
  local made
  if ! [ -e "$build/build.ninja" ]; then
    if [ -n "${TOME_BUILD:-}" ]; then
      printf '%s: TOME_BUILD: there is no build in %s\n' "$(basename "$program")" "$build" >&2
      exit 2
    fi
    ! has_installed_elements || return 0
    "$root/setup.sh"
  fi
  # Each, since a build that was interrupted has some of them.
  for made in tools/tome gst-plugin/libgsttomeclassify.so gst-plugin/libgsttomepublish.so; do
    if ! [ -e "$build/$made" ]; then
      build_targets "$build" programs
      break
    fi
  done
  export GST_PLUGIN_PATH=$build/gst-plugin${GST_PLUGIN_PATH:+:$GST_PLUGIN_PATH}
  # Which beats the other, even if it is empty.
  if [ -n "${GST_PLUGIN_PATH_1_0+set}" ]; then
    export GST_PLUGIN_PATH_1_0=$build/gst-plugin${GST_PLUGIN_PATH_1_0:+:$GST_PLUGIN_PATH_1_0}
  fi
  export GST_REGISTRY=$build/gst-registry.bin
  export TOME_BUILD=$build
}

# All of a script whose work is done in Python: help, or the program, which hears the script's name
# and its arguments.
run_python() { # module, arguments
  local argument hold
  for argument in "${@:2}"; do
    case $argument in
      -h | --help)
        show_help
        exit 0
        ;;
      --) break ;;
    esac
  done
  find_elements
  # Held until Python hears them as stopping.py does: before that, it makes a traceback of a Ctrl-C.
  hold=(env --block-signal=INT --block-signal=TERM)
  "${hold[@]}" true 2>/dev/null || hold=()
  # Without what variables make of Python: other places of modules, warnings that are errors. And with
  # UTF-8 in any locale, which is what GStreamer takes.
  exec "${hold[@]}" "$python" -E ${PYTHONDONTWRITEBYTECODE:+-B} -X utf8 "$root/pipelines/start.py" "$1" \
    "$(basename "$program")" "${@:2}"
}
