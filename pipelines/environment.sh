# Sourced by the scripts next to it: where things are, and what all of them do. TOME_BUILD=DIR uses
# another build folder than build/.
program=$(readlink -f "$0")
root=$(dirname "$(dirname "$program")")
build=${TOME_BUILD:-$root/build}
# Debian's own interpreter has GStreamer's bindings.
python=/usr/bin/python3
[ -x "$python" ] || python=python3
. "$root/build_jobs.sh"

# The comment that a script begins with.
show_help() { sed -n '2,/^set /s/^# \{0,1\}//p' "$program"; }

# A build (made now if there is none and none was named), and GStreamer finds its elements.
find_elements() {
  local made
  if ! [ -e "$build/build.ninja" ]; then
    if [ -n "${TOME_BUILD:-}" ]; then
      printf '%s: TOME_BUILD: there is no build in %s\n' "$(basename "$program")" "$build" >&2
      exit 2
    fi
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
  export GST_REGISTRY=$build/gst-registry.bin
  export TOME_BUILD=$build
}

# All of a script whose work is done in Python: help, or the program, which hears the script's name
# and its arguments.
run_python() { # program, arguments
  local argument
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
  exec "$python" "$root/pipelines/$1" "$(basename "$program")" "${@:2}"
}
