#!/bin/sh
# Installs the command line of Cortex @VERSION@: cortex and cortex-install.
#
#   curl -fsSL URL/install.sh | sh
#
#   CORTEX_DIST_URL       where the files of the release are (@URL@)
#   CORTEX_INSTALL_DIR    where the programs go (/usr/local/bin for root, else ~/.local/bin)
#
# Nothing is installed before the download has the sum that SHA256SUMS says.
set -eu

fail() {
  echo "install.sh: $*" >&2
  exit 1
}

fetch() {
  if command -v curl >/dev/null; then
    curl -fsSL "$1" -o "$2" || fail "cannot get $1"
  elif command -v wget >/dev/null; then
    wget -q "$1" -O "$2" || fail "cannot get $1"
  else
    fail "curl or wget is needed, and neither is there"
  fi
}

sum() {
  if command -v sha256sum >/dev/null; then
    sha256sum "$1" | cut -d ' ' -f 1
  elif command -v shasum >/dev/null; then
    shasum -a 256 "$1" | cut -d ' ' -f 1
  else
    fail "sha256sum or shasum is needed, and neither is there: what was downloaded cannot be verified"
  fi
}

# All is in a function, so that a download of this script that ends early does nothing.
main() {
  url=${CORTEX_DIST_URL:-@URL@}
  [ -n "$url" ] || fail "where is the release? CORTEX_DIST_URL=https://… says it"
  url=${url%/}
  case $(uname -s) in
    Linux) system=linux ;;
    Darwin) system=darwin ;;
    *) fail "$(uname -s) is not supported: Linux and macOS are" ;;
  esac
  case $(uname -m) in
    x86_64 | amd64) arch=amd64 ;;
    aarch64 | arm64) arch=arm64 ;;
    *) fail "$(uname -m) is not supported: x86_64 and arm64 are" ;;
  esac
  if [ -n "${CORTEX_INSTALL_DIR:-}" ]; then
    dir=$CORTEX_INSTALL_DIR
  elif [ "$(id -u)" = 0 ]; then
    dir=/usr/local/bin
  else
    dir=$HOME/.local/bin
  fi
  archive=cortex_@VERSION@_${system}_$arch.tar.gz
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  trap 'exit 130' INT TERM
  fetch "$url/SHA256SUMS" "$work/SHA256SUMS"
  expected=$(grep "  $archive\$" "$work/SHA256SUMS" | cut -d ' ' -f 1)
  [ -n "$expected" ] || fail "$url has no $archive"
  fetch "$url/$archive" "$work/$archive"
  found=$(sum "$work/$archive")
  [ "$found" = "$expected" ] || fail "$archive is not what SHA256SUMS says: its sum is $found, and should be $expected. Nothing was installed"
  tar -xzf "$work/$archive" -C "$work"
  mkdir -p "$dir" || fail "cannot make $dir; CORTEX_INSTALL_DIR names another folder"
  for program in cortex-install cortex; do
    # Renamed into place, so that a program that runs is not written into.
    cp "$work/$program" "$dir/.$program.new" || fail "cannot write into $dir; CORTEX_INSTALL_DIR names another folder"
    mv -f "$dir/.$program.new" "$dir/$program"
  done
  echo "cortex @VERSION@ is in $dir"
  case ":$PATH:" in
    *":$dir:"*) ;;
    *) echo "It is not in your PATH:  export PATH=\"$dir:\$PATH\"" ;;
  esac
  echo "Next:  cortex deploy FILE   (cortex help lists everything; to remove it: rm $dir/cortex $dir/cortex-install)"
}

main "$@"
