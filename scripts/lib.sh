# What the scripts here share: finding a Python that works, and making a virtual environment with it.
# Sourced, with $0 the script beside it; leaves the current folder alone and sets $root.
# POSIX sh. Needs nothing but a Python >= 3.10 with venv.

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd) || exit 1

#: The minor versions of CPython 3 that conctrace serves, newest first.
minors='13 12 11 10'

say() {
    printf '%s\n' "$*" >&2
}

# works PYTHON [MINOR]: is it a CPython that conctrace serves (3.MINOR, when given) and that can make a
# virtual environment? The python3.N on PATH may be shims that fail, so it is run, not just looked for.
works() {
    "$1" -c "
import sys, ensurepip, venv
minors = [int(minor) for minor in '${2:-$minors}'.split()]
served = sys.implementation.name == 'cpython' and sys.version_info[0] == 3 and sys.version_info[1] in minors
sys.exit(not served)" >/dev/null 2>&1
}

# pyenv_pythons MINOR: the interpreters that pyenv has of 3.MINOR, one a line.
pyenv_pythons() {
    pyenv_root=$(pyenv root 2>/dev/null) || pyenv_root=${PYENV_ROOT:-${HOME:-}/.pyenv}
    for candidate in "$pyenv_root"/versions/3."$1".*/bin/python; do
        printf '%s\n' "$candidate"
    done
}

# find_python MINOR: prints a working 3.MINOR, or fails.
find_python() {
    for candidate in "python3.$1" python3 $(pyenv_pythons "$1"); do
        if works "$candidate" "$1"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

# any_python: prints a working Python that conctrace serves, python3 before all others, or fails.
any_python() {
    if works python3; then
        command -v python3
        return 0
    fi
    for minor in $minors; do
        find_python "$minor" && return 0
    done
    say "No Python from 3.10 to 3.13 with venv was found. On Debian: apt-get install python3 python3-venv"
    return 1
}

# make_venv FOLDER PYTHON [EXTRA]: an editable install of conctrace, with the packages of EXTRA, in FOLDER.
# What is there is used again, unless the interpreter, the place or what is to be installed has changed.
make_venv() {
    key="$2 $root $(cat "$root/pyproject.toml" "$root/setup.py" "$root/src/conctrace-startup.pth" | cksum)"
    stamp=$1/conctrace-installed
    if grep -qxF -e "$key ${3:-}" "$stamp" 2>/dev/null && "$1/bin/python" -c 0; then
        build_native "$1"
        return
    fi
    say "Installing conctrace in ${1#"$root"/} ..."
    rm -rf "$1"
    "$2" -m venv "$1" || return 1
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check \
        --editable "$root${3:+[$3]}" || return 1
    # An install with an extra serves those who ask for none, too.
    printf '%s \n%s %s\n' "$key" "$key" "${3:-}" >"$stamp"
    native_key "$1" >"$1/conctrace-native"
}

# build_native VENV: compiles the native recorder for make_venv's VENV, if what is there was made otherwise.
build_native() {
    native_key "$1" | cmp -s - "$1/conctrace-native" && return 0
    say "Building the native recorder for ${1#"$root"/} ..."
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --editable "$root" || return 1
    native_key "$1" >"$1/conctrace-native"
}

# native_key VENV: what the native recorder there is made of and how, and whether it is there.
native_key() {
    cat "$root"/src/conctrace/recorder/native/*.[ch] | cksum
    printf '%s\n' "${CONCTRACE_NATIVE:-} ${CONCTRACE_WERROR:-} $(compiler "$1/bin/python")" "$(native_module "$1")"
}

# compiler PYTHON: the C compiler that extensions of this Python are built with; fails when it or Python.h is not here.
compiler() {
    "$1" - <<'END'
import os, shutil, sys, sysconfig
found = shutil.which((os.environ.get("CC") or sysconfig.get_config_var("CC")).split()[0])
print(found)
sys.exit(not found or not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
END
}

# native_module VENV: the file of the native recorder that this Python imports; empty where there is none.
# "older" when a source has changed since: virtual environments of one Python share the file.
native_module() {
    module=$("$1/bin/python" -c 'from conctrace.recorder import _recorder; print(_recorder.__file__)' 2>/dev/null) ||
        return 0
    if [ "$(find "$root/src/conctrace/recorder/native" -name '*.[ch]' -newer "$module")" ]; then
        echo older
    else
        printf '%s\n' "$module"
    fi
}
