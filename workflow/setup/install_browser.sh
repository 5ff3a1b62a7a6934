#!/usr/bin/env bash
# For the tests: a Chromium in which the report is opened. Installs Debian's where that is allowed;
# elsewhere says what to do, and the tests that need it are skipped with that reason.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
if [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null; then
    echo "set-up: installing chromium for the tests of the report"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || echo "set-up: apt-get update failed, trying with the index at hand" >&2
    apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core && exit 0
fi
echo "set-up: no Chromium, so the report is not tested in a browser." \
    "Debian, Ubuntu: sudo apt-get install chromium" >&2
