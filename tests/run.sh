#!/usr/bin/env bash
# The test command of the README. The shaders are tested on whatever Vulkan driver there is; where none is, Mesa's software driver is installed first.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! ls /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json >/dev/null 2>&1 && command -v apt-get >/dev/null; then
    as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
    as_root apt-get update -qq
    as_root apt-get install -y -qq mesa-vulkan-drivers
fi

# what it says goes by as it comes, and is added up at the end
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --workspace "$@" | tee "$log" || status=$?
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 } END { printf "\nin all: %d passed, %d failed, %d ignored\n", passed, failed, ignored }' "$log"
exit "$status"
