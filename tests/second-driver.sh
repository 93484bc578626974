#!/usr/bin/env bash
# The GPU tests once more, on SwiftShader: a software Vulkan driver with subgroups of 4 lanes and without f16, which shares no code with Mesa's. CI runs it
# after tests/run.sh. The library comes with Debian's chromium-common and works alone, so it is unpacked under target/ and nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { echo "second driver: SKIPPED, $1"; exit 0; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

driver=/usr/lib/chromium
if [ ! -e "$driver/libvk_swiftshader.so" ]; then
    unpacked=$PWD/target/swiftshader
    driver=$unpacked/usr/lib/chromium
    if [ ! -e "$driver/libvk_swiftshader.so" ]; then
        command -v apt-get >/dev/null || skip "no SwiftShader in /usr/lib/chromium, and no apt-get to fetch it"
        mkdir -p "$unpacked"
        { as_root apt-get update -qq && (cd "$unpacked" && apt-get -o APT::Sandbox::User=root download -qq chromium-common); } || skip "apt-get cannot fetch chromium-common"
        dpkg-deb --fsys-tarfile "$unpacked"/chromium-common_*.deb | tar -x -C "$unpacked" --wildcards './usr/lib/chromium/*swiftshader*' \
            || skip "this chromium-common has no SwiftShader"
        rm "$unpacked"/chromium-common_*.deb
    fi
fi

echo "second driver: SwiftShader ($driver/libvk_swiftshader.so) runs the GPU tests"
# The first name is that of today's Vulkan loaders, the second that of older ones. The adapter is named so that no other driver can stand in.
export VK_DRIVER_FILES=$driver/vk_swiftshader_icd.json VK_ICD_FILENAMES=$driver/vk_swiftshader_icd.json PERCEPT_ADAPTER=SwiftShader
# every module with tests that open the GPU (a test of the repository compares), and single tests of modules that are busy on the CPU otherwise
cargo test --quiet -p percept-tests --test percept -- \
    gpu:: autograd:: blocks:: cast:: generate:: memory:: movement:: optim:: sampling:: shaders:: tune:: op_table::the_gpu_ update::both_devices_ trainer::a_gpu_
echo "second driver: SwiftShader passes"
