"""What is run on a source VM while it is prepared: constant scripts for any POSIX shell, as root.

What they need is handed to them as arguments, never written into them. Each looks first and says
`there` when nothing is left to do, so all of them may be run again after a death at any line; a
file is put in place whole, by a rename. Exit code 3 and a line on standard error are a refusal.
"""

from __future__ import annotations

from collections.abc import Mapping

from scheduler.sources.preparations import StepName

ACCOUNT = "sandboxd-inspect"
CA_FILE = "/etc/ssh/sandboxd_source_ca.pub"
PRINCIPALS_FILE = "/etc/ssh/sandboxd_source_principals"
STARTED = "sandboxd-started"
"""The first line of each script's output: what failed before it was not a script of ours."""

_HEAD = f"""
set -u
umask 022
PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin LC_ALL=C
export PATH LC_ALL
echo {STARTED}
fail() {{ printf '%s\\n' "$1" >&2; exit 3; }}
[ "$(id -u)" = 0 ] || fail "this is not root"
config=/etc/ssh/sshd_config
account={ACCOUNT}
ca={CA_FILE}
principals={PRINCIPALS_FILE}
sshd=$(command -v sshd) || sshd=
tested() {{ "$sshd" -t "$@" 2>&1; }}
effective() {{ "$sshd" -T -C "user=$account,host=localhost,addr=127.0.0.1" 2>/dev/null; }}
put() {{
    if [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; then echo there; return; fi
    rm -f "$1.sandboxd-new"
    printf '%s\\n' "$2" >"$1.sandboxd-new" && chmod 644 "$1.sandboxd-new" &&
        mv -f "$1.sandboxd-new" "$1" || fail "$1 could not be written"
    echo made
}}
"""

_LOG_IN = "echo root\n"

_CHECK = """
[ -n "$sshd" ] || fail "there is no sshd program"
[ -f "$config" ] || fail "$config is missing"
why=$(tested) || fail "its sshd refuses the configuration that is there already: $why"
echo there
"""

_SURVEY = """
say() { printf '%s\\t%s\\n' "$1" "$2"; }
{
    for file in /etc/machine-id /var/lib/dbus/machine-id; do
        [ -s "$file" ] && [ ! -L "$file" ] && say machine_id "$file"
    done
    for file in /etc/ssh/ssh_host_*_key; do [ -f "$file" ] && say host_key "$file"; done
    [ -d /var/lib/cloud/instances ] && say cloud_state /var/lib/cloud
    while IFS=: read -r name _ _ _ _ home _; do
        [ "$home" = / ] && home=
        for file in "$home"/.ssh/authorized_keys "$home"/.ssh/id_* "$home"/.bash_history \\
            "$home"/.netrc "$home"/.pgpass "$home"/.git-credentials "$home"/.aws/credentials \\
            "$home"/.docker/config.json "$home"/.kube/config; do
            [ -f "$file" ] || continue
            case $file in
            *.pub) ;;
            */authorized_keys) say authorized_keys "$file" ;;
            */id_*) say private_key "$file" ;;
            */.bash_history) say history "$file" ;;
            *) say credentials "$file" ;;
            esac
        done
    done </etc/passwd | sort -u
    [ -r /etc/shadow ] && while IFS=: read -r name hash _; do
        case $hash in '' | '*'* | '!'*) ;; *) say password "$name" ;; esac
    done </etc/shadow
    for file in /etc/ssl/private/* /etc/krb5.keytab /etc/wireguard/*.conf; do
        [ -f "$file" ] && say credentials "$file"
    done
    for file in /var/spool/cron/* /var/spool/cron/crontabs/* /var/spool/cron/tabs/*; do
        [ -f "$file" ] && say cron "$file"
    done
    command -v cloud-init >/dev/null && say able cloud-init
} | head -n 500
echo there
"""

_ACCOUNT_SCRIPT = """
add() {
    grep -q "^$account:" "$1" && return
    { cp -p "$1" "$1.sandboxd-new" && printf '%s\\n' "$2" >>"$1.sandboxd-new" &&
        mv -f "$1.sandboxd-new" "$1"; } || fail "$1 could not be written"
}
number=$(id -u "$account" 2>/dev/null)
if [ -n "$number" ]; then
    [ "$number" != 0 ] || fail "the account $account is there, and it is root"
    said=there
elif command -v useradd >/dev/null; then
    why=$(useradd --system --user-group --no-create-home --home-dir / --shell /bin/sh "$account" \\
        2>&1) || fail "useradd made no account: $why"
    said=made
elif command -v adduser >/dev/null; then
    why=$(adduser -S -D -H -h / -s /bin/sh "$account" 2>&1) || fail "adduser made no account: $why"
    said=made
else
    # Nothing there makes accounts: a line in each file, the one that counts last.
    number=990
    while grep -q "^[^:]*:[^:]*:$number:" /etc/passwd /etc/group; do number=$((number - 1)); done
    add /etc/group "$account:x:$number:"
    [ ! -f /etc/shadow ] || add /etc/shadow "$account:*:1::::::"
    add /etc/passwd "$account:x:$number:$number::/:/bin/sh"
    said=made
fi
# A password that nobody has, instead of a locked account: sshd without PAM lets no locked one in.
if grep -q "^$account:!" /etc/shadow 2>/dev/null; then
    if command -v usermod >/dev/null; then
        why=$(usermod -p '*' "$account" 2>&1) || fail "the account could not be opened: $why"
    else
        why=$(printf '%s:*\\n' "$account" | chpasswd -e 2>&1) ||
            fail "the account could not be opened: $why"
    fi
fi
echo "$said"
"""

_AUTHORITY = 'put "$ca" "$1"\n'
_PRINCIPALS = 'put "$principals" "$1"\n'

_CONFIGURE = """
begin="# BEGIN sandboxd source VM" end="# END sandboxd source VM"
block="$begin
# sandboxd looks at this machine as this account, and only by certificates of its own authority.
Match User $account
    TrustedUserCAKeys $ca
    AuthorizedPrincipalsFile $principals
    AuthorizedKeysFile none
    PasswordAuthentication no
    AllowTcpForwarding no
    AllowAgentForwarding no
    X11Forwarding no
    PermitTunnel no
    PermitTTY no
Match all
$end"
without_ours() {
    awk -v begin="$begin" -v end="$end" '$0 == begin { ours = 1 }
        !ours { print }
        $0 == end { ours = 0 }' "$config"
}
rm -f /etc/ssh/.sandboxd-*
draft=/etc/ssh/.sandboxd-draft whole=/etc/ssh/.sandboxd-whole
{ without_ours && printf '%s\\n' "$block"; } >"$whole" || fail "$whole could not be written"
chmod 600 "$whole"
why=$(tested -f "$whole") || {
    rm -f "$whole"
    fail "sshd refuses the new configuration, and the one that is there was left as it was: $why"
}
drop_in=/etc/ssh/sshd_config.d/90-sandboxd-source.conf
if [ -d /etc/ssh/sshd_config.d ] &&
    grep -Eiq '^[[:space:]]*Include[[:space:]]+"?/etc/ssh/sshd_config\\.d/\\*(\\.conf)?"?' "$config"
then
    target=$drop_in
    printf '%s\\n' "$block" >"$draft" || fail "$draft could not be written"
    chmod 644 "$draft"
else
    target=$config
    { cp -p "$config" "$draft" && cat "$whole" >"$draft"; } || fail "$draft could not be written"
fi
rm -f "$whole"
old=/etc/ssh/.sandboxd-old
said=made
if cmp -s "$draft" "$target" 2>/dev/null; then
    rm -f "$draft"
    said=there
else
    [ ! -f "$target" ] || cp -p "$target" "$old" || fail "$old could not be written"
    mv -f "$draft" "$target" || fail "$target could not be written"
fi
why=$(tested) || why="sshd refuses it: $why"
if [ -z "$why" ] && ! effective | grep -qxF "trustedusercakeys $ca"; then
    why="another block of its configuration decides for the account $account"
fi
if [ -n "$why" ]; then
    if [ "$said" = made ] && [ -f "$old" ]; then mv -f "$old" "$target"
    elif [ "$said" = made ]; then rm -f "$target"; fi
    fail "the configuration was left as it was: $why"
fi
rm -f "$old"
echo "$said"
"""

_RELOAD = """
why=$(tested) || fail "sshd was not reloaded, since it refuses its configuration: $why"
file=$(effective | sed -n 's/^pidfile //p')
number=$(cat "$file" 2>/dev/null)
if [ -n "$number" ] && [ "$(cat "/proc/$number/comm" 2>/dev/null)" = sshd ]; then
    kill -HUP "$number" || fail "sshd was not reloaded: the signal was refused"
    echo made
    exit 0
fi
for unit in ssh.service sshd.service; do
    if systemctl is-active --quiet "$unit" 2>/dev/null; then
        why=$(systemctl reload "$unit" 2>&1) || fail "sshd was not reloaded: $why"
        echo made
        exit 0
    fi
done
echo "nothing to reload"
"""

SCRIPTS: Mapping[StepName, str] = {
    StepName.LOG_IN: _HEAD + _LOG_IN,
    StepName.CHECK: _HEAD + _CHECK,
    StepName.SURVEY: _HEAD + _SURVEY,
    StepName.ACCOUNT: _HEAD + _ACCOUNT_SCRIPT,
    StepName.AUTHORITY: _HEAD + _AUTHORITY,
    StepName.PRINCIPALS: _HEAD + _PRINCIPALS,
    StepName.CONFIGURE: _HEAD + _CONFIGURE,
    StepName.RELOAD: _HEAD + _RELOAD,
}
"""Every step but the last, which is a login of its own."""
