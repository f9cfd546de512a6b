#!/bin/sh
# Download Google's benchmark_model for a 64-bit Arm phone, and keep it only when its SHA-256 is the one you confirm.
#
#     get_harness.sh [v1|v2] [FILE]      FILE: else benchmark_model_v1 or _v2 beside this script
#
# v1 is the Interpreter's tool (it can compare outputs), v2 the CompiledModel's. Google publishes no checksums, so the
# first call shows the one of what came and keeps nothing; say it in HARNESS_SHA256 to keep the file. HARNESS_URL names
# another address, such as a copy of your own.
set -eu

fail() {
    printf 'get_harness.sh: %s\n' "$1" >&2
    exit "${2:-1}"
}

version=${1:-v1}
# v1: https://ai.google.dev/edge/litert/models/measurement (a nightly build: it changes).
# v2: https://ai.google.dev/edge/litert/next/benchmark links "latest"; a release stays what it is.
case $version in
v1) address=https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/nightly/latest/android_aarch64_benchmark_model ;;
v2) address=https://storage.googleapis.com/litert/binaries/2.2.0/android_arm64/benchmark_model ;;
*) fail "$version: no such harness; say v1 or v2" 2 ;;
esac
address=${HARNESS_URL:-$address}
target=${2:-$(dirname "$0")/benchmark_model_$version}

part=$(mktemp "$target.XXXXXX") || fail "$target: cannot be written" 2
trap 'rm -f "$part" "$part.said"' EXIT
if command -v curl >/dev/null; then
    curl --fail --silent --show-error --location --connect-timeout 20 --output "$part" "$address" 2>"$part.said" || failed=$?
elif command -v wget >/dev/null; then
    wget --quiet --timeout=20 --tries=1 --output-document="$part" "$address" 2>"$part.said" || failed=$?
else
    fail "neither curl nor wget: install one"
fi
if [ "${failed:-0}" -ne 0 ]; then
    fail "cannot download $address ($(tr '\n' ' ' <"$part.said" | sed 's/ *$//')): connect to the network, or copy a benchmark_model here and name it with --harness"
fi

if [ "$(head -c 4 "$part" | tail -c 3)" != ELF ]; then
    fail "$address: what came is no program"
fi
if command -v sha256sum >/dev/null; then
    found=$(sha256sum "$part" | cut -d ' ' -f 1)
else
    found=$(shasum -a 256 "$part" | cut -d ' ' -f 1)
fi
if [ -z "${HARNESS_SHA256:-}" ]; then
    fail "$address: its SHA-256 is $found, which nobody here has confirmed; if it is what you want: HARNESS_SHA256=$found $0 $version"
fi
if [ "$found" != "$HARNESS_SHA256" ]; then
    fail "$address: its SHA-256 is $found instead of $HARNESS_SHA256; nothing was kept"
fi
chmod 755 "$part"
mv "$part" "$target"
trap 'rm -f "$part.said"' EXIT
printf '%s\n' "$target"
