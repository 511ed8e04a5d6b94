"""What changes in every guest without anybody wanting it, as data: each rule with its reason.

A rule hides differences, so it must be narrow: what an administrator could have meant stays, and
what a rule left out is counted in the answer. docs/changes.md lists these rules for users.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from scheduler.changes.globs import any_of, fault, name_expression, path_expression, which
from scheduler.errors import Invalid

MOST_RULES = 64
"""How many patterns a request may add."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseRule:
    """Paths that do not count."""

    pattern: str
    reason: str
    told_by: str | None = None
    """Only where both guests were asked by this manager: `dpkg`, `rpm` or `systemd`, which tells
    the same more exactly."""


@dataclass(frozen=True, kw_only=True)
class NoiseRules:
    """What does not count: paths, and services whose coming to rest and waking is no change."""

    paths: tuple[NoiseRule, ...] = ()
    restless_services: tuple[str, ...] = ()
    """Patterns of services that run now and then by themselves; enabling them still counts."""

    def with_paths(self, patterns: Sequence[str]) -> NoiseRules:
        """Return these rules and a request's own patterns; `Invalid` names one that is no good."""
        if len(patterns) > MOST_RULES:
            raise Invalid(
                f"there are {len(patterns)} noise patterns",
                remedy=f"Give at most {MOST_RULES}; '**' stands for any number of directories.",
            )
        for pattern in patterns:
            if (reason := fault(pattern)) is not None:
                raise Invalid(
                    f"a noise pattern cannot be used: {reason}",
                    remedy="Write an absolute path; '*' and '?' stay within a name, '**' does not.",
                )
        asked = (NoiseRule(pattern=one, reason="asked for") for one in patterns)
        return replace(self, paths=(*self.paths, *asked))

    def among(self, managers: Sequence[str | None]) -> NoiseRules:
        """Return the rules that hold where these managers were asked."""
        held = (one for one in self.paths if one.told_by is None or one.told_by in managers)
        return replace(self, paths=tuple(held))

    def rule_for(self, path: str) -> str | None:
        """Return the pattern of the rule that leaves this path out, None when it counts."""
        place = which(self._paths, path)
        return None if place is None else self.paths[place].pattern

    def restless(self, service: str) -> bool:
        """Return whether this service's run state says nothing."""
        return which(self._services, service) is not None

    @cached_property
    def _paths(self) -> re.Pattern[str]:
        return any_of(path_expression(one.pattern) for one in self.paths)

    @cached_property
    def _services(self) -> re.Pattern[str]:
        return any_of(name_expression(one) for one in self.restless_services)


def _rules(reason: str, *patterns: str, told_by: str | None = None) -> tuple[NoiseRule, ...]:
    return tuple(NoiseRule(pattern=one, reason=reason, told_by=told_by) for one in patterns)


DEFAULT_NOISE = NoiseRules(
    paths=(
        *_rules("volatile", "/dev/**", "/proc/**", "/run/**", "/sys/**", "/tmp/**"),
        *_rules("volatile", "/var/run/**", "/var/lock/**", "/var/tmp/**"),
        *_rules("logs and logins", "/var/log/**", "/var/spool/rsyslog/**"),
        *_rules("caches", "/var/cache/**", "**/.cache", "**/.cache/**"),
        *_rules("caches", "/etc/ld.so.cache", "**/__pycache__", "**/__pycache__/**"),
        *_rules("identity of this guest", "/etc/machine-id", "/var/lib/dbus/machine-id"),
        *_rules("identity of this guest", "/etc/ssh/ssh_host_*"),
        *_rules("leases and what they write", "/etc/resolv.conf", "/etc/resolv.conf.*"),
        *_rules("leases and what they write", "/var/lib/dhcp/**", "/var/lib/dhcpcd/**"),
        *_rules("leases and what they write", "/var/lib/NetworkManager/**"),
        *_rules("state of the system itself", "/etc/mtab", "/etc/adjtime", "/etc/.updated"),
        *_rules("state of the system itself", "/var/lib/systemd/**", "/var/lib/cloud/**"),
        *_rules("locks and backups of the user database", "/etc/.pwd.lock", "/etc/passwd-"),
        *_rules("locks and backups of the user database", "/etc/group-", "/etc/shadow-"),
        *_rules("locks and backups of the user database", "/etc/gshadow-", "/etc/sub?id-"),
        *_rules("what shells and editors remember", "/root/.*_history", "/home/*/.*_history"),
        *_rules("what shells and editors remember", "/root/.lesshst", "/home/*/.lesshst"),
        *_rules("what shells and editors remember", "/root/.viminfo", "/home/*/.viminfo"),
        *_rules("what shells and editors remember", "**/.*.sw?"),
        *_rules("Ansible at work", "/root/.ansible/**", "/home/*/.ansible/**"),
        *_rules("Ansible at work", "/root/.ansible", "/home/*/.ansible"),
        *_rules("the package manager", "/var/lib/dpkg/**", "/var/lib/apt/**", told_by="dpkg"),
        *_rules("the package manager", "/var/lib/ucf/**", told_by="dpkg"),
        *_rules("the package manager", "/var/lib/rpm/**", "/var/lib/dnf/**", told_by="rpm"),
        *_rules("the package manager", "/var/lib/yum/**", told_by="rpm"),
        *_rules("enabled services", "/etc/init.d/.depend.*", told_by="systemd"),
    ),
    restless_services=(
        *("apt-daily*", "dpkg-db-backup*", "e2scrub*", "fstrim*", "logrotate*", "man-db*"),
        *("motd-news*", "packagekit*", "sysstat*", "unattended-upgrades*"),
        *("proc-sys-fs-binfmt_misc.*",),
        *("getty@*", "serial-getty@*", "session-*", "user@*", "user-runtime-dir@*"),
        *("cloud-*", "dbus-org.*", "emergency*", "initrd-*", "rc-local*", "rescue*", "systemd-*"),
    ),
)

FRESH_CLONE_NOISE = _rules(
    "identity of another sandbox",
    *("/etc/hostname", "/etc/hosts", "/etc/mailname", "/root/.ssh/authorized_keys"),
    *("/etc/netplan/50-cloud-init.yaml", "/etc/network/interfaces.d/50-cloud-init"),
    *("/etc/ssh/sshd_config.d/50-cloud-init.conf", "/etc/sudoers.d/90-cloud-init-users"),
)
"""What beside the defaults says nothing when two sandboxes are compared, not two moments of one."""
