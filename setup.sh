#!/bin/bash
# From a fresh Debian 12 to a finished build in build/. Run it as often as you like: what is there
# already is left alone.
#
#   ./setup.sh [meson options]      e.g. ./setup.sh -Dcuda=disabled -Dbuildtype=debug
#
# LibTorch comes from the torch wheel, into .venv/. LIBTORCH=DIR or -Dlibtorch=DIR takes one that is
# there already (a folder with include/ and lib/), in later runs too; -Dlibtorch= goes back to the wheel.
#
# CUDA: the kernels are compiled wherever nvcc is; where there is no CUDA toolkit, nvcc comes from its
# wheels, into .venv/ too (271 MB); offline they are left out, unless -Dcuda=enabled asks for them.
# LibTorch comes with its CUDA libraries (4.6 GB) if this machine has an NVIDIA driver or
# -Dcuda=enabled asks for them, as it should for an image that will run on GPUs, else without (1.3 GB).
# -Dcuda=disabled builds for the CPU alone, which is the quickest. With CUDA kernels and GStreamer's libgstcuda (of
# gstreamer1.0-plugins-bad), tomeclassify takes frames in CUDA memory.
set -euo pipefail

readonly CALLED_FROM=$PWD
cd "$(dirname "$(readlink -f "$0")")"
. ./build_jobs.sh
readonly TORCH_VERSION=2.11.0
readonly CUDA_VERSION=13.0
readonly VENV=.venv
readonly BUILD=build
# Debian's own interpreter where there is one: .venv then depends on nothing else in PATH.
PYTHON=/usr/bin/python3

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() {
  printf 'setup.sh: %s\n' "$*" >&2
  exit 2
}

# ---- what was asked ------------------------------------------------------------------------------

cuda=
libtorch=${LIBTORCH:-}
libtorch_asked=$libtorch
pkg_config_path_asked=
arguments=()
while [ $# -gt 0 ]; do
  argument=$1
  shift
  if [ "$argument" = -D ] && [ $# -gt 0 ]; then
    argument+=$1
    shift
  fi
  case $argument in
    -h | --help)
      sed -n '2,/^set /s/^# \{0,1\}//p' setup.sh # by a path that holds here, as "$0" need not
      exit 0
      ;;
    -Dlibtorch=*)
      libtorch=${argument#-Dlibtorch=}
      libtorch_asked=yes
      continue # it is passed on as a path that does not depend on where one is
      ;;
    -Dcuda=auto | -Dcuda=enabled | -Dcuda=disabled) cuda=${argument#-Dcuda=} ;;
    -Dcuda=*) die "found $argument, expected -Dcuda=auto, -Dcuda=enabled or -Dcuda=disabled" ;;
    -Dpkg_config_path=* | --pkg-config-path | --pkg-config-path=*) pkg_config_path_asked=yes ;;
  esac
  arguments+=("$argument")
done

# Of two first runs at once one would remove what the other makes. What may outlive this one, such as a
# compiler's cache or a service of a package, must not hold the lock: 9>&-.
lock_folder() {
  local status=0
  if [ -e .setup.lock ] && ! [ -w .setup.lock ]; then exec 9<.setup.lock; else exec 9>>.setup.lock; fi
  flock -n 9 || status=$?
  [ $status -ne 0 ] || return 0
  if [ $status -eq 1 ]; then
    say "Waiting for another setup.sh that is at work here"
    flock 9
  else
    say "This folder cannot be locked: no other setup.sh must be at work here"
  fi
}
lock_folder

# ---- Debian packages -----------------------------------------------------------------------------

readonly BUILD_PACKAGES=(
  g++ dpkg-dev meson ninja-build pkg-config python3-venv ca-certificates
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libpango1.0-dev
  nlohmann-json3-dev libcli11-dev libgtest-dev libmosquitto-dev librdkafka-dev
  libopencv-core-dev libopencv-imgproc-dev libopencv-imgcodecs-dev libopencv-videoio-dev
  libavformat-dev libavcodec-dev libavutil-dev libswscale-dev
  gir1.2-gst-rtsp-server-1.0)
readonly RUN_PACKAGES=(
  gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-libav
  python3-gi python3-gst-1.0 gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0)

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

install_packages() {
  local missing=() package
  for package in "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}"; do
    is_installed "$package" || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    say "Debian packages: all there"
    return
  fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "these Debian packages are missing, and neither root nor sudo \
is at hand to install them: ${missing[*]}"
    as_root=(sudo)
  fi
  say "Debian packages (a few minutes, in silence): installing ${missing[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y
    -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
  local log
  log=$(mktemp)
  if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "${missing[@]}"; } \
    >"$log" 2>&1 9>&-; then
    cat "$log" >&2
    die "apt-get could not install them, see above (all of it is in $log)"
  fi
  rm -f "$log"
}

if command -v apt-get >/dev/null; then
  install_packages
else
  say "No apt-get here: taking it that these are installed: ${BUILD_PACKAGES[*]} ${RUN_PACKAGES[*]}"
fi

[ -x "$PYTHON" ] || PYTHON=$(command -v python3) || die "python3 is missing"

# ---- what an earlier run was asked ---------------------------------------------------------------

# The folder whose build this is: another one than here, where a clone was moved or came from a cache.
made_in() {
  "$PYTHON" -I -X utf8 -c 'import json, os, sys
with open(sys.argv[1]) as file:
  sys.stdout.buffer.write(os.fsencode(json.load(file)["directories"]["source"]))' \
    "$BUILD/meson-info/meson-info.json" 2>/dev/null || echo "$PWD"
}
MADE_IN=$(made_in)
readonly MADE_IN

# The choices that the build folder was made with: `name = value`, where paths into the folder that was
# moved lead into this one.
kept_options() {
  local line before
  while IFS= read -r line; do
    for before in " = " , "'"; do
      line=${line//"$before$MADE_IN/"/"$before$PWD/"}
    done
    printf '%s\n' "$line"
  done < <(sed -n '/^\[properties\]/q; / = /p' "$BUILD/meson-private/cmd_line.txt" 2>/dev/null)
}
kept() { kept_options | sed -n "s/^$1 = //p"; }

cuda=${cuda:-$(kept cuda)}
cuda=${cuda:-auto}

has_nvidia_driver() { [ -e /proc/driver/nvidia/version ] || [ -e /dev/nvidiactl ]; }
if [ "$cuda" = enabled ] || { [ "$cuda" = auto ] && has_nvidia_driver; }; then
  torch_flavour=cuda
else
  torch_flavour=cpu
fi

# ---- LibTorch and nvcc ---------------------------------------------------------------------------

site_packages() { echo "$VENV"/lib/python3.*/site-packages; }
venv_torch() { echo "$(site_packages)/torch"; }

# RECORD is what pip writes last.
has_wheel() { # name, start of the version
  compgen -G "$(site_packages)/${1//-/_}-$2*.dist-info/RECORD" >/dev/null
}

# PIP_USER: some have pip install for the user wherever it is called, which it refuses in here.
pip_install() {
  PIP_USER=0 "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

make_venv() {
  # Not by its python, which is there before pip: an interrupted run has left only that.
  if "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then return; fi
  say "Python environment for LibTorch's wheel: $VENV/"
  rm -rf "$VENV"
  "$PYTHON" -m venv "$VENV"
}

install_torch_cpu() {
  if has_wheel torch "$TORCH_VERSION" && has_wheel nvidia-cuda-runtime "$CUDA_VERSION" &&
    has_wheel nvidia-cuda-cupti "$CUDA_VERSION"; then
    say "LibTorch $TORCH_VERSION: there"
    return
  fi
  say "LibTorch $TORCH_VERSION for the CPU, from its wheel (a download of 0.6 GB, 1.3 GB on disk)"
  # libtorch_cpu.so of the standard wheel needs these two CUDA libraries, and none of the others.
  # Its 2100 Python files are not compiled: without the rest of what it depends on nobody can import them.
  pip_install --no-compile --no-deps "torch==$TORCH_VERSION" "nvidia-cuda-runtime==$CUDA_VERSION.*" \
    "nvidia-cuda-cupti==$CUDA_VERSION.*"
}

# What torch needs with CUDA, as far as a run that was interrupted may lack it.
readonly TORCH_CUDA_WHEELS=(cuda-toolkit nvidia-{cublas,cudnn-cu13,cusparselt-cu13,nccl-cu13,nvshmem-cu13})

has_torch_cuda() {
  local wheel
  has_wheel torch "$TORCH_VERSION" || return
  for wheel in "${TORCH_CUDA_WHEELS[@]}"; do
    has_wheel "$wheel" "" || return
  done
}

install_torch_cuda() {
  if has_torch_cuda; then
    say "LibTorch $TORCH_VERSION with CUDA: there"
    return
  fi
  say "LibTorch $TORCH_VERSION with CUDA, from its wheels (4.6 GB on disk)"
  pip_install "torch==$TORCH_VERSION"
}

readonly NVCC_WHEELS=(nvidia-cuda-{nvcc,crt,runtime,cccl} nvidia-nvvm)

# Prints the nvcc to compile with.
find_nvcc() {
  local wheel wheels
  wheels=$(site_packages)/nvidia/cu13/bin/nvcc
  for wheel in "${NVCC_WHEELS[@]}"; do
    has_wheel "$wheel" "$CUDA_VERSION" || wheels=
  done
  core/cuda/find_nvcc.sh "$wheels"
}

# Status 1 where it could not, which is said.
install_nvcc() {
  local nvcc
  if ! nvcc=$(find_nvcc); then
    make_venv || return
    say "No CUDA toolkit ${CUDA_VERSION%%.*} here: nvcc $CUDA_VERSION from its wheels (271 MB)"
    pip_install --no-deps "${NVCC_WHEELS[@]/%/==$CUDA_VERSION.*}" || return
    nvcc=$(find_nvcc) || {
      say "nvcc is missing after installing its wheels"
      return 1
    }
  fi
  say "CUDA compiler: $nvcc"
}

is_libtorch() { [ -d "$1/include" ] && [ -d "$1/lib" ]; }

if [ -n "$libtorch" ]; then
  [[ $libtorch == /* ]] || libtorch=$CALLED_FROM/$libtorch
  is_libtorch "$libtorch" || die "LIBTORCH: found no include/ and lib/ in '$libtorch'"
elif [ -z "$libtorch_asked" ]; then
  # One that is gone, and the wheel, which may want another version or its CUDA libraries, are looked
  # for anew.
  libtorch=$(kept libtorch)
  if ! is_libtorch "$libtorch" || [ "$(readlink -f "$libtorch")" = "$(readlink -f "$(venv_torch)")" ]; then
    libtorch=
  fi
fi

if [ -n "$libtorch" ]; then
  libtorch=$(readlink -f "$libtorch")
  say "LibTorch: $libtorch"
else
  [ "$torch_flavour $cuda" != "cpu auto" ] ||
    say "No NVIDIA driver here: LibTorch without CUDA; for an image that will run on GPUs use -Dcuda=enabled"
  make_venv
  "install_torch_$torch_flavour"
  libtorch=$(readlink -f "$(venv_torch)")
fi
[ "$cuda" = disabled ] || install_nvcc || {
  [ "$cuda" = auto ] || die "-Dcuda=enabled: found no nvcc and could not install it, see above"
  say "No nvcc: built without CUDA kernels (-Dcuda=disabled does not ask)"
}

# ---- GStreamer's libraries of its "bad" set --------------------------------------------------------

# Their headers: of libgstcuda for frames in CUDA memory, which is compiled and tested without a GPU too, and
# of libgstanalytics, since GStreamer 1.24. Installing Debian's package of them would pull in OpenCV's and some
# 90 more (420 MB): it is unpacked (4 MB).
readonly GST_BAD=$PWD/$VENV/gst-bad

# Those that are here without their headers, where they would be used.
bare_gst_libraries() {
  local name
  for name in cuda analytics; do
    [ "$name $cuda" != "cuda disabled" ] || continue
    [ -e "$libraries/libgst$name-1.0.so.0" ] || continue
    [ -e "$GST_BAD/pkgconfig/gstreamer-$name-1.0.pc" ] || pkg-config --exists "gstreamer-$name-1.0" ||
      echo "$name"
  done
}

unpack_gst_bad() { # names
  local name package=libgstreamer-plugins-bad1.0-dev
  say "Headers for GStreamer's $*: of $package, into $VENV/gst-bad/"
  mkdir -p "$GST_BAD/pkgconfig"
  (cd "$GST_BAD" && apt-get -q download "$package" && dpkg -x "$package"_*.deb . && rm ./*.deb) \
    >"$GST_BAD/log" 2>&1 || {
    cat "$GST_BAD/log" >&2
    say "apt-get could not download $package: built without GStreamer's $*"
    return
  }
  for name; do
    # The link in the package leads to a library that is not beside it.
    ln -sf "$libraries/libgst$name-1.0.so.0" "$GST_BAD$libraries/libgst$name-1.0.so"
    # From where the file is: a path may have characters that mean something to sed and to pkg-config.
    sed 's|^prefix=.*|prefix=${pcfiledir}/../usr|' "$GST_BAD$libraries/pkgconfig/gstreamer-$name-1.0.pc" \
      >"$GST_BAD/pkgconfig/gstreamer-$name-1.0.pc"
  done
}

if command -v apt-get >/dev/null; then
  libraries=/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)
  [ "$cuda" = disabled ] || [ -e "$libraries/libgstcuda-1.0.so.0" ] ||
    say "Frames in CUDA memory: left out; install gstreamer1.0-plugins-bad (nvcodec) and run this again"
  mapfile -t bare < <(bare_gst_libraries)
  [ ${#bare[@]} -eq 0 ] || unpack_gst_bad "${bare[@]}"
fi

# ---- a broker for the tests ----------------------------------------------------------------------

# Debian's package of mosquitto would start a server on this machine: it is unpacked, with the
# libraries that nothing else here brings (1.5 MB). Without it the tests of MQTT are skipped.
readonly MOSQUITTO=$VENV/mosquitto

unpack_mosquitto() {
  say "A broker for the tests: mosquitto, into $MOSQUITTO/"
  rm -rf "$MOSQUITTO"
  mkdir -p "$MOSQUITTO"
  # Debian 13's takes one more library, whose package's name has its version. C: "Depends", untranslated.
  local websockets
  websockets=$(LC_ALL=C apt-cache depends mosquitto | sed -n 's/.* Depends: \(libwebsockets[^ ]*\)$/\1/p')
  (cd "$MOSQUITTO" && apt-get -q download mosquitto libdlt2 libwrap0 libcjson1 $websockets &&
    for package in ./*.deb; do dpkg -x "$package" .; done && rm ./*.deb) >"$VENV/mosquitto.log" 2>&1 || {
    say "apt-get could not download it (see $VENV/mosquitto.log): tests of MQTT will be skipped"
    rm -rf "$MOSQUITTO"
  }
}

if command -v apt-get >/dev/null && ! is_installed mosquitto &&
  ! [ -x "$MOSQUITTO/usr/sbin/mosquitto" ]; then
  unpack_mosquitto
fi

# ---- build ---------------------------------------------------------------------------------------

# What was not asked for keeps the value that an earlier run gave it, but for a LibTorch that is gone.
arguments+=("-Dlibtorch=$libtorch")

# The kept ones, and behind them what is not among them.
pkg_config_folders() {
  local all folders folder
  all=$(kept pkg_config_path)
  IFS=: read -ra folders <<<"${PKG_CONFIG_PATH:-}"
  for folder in "${folders[@]}" "$GST_BAD/pkgconfig"; do
    [ -z "$folder" ] || [[ ,$all, == *,"$folder",* ]] || all+=${all:+,}$folder
  done
  echo "$all"
}
if [ -d "$GST_BAD/pkgconfig" ] && [ -z "$pkg_config_path_asked" ]; then
  arguments+=("-Dpkg_config_path=$(pkg_config_folders)")
fi

# Of what is kept, what nothing in `arguments` overrides: meson does not take -Dname=… beside --name=….
keep_options() {
  local line name kept=()
  while IFS= read -r line; do
    name=${line%% = *}
    [[ " ${arguments[*]} " == *" -D$name="* || " ${arguments[*]} " == *" --${name//_/-}"[=\ ]* ]] ||
      kept+=("-D$name=${line#* = }")
  done < <(kept_options)
  arguments=("${kept[@]}" "${arguments[@]}")
}

# All that meson made but its record of the options: an interrupted run leaves enough for a `meson setup`
# that does nothing.
forget_build() {
  local file
  rm -f "$BUILD/build.ninja"
  for file in "$BUILD"/meson-private/*; do
    [ "${file##*/}" = cmd_line.txt ] || rm -rf "$file"
  done
}

# Of a clone that was moved, before a setup that fails says that the build is of here.
renew_options() {
  local options
  [ -e "$BUILD/meson-private/cmd_line.txt" ] || return 0
  options=$(kept_options)
  printf '[options]\n%s\n\n[properties]\n' "$options" >"$BUILD/meson-private/cmd_line.txt"
}

if [ -e "$BUILD/build.ninja" ] && [ "$MADE_IN" = "$PWD" ]; then
  say "Build folder $BUILD/: there"
  meson configure "$BUILD" "${arguments[@]}" 9>&-
else
  [ "$MADE_IN" = "$PWD" ] || say "This clone was $MADE_IN once: $BUILD/ is set up anew"
  keep_options
  forget_build
  renew_options
  say "Build folder $BUILD/: meson setup ${arguments[*]}"
  meson setup "$BUILD" "${arguments[@]}" >&2 9>&-
fi

say "Building with $(count_jobs) jobs"
# Without the tests, which tests/run.sh builds.
build_targets "$BUILD" programs 9>&-
say "Done: $BUILD/tools/tome, and the plugins in $BUILD/gst-plugin"
