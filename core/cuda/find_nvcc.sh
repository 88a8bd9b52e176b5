#!/bin/sh
# Prints the nvcc to compile with: the first of CUDA 13 in PATH, in /usr/local/cuda and behind them in the
# arguments. Where there is none, prints what there is instead, and the status is 1.
#
# Of another major version, the driver's demands, the wheels' libraries and signatures would be others.
found=none
for nvcc in "$(command -v nvcc)" /usr/local/cuda/bin/nvcc "$@"; do
  [ -x "$nvcc" ] || continue
  release=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
  case $release in
    13.*)
      echo "$nvcc"
      exit
      ;;
  esac
  [ "$found" != none ] || found="${release:-unknown} ($nvcc)"
done
echo "$found"
exit 1
