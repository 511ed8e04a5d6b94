"""What a guest is asked, word for word: constants for any POSIX shell, busybox's or another.

Nothing is ever put into these texts. What varies (roots, file names) goes to standard input, where
it is read as data; answers are records that end in NUL, because a file name can hold all else.
"""

from __future__ import annotations

from shlex import quote

from scheduler.model import UNIT_TYPES

# `stat` answers for many files at once; one that is gone meanwhile stands as "-".
_CHUNK = r"""
printf "C%d\0" $#
printf "%s\0" "$@"
if lines=$(stat -c "%f %s %u %g %d" -- "$@" 2>/dev/null); then
    printf "%s\0" "$lines"
else
    for file do stat -c "%f %s %u %g %d" -- "$file" 2>/dev/null || echo -; done
    printf "\0"
fi
"""

# What `$(...)` would cut off at a target's end is kept by a dot.
_LINKS = r"""
for file do
    target=$(readlink "$file" 2>/dev/null && echo .) || continue
    target=${target%?.}
    printf "L%s\0%s\0" "$file" "$target"
done
"""

# systemctl waits for a busy systemd as long as we do, not the half minute that it would by itself.
# Standard input: "X" and a path not to go below, or "R" and a root, a line each; roots last.
_LISTING = r"""
LC_ALL=C PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_BUS_TIMEOUT=600
export LC_ALL PATH SYSTEMD_BUS_TIMEOUT
info=/var/lib/dpkg/info
chunk=@CHUNK@
links=@LINKS@

section() {
    printf "S%s\0" "$1"
    shift
    "$@" 2>/dev/null </dev/null
    set -- $?
    printf "\0"
    return "$1"
}

# What is nothing unless it is all: an empty answer would say that there is nothing.
told() {
    section "$@" || printf "F%s\0" "$1"
}

packages() {
    if [ -f /var/lib/dpkg/status ]; then
        told dpkg grep -E \
            "^(Package|Status|Architecture|Version|Conffiles|Description):|^ /|^$" \
            /var/lib/dpkg/status
    elif command -v rpm >/dev/null; then
        told rpm rpm -qa --qf "%{NAME}\t%{EPOCHNUM}\t%{VERSION}-%{RELEASE}\n"
    elif [ -f /lib/apk/db/installed ]; then
        told apk grep -E "^[PV]:" /lib/apk/db/installed
    elif [ -f /usr/lib/apk/db/installed ]; then
        told apk grep -E "^[PV]:" /usr/lib/apk/db/installed
    fi
}

# A root may be a link: what is below its target is told below its own name.
walk() {
    root=$1
    shift
    printf "R%s\0" "$root"
    if [ ! -e "$root" ] && [ ! -h "$root" ]; then
        printf "D%s\0" "$root"
        return
    fi
    if [ -h "$root" ] && [ ! -d "$root" ]; then
        printf "T\0"
        sh -c "$chunk$links" sh "$root" </dev/null
        printf "E%s\0" "$root"
        return
    fi
    if [ -h "$root" ]; then printf "T%s\0" "$(stat -L -c "%d" -- "$root" 2>/dev/null)"; fi
    find -H "$root" -xdev -type d \( -name .cache -o -name __pycache__ "$@" \) -prune \
        -exec sh -c "$chunk" sh {} + -o -exec sh -c "$chunk" sh {} + </dev/null 2>/dev/null
    ended=$?
    find -H "$root" -xdev -type d \( -name .cache -o -name __pycache__ "$@" \) -prune -o \
        -type l -exec sh -c "$links" sh {} + </dev/null 2>/dev/null
    ended=$ended$?
    if [ -h "$root" ]; then sh -c "$links" sh "$root" </dev/null; fi
    if [ "$ended" = 00 ]; then printf "D%s\0" "$root"; else printf "E%s\0" "$root"; fi
    if command -v getcap >/dev/null; then
        told capabilities find -H "$root" -xdev \
            -type d \( -name .cache -o -name __pycache__ "$@" \) -prune \
            -o -type f -exec getcap {} +
    fi
    if command -v getfacl >/dev/null; then
        told acl find -H "$root" -xdev \
            -type d \( -name .cache -o -name __pycache__ "$@" \) -prune \
            -o \( -type f -o -type d \) -exec getfacl -E -n -p -s {} +
    fi
    if [ -d "$info" ]; then
        section owned find "$info" -name "*.list" -exec grep -H -F -e "${root%/}/" {} +
        section sums find "$info" -name "*.md5sums" -exec grep -H -F -e "  ${root#/}/" {} +
    fi
}

section passwd cut -d: -f1,3 /etc/passwd
section group cut -d: -f1,3 /etc/group
if [ -f /etc/os-release ]; then section system cat /etc/os-release; fi
packages
for directory in /var/lib/dpkg/alternatives /var/lib/alternatives; do
    if [ -d "$directory" ]; then
        told alternatives find "$directory" -type f -exec grep -H -e "" {} +
    fi
done
if [ -d /run/systemd/system ]; then
    told files systemctl list-unit-files --type=@TYPES@ --no-legend --no-pager --plain
    told units systemctl list-units --type=@TYPES@ --all --no-legend --no-pager --plain
fi
while IFS= read -r line; do
    case $line in
    X*) set -- "$@" -o -path "${line#X}" ;;
    R*) walk "${line#R}" "$@" ;;
    esac
done
printf "Z\0"
"""


def _command(script: str) -> str:
    """Return the line that any login shell makes run this script."""
    return f"exec sh -c {quote(script)}"


LISTING = _command(
    _LISTING.replace("@CHUNK@", quote(_CHUNK))
    .replace("@LINKS@", quote(_LINKS))
    .replace("@TYPES@", ",".join(UNIT_TYPES))
)
# Standard input of these: absolute names of files, each with NUL behind it.
SHA256 = _command("LC_ALL=C; export LC_ALL; exec xargs -0 sha256sum 2>/dev/null")
MD5 = _command("LC_ALL=C; export LC_ALL; exec xargs -0 md5sum 2>/dev/null")
ODD_SHA256 = _command(
    "exec xargs -0 sh -c '"
    'for file do printf "%s\\0" "$file"; sha256sum <"$file" 2>/dev/null; printf "\\0"; done\' sh'
)
"""For names that `sha256sum` would write otherwise than they are."""
CONTENTS = _command("exec xargs -0 tar -cf - 2>/dev/null")
