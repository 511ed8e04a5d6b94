"""What is taken for a secret."""

from __future__ import annotations

import base64

import pytest

from scheduler.changes.secrets import secret_in
from tests.costs import cpu_seconds

HOME = "/root"
"""Where root lives in a guest."""


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow",
        "/etc/gshadow-",
        "/etc/ssh/ssh_host_ed25519_key",
        "/root/.ssh/id_ed25519",
        "/home/a/.ssh/odd\nname",
        "/root/.netrc",
        "/root/.aws/credentials",
        "/srv/store.jks",
        "/etc/ssh/sandboxd_host_key",
        "/etc/wireguard/wg0.conf",
        "/etc/bind/rndc.key",
        "/etc/rndc.key",
        "/etc/bind/tsig.key",
        "/etc/kubernetes/admin.conf",
        "/etc/rancher/k3s/k3s.yaml",
        "/etc/NetworkManager/system-connections/wifi.nmconnection",
        "/etc/ppp/chap-secrets",
        "/etc/ipsec.secrets",
        "/etc/swanctl/swanctl.conf",
        "/etc/wpa_supplicant/wpa_supplicant.conf",
        "/etc/apt/auth.conf",
        "/etc/apt/auth.conf.d/internal.conf",
        "/etc/openvpn/client/ta.key",
        "/etc/krb5.keytab",
        "/etc/nginx/.htpasswd",
        "/etc/apache2/htpasswd-users",
        "/etc/postfix/sasl_passwd.db",
        "/etc/credstore/db",
        "/srv/app/.env",
        "/srv/app/.env.production",
        f"{HOME}/.docker/config.json",
        f"{HOME}/.pgpass",
        f"{HOME}/.my.cnf",
        f"{HOME}/.config/gh/hosts.yml",
        "/srv/infra/terraform.tfstate",
    ],
)
def test_secrets_are_known_by_their_place(path: str) -> None:
    assert "such places" in (secret_in(path, b"") or "")


@pytest.mark.parametrize(
    "content",
    [
        b"x\n-----BEGIN RSA PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----",
        b"key = AKIAABCDEFGHIJKLMNOP",
        b"token: ghp_" + b"a" * 36,
        b"[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n",
        b"[Peer]\n PresharedKey=x\n",
        b"    client-key-data: x\n",
        b"#\n-----BEGIN OpenVPN Static key V1-----\n",
        b"AGE-SECRET-KEY-1QQQQ",
        b"data: " + base64.b64encode(b"-----BEGIN EC PRIVATE KEY-----\n"),
        b"network={\n  psk=hunter2hunter2\n}\n",
        b"  wpa-psk hunter2\n",
        b'{"auths": {"registry": {"auth": "cm9ib3Q6aHVudGVyMg=="}}}',
        b"admin:$apr1$salt$" + b"a" * 22,
        b"  passwd: $6$rounds=5$" + b"a" * 86,
        b"url = postgres://robot:hunter2!x@db/app\n",
        b"define( 'DB_PASSWORD', 'hunter2' );\n",
        b"[client]\npassword = hunter2hunter2\n",
        b"- db_password: 'hunter2hunter2'\n",
        b"export AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI\n",
        b'  "client_secret": "hunter2hunter2",\n',
        b"ldap_default_authtok = hunter2hunter2\n",
        b"Authorization: eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.x",
    ],
)
def test_secrets_are_known_by_what_they_hold(content: bytes) -> None:
    assert "a key or a token" in (secret_in("/srv/f", content) or "")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/etc/ssh/ssh_host_ed25519_key.pub",
        "/root/.ssh/authorized_keys",
        "/root/.ssh/id_ed25519.pub",
        "/etc/shadow.conf",
        "/etc/openvpn/client.conf",
        "/srv/app/.env.example",
        "/etc/apt/apt.conf",
    ],
)
def test_what_is_public_is_no_secret(path: str) -> None:
    assert secret_in(path, b"-----BEGIN CERTIFICATE-----\nssh-ed25519 AAAA") is None


@pytest.mark.parametrize(
    "content",
    [
        b"passwd:         compat systemd\n",
        b"# password = hunter2hunter2\n",
        b"password = ${DB_PASSWORD}\npassword: {{ secret }}\npassword = /run/secrets/db\n",
        b"password: required\nPasswordAuthentication no\npassword = ''\n",
        b"data: " + base64.b64encode(b"-----BEGIN CERTIFICATE-----\n"),
        b"data: " + base64.b64encode(b"-----BEGIN PUBLIC KEY-----\n"),
        b"PrivateKeyFile=/etc/wg/key\n",
        b"see https://example.org:8080/a@b\n",
    ],
)
def test_what_only_speaks_of_secrets_is_none(content: bytes) -> None:
    assert secret_in("/etc/app.conf", content) is None


@pytest.mark.parametrize(
    "flood",
    [
        b"-",
        b" ",
        b"a_",
        b"a:",
        b"\n",
        b"password",
        b"://a:",
        b"eyJaaaaaaaaaaa",
        b"$6$a",
        b'"auth',
    ],
)
def test_what_a_flood_of_beginnings_costs_grows_as_its_length(flood: bytes) -> None:
    def seconds(size: int) -> float:
        data = flood * (size // len(flood))
        assert secret_in("/srv/f", data) is None
        return cpu_seconds(lambda: secret_in("/srv/f", data))

    # A floor, since what takes next to no time is measured badly; four times as much is linear.
    assert seconds(256 * 1024) < 8 * max(seconds(64 * 1024), 0.05)
